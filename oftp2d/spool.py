"""Files at rest: what goes out, what is coming in, and the inbox.

    outgoing/   staged files that wait to be sent or acknowledged
    parts/      incoming files that are still growing
    received/   incoming files that are complete, and not yet opened or delivered; what is made of a secured one is
                called .opened, and what needs nothing more .ready: it goes on into the inbox as soon as the ledger has
                committed
    refused/    incoming files that were refused after they had come, as they came, kept for analysis
    inbox/      delivered files
    boot        under which boot of the machine the daemon ran last

Names are ours, never a peer's: an identifier with an optional suffix, and in the inbox a label made harmless. When
a method returns, what it did is on disk, the folders included, unless it says otherwise. Every step is a rename, so
that after a crash each file is in one place, and doing the step again does no harm. All methods block; call them in
a disk worker.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from oftp2d.appending import Appending, Octets
from oftp2d.errors import OperatorError

_NAME: Final = re.compile(r"[0-9A-Za-z]{1,40}(\.[a-z0-9]{1,10})?")
_INBOX_NAME: Final = re.compile(r"[0-9A-Za-z]{1,40}(\.[a-z0-9]{1,10})?(-[A-Za-z0-9_][A-Za-z0-9._-]{0,39})?")
_NOT_IN_LABEL: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LABEL_LENGTH: Final = 40
_CHUNK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READY: Final = ".ready"
_OPENED: Final = ".opened"
_BOOT: Final = "boot"
_FOLDERS: Final = ("outgoing", "parts", "received", "refused", "inbox")


class SpoolError(OperatorError):
    """The spool could not do what it was asked; the disk or its rights are at fault."""


class SpoolFullError(SpoolError):
    """There is no room left on the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A complete file in the spool: its name there, its size in octets, its SHA-256 in lower-case hex if it was hashed."""

    name: str
    octets: int
    sha256: str


class Spool:
    """The folders of the spool under one root, which one station has for itself."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._outgoing, self._parts, self._received, self._refused, self._inbox = (root / each for each in _FOLDERS)
        with _told("make its folders"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in _FOLDERS:
                (root / folder).mkdir(mode=0o700, exist_ok=True)
            _sync_folder(root)

    # --- outgoing --------------------------------------------------------------------------------------------

    def staging(self, *, cached: bool = True, hashed: bool = True) -> Writing:
        """A new file in ``outgoing`` to be written piece by piece; it counts once it is sealed.

        ``cached``: it is read again soon; ``hashed``: somebody asks for its SHA-256.
        """
        path = self._outgoing / secrets.token_hex(12)
        return Writing(path, self._outgoing, "stage a file", cached=cached, hashed=hashed)

    def stage(self, source: BinaryIO | Path) -> Staged:
        """Copy a file, or what is left of an open one, into ``outgoing``; nothing stays there if that fails."""
        with _told("read the file to stage"):
            if isinstance(source, Path):
                with source.open("rb") as file:
                    return self.stage_pieces(_pieces(file))
            return self.stage_pieces(_pieces(source))

    def stage_pieces(self, pieces: Iterable[bytes]) -> Staged:
        """Write a file into ``outgoing``, piece by piece; nothing stays there if that fails, in whatever way."""
        return _sealed(self.staging(), pieces)

    def open_outgoing(self, name: str) -> BinaryIO:
        """A staged file, open for reading and without a buffer of its own."""
        with _told("open a staged file"):
            return _path(self._outgoing, name).open("rb", buffering=0)

    def read_outgoing(self, files: Iterable[tuple[str, int]]) -> list[bytes | None]:
        """The content of staged files, each given by name and octets; None of one that is not as it should be."""
        return [self._whole(name, octets) for name, octets in files]

    def remove_outgoing(self, *names: str) -> None:
        """Forget staged files; one that is gone already is no fault.

        Not brought to disk: one that a loss of power brings back is removed at the next start.
        """
        with _told("remove a file"):
            for name in names:
                _path(self._outgoing, name).unlink(missing_ok=True)

    # --- incoming --------------------------------------------------------------------------------------------

    def part(self, name: str, *, fresh: bool = False) -> Part:
        """The part file of an incoming transfer, with whatever is there of it.

        The ledger says that the file is still being received. So one that was sealed without the ledger learning of
        it is a part again. ``fresh``: nothing was received of it before; then the disk is not touched before there is
        something to write.
        """
        path = _path(self._parts, name)
        if not fresh:
            with _told("open a part file"):
                for folder in (self._received, self._outgoing):
                    if not path.exists() and (folder / name).exists():
                        _move(folder / name, path)
        return Part(path, received=self._received, outgoing=self._outgoing, fresh=fresh)

    def discard_part(self, name: str) -> None:
        """Forget what is there of an incoming file that still grows; nothing there is no fault.

        Nothing else of that name is touched: what is sealed may be acknowledged.
        """
        path = _path(self._parts, name)
        with _told("remove a part file"):
            for each in (path, _once(path)):
                each.unlink(missing_ok=True)
            _sync_folder(self._parts)

    def ready(self) -> list[str]:
        """The names of what is ready for the inbox and not there yet."""
        with _told("look for what is ready"):
            return sorted(path.stem for path in self._received.glob(f"*{_READY}"))

    def place(self, name: str, target: str) -> None:
        """Rename a file that is ready into the inbox, where it is called ``target``.

        Not brought to disk: it is safe where it comes from, and what a loss of power takes back is done again at the
        next start. Raises ValueError for a name that ``inbox_name`` cannot have given.
        """
        source, path = _path(self._received, name + _READY), self.inbox_path(target)
        with _told("deliver a file"):
            source.rename(path)

    def sync_inbox(self) -> None:
        """Bring to disk what was placed."""
        with _told("deliver files"):
            _sync_folder(self._inbox)

    def open_received(self, name: str) -> BinaryIO:
        """A received file, open for reading and without a buffer of its own."""
        with _told("open a received file"):
            return _path(self._received, name).open("rb", buffering=0)

    def opening(self, name: str) -> Writing:
        """A new file for what a received one is opened into, called ``opened_name``; that of an earlier try is gone.

        It is not hashed: who opens it does that meanwhile.
        """
        return self._made(opened_name(name), "open a received file", hashed=False)

    def make_ready(self, source: str, name: str) -> None:
        """Have what is called ``source`` in ``received``, as it is, ready for the inbox as what the file ``name`` holds."""
        with _told("make a file ready for the inbox"):
            _path(self._received, source).rename(_path(self._received, name + _READY))
            _sync_folder(self._received)

    def make_ready_as(self, source: str, name: str, convert: Callable[[BinaryIO], Iterable[bytes]]) -> Staged:
        """The same for what ``convert`` makes of it; the source stays."""
        with self.open_received(source) as file:
            return _sealed(self._made(name + _READY, "convert a received file"), convert(file))

    def reclaim(self, source: str, name: str) -> None:
        """Put a received file back as ``source``, if the ledger has not learned where it went.

        It says that the file is neither delivered nor refused: what is made ready of it counts for nothing, unless that
        is the file itself. Nothing there is no fault.
        """
        path, ready = _path(self._received, source), _path(self._received, name + _READY)
        with _told("look for a received file"):
            if ready.exists() and not path.exists():
                _move(ready, path)
            ready.unlink(missing_ok=True)

    def _made(self, name: str, doing: str, *, hashed: bool = True) -> Writing:
        """A file in ``received`` that begins empty, whatever a crash has left there."""
        path = _path(self._received, name)
        with _told(doing):
            path.unlink(missing_ok=True)
        return Writing(path, self._received, doing, cached=False, hashed=hashed)

    def remove_received(self, *names: str) -> None:
        """Forget received files; one that is gone already is no fault."""
        self._remove(self._received, *names)

    def refuse(self, name: str) -> None:
        """Keep a received file that is refused as it came. Done again after a crash it finds it kept.

        The ledger learns of it first: until this is done, ``open_refused`` finds the file where it was.
        """
        source = _path(self._received, name)
        with _told("keep a refused file"):
            if source.exists():
                _move(source, self._refused / name)

    def open_refused(self, name: str) -> BinaryIO:
        """A refused file as it came, open for reading and without a buffer of its own."""
        kept, received = _path(self._refused, name), _path(self._received, name)
        with _told("open a refused file"):
            return (kept if kept.exists() else received).open("rb", buffering=0)

    def remove_refused(self, *names: str) -> None:
        """Forget refused files; one that is gone already is no fault."""
        for folder in (self._refused, self._received):
            self._remove(folder, *names)

    def inbox_path(self, name: str) -> Path:
        """Where a delivered file is. Raises ValueError for a name the inbox cannot have given."""
        if not _INBOX_NAME.fullmatch(name):
            message = f"{name!r} is no name of the inbox"
            raise ValueError(message)
        return self._inbox / name

    # --- upkeep ----------------------------------------------------------------------------------------------

    def boot(self) -> str | None:
        """What ``note_boot`` was told last; None if it never was."""
        with _told("read the boot it was last used in"):
            try:
                return (self._root / _BOOT).read_text("ascii", errors="replace")
            except FileNotFoundError:
                return None

    def note_boot(self, boot: str) -> None:
        """Note the boot of the machine, before anything is received in it."""
        path = self._root / _BOOT
        new = path.with_suffix(".new")
        with _told("note the boot it is used in"):
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, boot.encode("ascii"))
                os.fsync(handle)
            finally:
                os.close(handle)
            new.rename(path)
            _sync_folder(self._root)

    def free_octets(self) -> int:
        """The room left on the disk for us, in octets."""
        with _told("ask for its free room"):
            return shutil.disk_usage(self._root).free

    def keep_free(self, octets: int, reserve: int) -> None:
        """Raise SpoolFullError where so many octets more would leave less than the reserve."""
        if self.free_octets() - octets < reserve:
            raise SpoolFullError("no room left in the spool beyond its reserve", "free some room on its disk")

    def sweep(self, known: Collection[str]) -> list[str]:
        """Remove everything outside the inbox that the ledger does not know; returns what was removed.

        To be called at start only, after the ledger has recovered: a file just staged is not yet known. The inbox
        is never touched.
        """
        removed = []
        with _told("sweep"):
            for folder in (self._outgoing, self._parts, self._received, self._refused):
                strangers = sorted(path for path in folder.iterdir() if path.name not in known)
                for path in strangers:
                    path.unlink()
                    removed.append(f"{folder.name}/{path.name}")
                if strangers:
                    _sync_folder(folder)
        return removed

    def _whole(self, name: str, octets: int) -> bytes | None:
        try:
            with self.open_outgoing(name) as file:
                content = read_piece(file, octets + 1)
        except SpoolError:
            return None
        return content if len(content) == octets else None

    def _remove(self, folder: Path, *names: str) -> None:
        with _told("remove a file"):
            for name in names:
                _path(folder, name).unlink(missing_ok=True)
            _sync_folder(folder)


