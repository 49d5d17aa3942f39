"""Making a new station: what ``oftp2d init`` does in the home folder.

The configuration file is written last and marks the station as made. Whatever was made before a failure is taken
away again; what was there before is never touched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.credentials import Profile
from oftp2d.errors import OperatorError
from oftp2d.ledger import Ledger, Station
from oftp2d.spool import Spool
from oftp2d.vault import CREDENTIAL, ENVIRONMENT, Vault

ALIAS = "station"
"""The alias of the first certificate; the one a request is made for is called station-ca."""

_LONGEST_COMMON_NAME = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the new station is to be."""

    code: str
    name: str
    hosts: tuple[str, ...]
    csr: bool
    listeners: tuple[config.Listener, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What was made."""

    fingerprint: str
    """Of the self-signed certificate: SHA-256, lower-case hex."""
    csr_path: Path | None


def found(home: Path, wish: Wish) -> Founded:
    """Make the station.

    Raises:
        OperatorError: there is one already, or something can't be made; nothing is left of it then.
    """
    content = config.example(wish.listeners)
    settings = config.parse(content, home)
    config.socket_path(home)
    _refuse_to_overwrite(settings)
    with ExitStack() as undo:
        try:
            _make_folder(home, undo)
            founded = _furnish(settings, wish, undo)
            _write(home / config.FILE_NAME, content.encode("utf-8"))
        except OSError as error:
            raise OperatorError(
                f"the station can't be made in {home} ({error.strerror})", "choose another OFTP2D_HOME"
            ) from None
        undo.pop_all()
    return founded


def _refuse_to_overwrite(settings: config.Config) -> None:
    home = settings.home
    for path in (home / config.FILE_NAME, settings.master_key_path, home / "ledger.sqlite", settings.spool_path):
        if path.exists():
            raise OperatorError(f"{path} exists already", "use that station, or set OFTP2D_HOME to another folder")


def _make_folder(home: Path, undo: ExitStack) -> None:
    if not home.is_dir():
        home.mkdir(parents=True, mode=0o700)
        undo.callback(partial(shutil.rmtree, home, ignore_errors=True))
    home.chmod(0o700)


def _furnish(settings: config.Config, wish: Wish, undo: ExitStack) -> Founded:
    """The master key, the database with station and certificate, the spool, the request."""
    now = datetime.now(UTC)
    undo.callback(_remover(settings.master_key_path))
    vault = _vault(settings)
    database = settings.home / "ledger.sqlite"
    for path in (database, *(database.with_name(f"{database.name}-{each}") for each in ("wal", "shm"))):
        undo.callback(_remover(path))
    undo.callback(partial(shutil.rmtree, settings.spool_path, ignore_errors=True))
    Spool(settings.spool_path)
    ledger = Ledger.open(settings.database_url)
    try:
        database.chmod(0o600)
        ledger.stations.add(Station(code=wish.code, name=wish.name, main=True))
        certificates = Certificates(ledger, vault)
        profile = Profile(
            common_name=(wish.hosts[0] if wish.hosts else wish.name)[:_LONGEST_COMMON_NAME],
            station=wish.code,
            hosts=wish.hosts,
        )
        made = certificates.generate(profile, alias=ALIAS, now=now)
        ledger.audit.record(now, None, "station made", {"code": wish.code, "fingerprint": made.fingerprint})
        csr_path = None
        if wish.csr:
            csr_path = settings.home / f"{ALIAS}-ca.csr"
            undo.callback(_remover(csr_path))
            _write(csr_path, certificates.request(profile, alias=f"{ALIAS}-ca", now=now).csr_pem)
    finally:
        ledger.close()
    return Founded(fingerprint=made.fingerprint, csr_path=csr_path)


def _vault(settings: config.Config) -> Vault:
    """The vault of the environment where it has a master key, else a new one with its key in a file."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    supplied = os.environ.get(ENVIRONMENT) or (credentials and (Path(credentials) / CREDENTIAL).exists())
    return Vault.find(settings.home, os.environ) if supplied else Vault.create(settings.master_key_path)


def _remover(path: Path) -> Callable[[], None]:
    return partial(path.unlink, missing_ok=True)


def _write(path: Path, octets: bytes) -> None:
    """A new file only we can read, on disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
