"""The files of traces: one for each recorded session, in the folder ``traces`` of the station's home, for its owner alone.

Their names are of our own making, the time and the number of the session; no word of a peer becomes part of a path. What
they take is bounded: when the folder is full, nothing more is recorded until some are removed. All of this blocks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from oftp2.transcript import LETTERS
from oftp2.values import Role
from oftp2d.errors import OperatorError

MAX_FILES: Final = 1000
MAX_OCTETS: Final = 256 * 1024 * 1024
"""Octets of all traces together."""

NOBODY: Final = "somebody unknown"
"""In the place of a partner that never said who it is."""

_NAME: Final = re.compile(r"\d{8}T\d{6}Z-\d{1,12}")
_HEAD: Final = re.compile(
    r"# Session (?P<session>\d+) with (?P<partner>[^\n]+?), recorded by its (?P<role>initiator|responder)\n"
)
_STAMP: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A recorded session."""

    id: str
    session: str
    partner: str | None
    """The code of the partner; None while it is not known."""
    role: Role
    """Whether we called or were called."""
    began_at: datetime
    octets: int
    """The size of the file."""


class TraceFiles:
    """The folder of all traces."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(
        self, session: str, began_at: datetime, role: Role, partner: str | None, line: str
    ) -> tuple[str, TextIO]:
        """A new trace: its id, and its file with the first lines in it; ``line`` says where the peer is, for people.

        Raises ``OperatorError`` when there are too many, ``OSError`` when the disk does not take it.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        sizes = [size for _, size in self._entries()]
        if len(sizes) >= MAX_FILES or sum(sizes) >= MAX_OCTETS:
            raise OperatorError(
                f"{len(sizes)} traces take {sum(sizes) // 1024} KiB",
                "remove those that are not needed any more with 'oftp2d trace remove'",
            )
        name = f"{began_at:{_STAMP}}-{session}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        file = os.fdopen(os.open(self._path(name), flags, 0o600), "w", encoding="utf-8")
        file.write(
            f"# Session {session} with {partner or NOBODY}, recorded by its {role.value}\n"
            f"# Begun {began_at:%Y-%m-%d %H:%M:%S} UTC over {line}\n"
            "# xx stands for octets that are not shown: passwords, challenges, signatures, what files hold\n\n"
            f"recorded\nreplay {LETTERS[role]}\n\n"
        )
        return name, file

    def list(self) -> list[Trace]:
        """All traces, newest first."""
        found = [self.get(name) for name, _ in self._entries()]
        return sorted((trace for trace in found if trace), key=lambda trace: (trace.began_at, trace.id), reverse=True)

    def get(self, name: str) -> Trace | None:
        """One of them; None for a name that is none."""
        if not _NAME.fullmatch(name):
            return None
        try:
            with self._path(name).open(encoding="utf-8") as file:
                head = _HEAD.match(file.readline(200))
                octets = os.fstat(file.fileno()).st_size
        except OSError:
            return None
        if head is None:
            return None
        return Trace(
            id=name,
            session=head["session"],
            partner=None if head["partner"] == NOBODY else head["partner"],
            role=Role(head["role"]),
            began_at=datetime.strptime(name.partition("-")[0], _STAMP).replace(tzinfo=UTC),
            octets=octets,
        )

    def read(self, trace: Trace, after: int, most: int) -> bytes:
        """Up to ``most`` octets of its text behind the first ``after``, in whole lines; it may have grown since."""
        with self._path(trace.id).open("rb") as file:
            file.seek(after)
            octets = file.read(most)
        return octets[: octets.rfind(b"\n") + 1]

    def remove(self, trace: Trace) -> None:
        """Remove it. Harmless when it is gone."""
        self._path(trace.id).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.txt"

    def _entries(self) -> Iterator[tuple[str, int]]:
        """The names and sizes of what is ours in the folder."""
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".txt")
                if name != entry.name and _NAME.fullmatch(name):
                    with suppress(FileNotFoundError):
                        yield name, entry.stat(follow_symlinks=False).st_size