class Writing:
    """A file of ours that grows at its end; a context manager that closes it."""

    def __init__(self, path: Path, folder: Path, doing: str, *, cached: bool = True, hashed: bool = True) -> None:
        self._path = path
        self._folder = folder
        self._doing = doing
        self._hash = hashlib.sha256() if hashed else None
        self._octets = 0
        self._open = False
        self._begin(os.O_RDWR, cached=cached)

    def _begin(self, flags: int, *, cached: bool) -> None:
        with _told(self._doing):
            self._file = os.open(self._path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._appending = Appending(self._file, cached=cached)
        self._open = True

    @property
    def octets(self) -> int:
        """The size so far."""
        return self._octets

    @property
    def sha256(self) -> str:
        """The digest so far, in lower-case hex; empty of what is not hashed."""
        return self._hash.hexdigest() if self._hash else ""

    def write(self, *buffers: Octets) -> None:
        """Append the buffers, all of them. Raises SpoolFullError and SpoolError."""
        with _told(self._doing):
            for buffer in buffers:
                self._appending.write(buffer)
                if self._hash:
                    self._hash.update(buffer)
                self._octets += len(buffer)

    def seal(self) -> Staged:
        """Close the file and bring it to disk, so that it outlives any crash."""
        self._sync()
        with _told(self._doing):
            _sync_folder(self._folder)
        return self._staged(self._path.name)

    def discard(self) -> None:
        """Close the file and forget it."""
        self.close()
        with _told(self._doing):
            self._path.unlink(missing_ok=True)
            _sync_folder(self._folder)

    def close(self) -> None:
        """Close the file and leave it as it is."""
        if self._open:
            self._open = False
            try:
                # What was received of a file that is cut off here may be where it goes on.
                with suppress(OSError):
                    self._appending.flush()
            finally:
                os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sync(self) -> None:
        with _told(self._doing):
            self._appending.flush()
            os.fsync(self._file)
        self.close()

    def _staged(self, name: str) -> Staged:
        return Staged(name=name, octets=self._octets, sha256=self.sha256)


class Part(Writing):
    """An incoming file. What a former session left is there to go on from; ``octets`` says how much that is.

    A ``fresh`` one is not opened before something is written, and where all of it is written at once, when it is
    sealed for the inbox, that is where it is made.
    """

    def __init__(self, path: Path, *, received: Path, outgoing: Path, fresh: bool) -> None:
        self._received = received
        self._outgoing = outgoing
        self._fresh = fresh
        self._name = path.name
        self._kept = True
        super().__init__(path, path.parent, "write a part file", cached=False)
        self._resumed = self._octets == 0

    @property
    def is_open(self) -> bool:
        """Whether there is something to close."""
        return self._open

    def _begin(self, flags: int, *, cached: bool) -> None:
        if self._fresh:
            return
        super()._begin(flags, cached=cached)
        with _told(self._doing):
            self._octets = os.fstat(self._file).st_size

    def read(self, octets: int) -> bytes:
        """At most so many octets more of what is there, from its beginning on; not once anything is written."""
        with _told(self._doing):
            return os.read(self._file, octets)

    def resume(self, octets: int) -> None:
        """Go on at the agreed restart position, in octets: what lies behind it is cut off.

        Reads what is kept, for the digest. Raises ValueError for a position behind the end.
        """
        if not 0 <= octets <= self._octets:
            message = f"a part file of {self._octets} octets cannot go on at {octets}"
            raise ValueError(message)
        if self._fresh:
            return
        self._hash = hashlib.sha256()
        with _told(self._doing):
            os.truncate(self._file, octets)
            os.lseek(self._file, 0, os.SEEK_SET)
            while chunk := os.read(self._file, _CHUNK):
                self._hash.update(chunk)
            if octets:
                # The sender will not send it again.
                os.fsync(self._file)
        self._appending.start(octets)
        self._octets = octets
        self._resumed = True

    def keep(self) -> bool:
        """Bring to disk what is there, for the next session to go on from. False where there is nothing to go on from."""
        if not self._kept or not self._octets:
            return False
        with _told(self._doing):
            self._appending.flush()
            os.fsync(self._file)
            _sync_folder(self._folder)
        return True

    def forgo(self) -> None:
        """From now on nobody shall go on from this part: after a crash it is as if it had never been there."""
        if self._kept:
            self._kept = False
            once = _once(self._path)
            if not self._fresh:
                with _told(self._doing):
                    self._path.rename(once)
            self._path = once

    def write(self, *buffers: Octets) -> None:
        """Append the buffers; without ``resume`` behind everything that is there."""
        self._resume_at_end()
        super().write(*buffers)

    def seal(self, *rest: Octets) -> Staged:
        """Append the rest, bring the file to disk and rename it into ``received``."""
        self.write(*rest)
        return self._seal(self._received / self._path.name, self._received, self._path.parent)

    def seal_ready(self, *rest: Octets) -> Staged:
        """Append the rest, bring the file to disk and make it ready for the inbox."""
        ready = self._received / (self._name + _READY)
        if self._fresh:
            self._path, self._folder = ready, self._received
            try:
                self.write(*rest)
                return super().seal()
            except SpoolError:
                self.discard()
                raise
        self.write(*rest)
        # One that is left in the old place by a loss of power, because only the new one is brought to disk, is swept.
        return self._seal(ready, self._received)

    def _seal(self, target: Path, *folders: Path) -> Staged:
        self._sync()
        with _told("seal a received file"):
            self._path.rename(target)
            for folder in folders:
                _sync_folder(folder)
        return self._staged(self._path.name)

    def seal_outgoing(self, *rest: Octets) -> Staged:
        """Append the rest, bring the file to disk and put it where files wait to be sent: it is for somebody else."""
        self.write(*rest)
        return self._seal(self._outgoing / self._path.name, self._outgoing, self._path.parent)

    def _resume_at_end(self) -> None:
        if self._fresh:
            self._fresh = False
            super()._begin(os.O_RDWR | os.O_TRUNC, cached=False)
        elif not self._resumed:
            self.resume(self._octets)


def read_piece(file: BinaryIO, octets: int) -> bytes:
    """At most so many octets of a file of the spool; none at its end. Raises SpoolError."""
    with _told("read a file"):
        return file.read(octets)


def pieces_of(file: BinaryIO, octets: int) -> Iterator[bytes]:
    """All that is left of a file of the spool, so many octets at a time. Raises SpoolError."""
    while piece := read_piece(file, octets):
        yield piece


def seek(file: BinaryIO, octets: int) -> None:
    """Go behind so many octets of a file of the spool. Raises SpoolError."""
    with _told("read a file"):
        file.seek(octets)


def opened_name(name: str) -> str:
    """What a received file is called that came secured, once it is opened."""
    return name + _OPENED


def inbox_name(name: str, label: str) -> str:
    """The name in the inbox: ours, then as much of the label as is harmless on any file system."""
    harmless = _NOT_IN_LABEL.sub("_", label).strip("._-")[:_LABEL_LENGTH].rstrip("._-")
    return f"{name}-{harmless}" if harmless else name


def _path(folder: Path, name: str) -> Path:
    """The path of one of our names. Raises ValueError for anything else, whoever made it."""
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name of the spool"
        raise ValueError(message)
    return folder / name


def _once(part: Path) -> Path:
    """Where a part lies from which nobody shall go on."""
    return part.with_name(f"{part.name}.once")


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_CHUNK):
        yield piece


def _sealed(target: Writing, pieces: Iterable[bytes]) -> Staged:
    """Write all pieces and seal; whatever goes wrong, also with the pieces, nothing is left."""
    with target:
        try:
            for piece in pieces:
                target.write(piece)
            return target.seal()
        except BaseException:
            target.discard()
            raise


def _move(source: Path, target: Path) -> None:
    """Rename, and bring both folders to disk: the new place first, so that the file is never in none."""
    source.rename(target)
    _sync_folder(target.parent)
    _sync_folder(source.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Turn an OSError into one line for the operator."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise SpoolFullError(f"no room left in the spool to {doing}", "free some room on its disk") from error
        reason = error.strerror or type(error).__name__
        raise SpoolError(f"the spool could not {doing} ({reason})", "check its disk and its rights") from error
