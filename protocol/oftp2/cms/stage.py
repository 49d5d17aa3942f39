"""One step on the way of a secured file: octets in, octets out, piece by piece (RFC 5024 section 6.1).

Signing, compressing, enveloping and their inverses are stages. Each holds a piece and a little more, never the
file. :func:`chain` runs several in one thread; who has threads to spare may drive them as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, runtime_checkable


class Stage(Protocol):
    """Takes octets in pieces of any size and gives back what is ready.

    What comes out before :meth:`finish` has returned is not vouched for yet: a signature stands behind the content.
    Both methods raise what the stage says, :class:`oftp2.cms.errors.CmsError` for what a partner sent; a stage that
    has raised is of no further use.
    """

    def update(self, octets: bytes) -> bytes:
        """What comes out for a piece; it may be empty, and longer or shorter than the piece."""

    def finish(self) -> bytes:
        """The rest. Called once, behind the last piece."""


@runtime_checkable
class Expanding(Stage, Protocol):
    """A stage that makes very much of a small piece, and gives it back in parts instead of all at once."""

    def parts(self, octets: bytes) -> Iterator[bytes]:
        """What :meth:`update` gives back, in parts of bounded length; to be taken to the end."""


class Joined:
    """Several stages as one, the first one first: for what is little work beside the next and needs no thread of its own."""

    def __init__(self, *stages: Stage) -> None:
        self._stages = stages

    def update(self, octets: bytes) -> bytes:
        """As :class:`Stage` says; to be preferred are :meth:`parts`."""
        return b"".join(self.parts(octets))

    def parts(self, octets: bytes) -> Iterator[bytes]:
        """As :class:`Expanding` says."""
        pieces: Iterable[bytes] = (octets,)
        for stage in self._stages:
            pieces = _updated(stage, pieces)
        return iter(pieces)

    def finish(self) -> bytes:
        """As :class:`Stage` says."""
        return b"".join(chain(self._stages, ()))


def chain(stages: Sequence[Stage], pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The octets of ``pieces`` through all stages, the first one first. No piece that comes out is empty."""
    for stage in stages:
        pieces = _through(stage, pieces)
    return filter(None, pieces)


def _through(stage: Stage, pieces: Iterable[bytes]) -> Iterator[bytes]:
    yield from _updated(stage, pieces)
    yield stage.finish()


def _updated(stage: Stage, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in filter(None, pieces):
        if isinstance(stage, Expanding):
            yield from stage.parts(piece)
        else:
            yield stage.update(piece)
