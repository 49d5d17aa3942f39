"""The export: a credential in files that other programs of this machine read, every pair of one generation.

In the folder there is one folder for each generation, and the link ``current``, which is switched over to the next generation
when all of that is on disk. Nothing in a generation is ever changed. The one before stays for programs that have followed
the link already; those before it are removed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.renewal.definitions import Export, Form
from oftp2d.renewal.material import Material, packed, pem_pair
from oftp2d.renewal.telling import Activation, Consumer

CURRENT: Final = "current"

_NEW: Final = ".new-"
_PASSPHRASE_OCTETS: Final = 24


def file_names(export: Export) -> tuple[str, str]:
    """The two files of a generation: what all may know, and what is secret."""
    if export.form is Form.P12:
        return f"{export.name}.p12", f"{export.name}.passphrase"
    return f"{export.name}.crt", f"{export.name}.key"


def current(home: Path, export: Export) -> Path:
    """Where programs find the files."""
    return home / export.folder / CURRENT


def generation(material: Material) -> str:
    """How the generations of a credential are called begins so."""
    return f"{material.valid_from:%Y%m%d}-{material.fingerprint[:16]}-"


class Exporter(Consumer):
    """Writes the credential in use into files."""

    def __init__(self, context: Context) -> None:
        self._workers = context.workers
        self._home = context.config.home

    async def tell(self, telling: Activation) -> str:
        """Write a generation, and switch over to it. Raises OperatorError."""
        export = telling.definition.export
        assert export is not None  # noqa: S101 - who has no such section is not told
        folder = self._home / export.folder
        try:
            found = await self._workers.disk(_in_use, folder, telling.current, file_names(export))
            if found is not None:
                return f"{found} holds it already"
            files = await self._workers.crypto(_files, export, telling)
            written = await self._workers.disk(_write, folder, generation(telling.current), files)
        except OSError as error:
            what = f"credential set {telling.definition.name} cannot be exported to {folder} ({error.strerror})"
            raise OperatorError(what, "check the folder, its owner and the room on its disk") from None
        return f"exported to {written}"


def _files(export: Export, telling: Activation) -> Mapping[str, bytes]:
    """The two files; slow, for a passphrase is made hard to guess."""
    if export.form is Form.P12:
        passphrase = secrets.token_urlsafe(_PASSPHRASE_OCTETS)
        contents = packed(telling.current, passphrase.encode(), telling.definition.name), f"{passphrase}\n".encode()
    else:
        contents = pem_pair(telling.current)
    return dict(zip(file_names(export), contents, strict=True))


def _in_use(folder: Path, material: Material, names: tuple[str, ...]) -> Path | None:
    """The generation in use, if it is that of this credential with these files."""
    link = folder / CURRENT
    try:
        target = link.readlink().name
    except FileNotFoundError:
        return None
    whole = target.startswith(generation(material)) and all((link / name).is_file() for name in names)
    return folder / target if whole else None


def _write(folder: Path, prefix: str, files: Mapping[str, bytes]) -> Path:
    """A new generation of these files, durable before the link leads to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OperatorError(f"others than the station's user can write to {folder}", f"run 'chmod go-w {folder}'")
    before = (folder / CURRENT).readlink().name if (folder / CURRENT).is_symlink() else ""
    made = folder / f"{prefix}{secrets.token_hex(4)}"
    new = folder / f"{_NEW}{made.name}"
    new.mkdir(mode=0o700)
    for name, content in files.items():
        _write_file(new / name, content)
    _sync(new)
    new.rename(made)
    link = folder / f"{_NEW}{secrets.token_hex(4)}"
    link.symlink_to(made.name)
    link.replace(folder / CURRENT)
    _sync(folder)
    _sweep(folder, {made.name, before})
    return made


def _write_file(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path, kept: set[str]) -> None:
    """Remove what no program needs any more: earlier generations, and what a crash has left; nothing else that lies there."""
    for each in folder.iterdir():
        if each.name in kept or not _ours(each.name):
            continue
        if each.is_symlink() or not each.is_dir():
            each.unlink(missing_ok=True)
        else:
            shutil.rmtree(each, ignore_errors=True)


def _ours(name: str) -> bool:
    if name.startswith(_NEW):
        return True
    day, _, rest = name.partition("-")
    fingerprint, _, token = rest.partition("-")
    digits = (day, 8), (fingerprint, 16), (token, 8)
    return all(len(part) == length and set(part) <= set("0123456789abcdef") for part, length in digits)
