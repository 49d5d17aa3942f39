"""ContentInfo with plain data: an envelope around a file to which nothing was done (RFC 5652 sections 3 and 4).

SFIDENV may announce one without any service.
"""

from __future__ import annotations

from oftp2.cms import ber, oids
from oftp2.cms.errors import PackageError
from oftp2.cms.limits import Limits

_MOST = 64
"""Octets of a type at the most."""


class Unwrapping:
    """A stage that takes the content out of a ContentInfo of type id-data. Raises :class:`PackageError`."""

    def __init__(self, limits: Limits) -> None:
        self._content: list[bytes] = []
        self._parser = ber.Parser(self._decode, depth=limits.depth)

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        try:
            self._parser.feed(octets)
        except ber.TrailingOctetsError as error:
            raise PackageError("octets follow the enveloped data") from error
        except ber.BerError as error:
            raise PackageError(f"the enveloped data cannot be read: {error}") from error
        content = b"".join(self._content)
        self._content.clear()
        return content

    def finish(self) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says. Nothing is left by then."""
        try:
            self._parser.finish()
        except ber.BerError as error:
            raise PackageError(f"the enveloped data cannot be read: {error}") from error
        return b""

    def _decode(self, source: ber.Input) -> ber.Decoding[None]:
        yield from source.enter(ber.SEQUENCE)
        if (yield from source.element(most=_MOST)) != oids.DATA:
            raise PackageError("there is more in the envelope than plain data, though no service was announced")
        yield from source.enter(oids.CONTENT)
        yield from source.octet_string(ber.OCTET_STRING, self._content.append)
        for _ in range(2):
            yield from source.leave()
