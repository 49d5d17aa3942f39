"""Checking a station from outside: what ``oftp2d check`` does. It changes nothing and needs no daemon.

Every fault is found in one go, as far as one does not hide another, and comes with what to do about it.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from oftp2.certs.facts import CertificateFacts
from oftp2.cms.suites import WEAK
from oftp2.values import Level
from oftp2d import config
from oftp2d.admin.lookup import all_partners
from oftp2d.agreement import Gap, needs_level_5, standing_gaps
from oftp2d.certificates import Certificates
from oftp2d.client import AdminClient
from oftp2d.errors import OperatorError
from oftp2d.ledger import Holder, Ledger, Partner, Slot, StoredCertificate
from oftp2d.renewal import survey
from oftp2d.vault import Vault

EXPIRY_WARNING = timedelta(days=30)
"""A certificate that ends sooner is a fault: partners need weeks to take over its successor."""

SAFE_RSA_BITS = 2048
"""RSA keys of fewer bits are a fault, of whomever they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; advice only where it is not in order."""

    subject: str
    ok: bool
    what: str
    advice: str = ""


def inspect(home: Path) -> list[Finding]:
    """Everything that can be found out about the station in this home folder."""
    return list(_findings(home, datetime.now(UTC)))


def _findings(home: Path, now: datetime) -> Iterator[Finding]:
    try:
        settings = config.load(home)
        config.socket_path(home)
    except config.ConfigurationError as error:
        for fault in error.faults:
            yield Finding(subject=f"configuration {fault.path}", ok=False, what=fault.what, advice=fault.advice)
        return
    except OperatorError as error:
        yield _fault("configuration", error)
        return
    yield Finding(subject="configuration", ok=True, what=f"{home / config.FILE_NAME} is in order")
    yield from _modes(settings)
    yield _room(settings)
    vault: Vault | None = None
    try:
        vault = Vault.find(home, os.environ)
    except OperatorError as error:
        yield _fault("master key", error)
    else:
        yield Finding(subject="master key", ok=True, what="it can be read, by its owner alone")
    database = _database(settings)
    yield database
    if database.ok:
        yield from _contents(settings, vault, now)
    yield from _ports(settings)


def _fault(subject: str, error: OperatorError) -> Finding:
    return Finding(subject=subject, ok=False, what=error.what, advice=error.advice)


def _modes(settings: config.Config) -> Iterator[Finding]:
    """Owners and modes of what must be private."""
    database = settings.home / "ledger.sqlite"
    for path in (settings.home, database, settings.spool_path):
        if not path.exists():
            if path == settings.spool_path:
                yield Finding(subject="spool", ok=True, what=f"{path} will be made at the start")
            continue
        state = path.stat()
        if state.st_mode & 0o077:
            mode = "700" if path.is_dir() else "600"
            what = f"others may read or change {path}"
            yield Finding(subject="permissions", ok=False, what=what, advice=f"run 'chmod {mode} {path}'")
        elif not os.access(path, os.R_OK | os.W_OK):
            what = f"this user may not write {path}"
            yield Finding(subject="permissions", ok=False, what=what, advice="use the account of the station")
        else:
            yield Finding(subject="permissions", ok=True, what=f"{path} is private")


def _room(settings: config.Config) -> Finding:
    place = settings.spool_path
    while not place.exists():
        place = place.parent
    free, reserved = shutil.disk_usage(place).free, settings.spool.free_octets_reserved
    if free <= reserved:
        return Finding(
            subject="disk",
            ok=False,
            what=f"{_gib(free)} are free at {place}, not more than the {_gib(reserved)} that are reserved",
            advice="make room, or lower spool.free_octets_reserved",
        )
    return Finding(subject="disk", ok=True, what=f"{_gib(free)} are free at {place}")


def _gib(octets: int) -> str:
    return f"{octets / 1024**3:.1f} GiB"


def _database(settings: config.Config) -> Finding:
    """Whether the database is there and of this release, without changing it."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        advice = "restore it from a backup, or make a new station elsewhere"
        return Finding(subject="database", ok=False, what=f"{url.database} does not exist", advice=advice)
    scripts = AlembicConfig()
    scripts.set_main_option("script_location", "oftp2d:migrations")
    head = ScriptDirectory.from_config(scripts).get_current_head()
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        what = f"it can't be opened ({reason})"
        return Finding(subject="database", ok=False, what=what, advice="check database.url and its rights")
    if revision != head:
        return Finding(
            subject="database",
            ok=False,
            what=f"it has revision {revision or 'none'}, this release needs {head}",
            advice="'oftp2d run' brings an older one up to date; a newer one needs the newer release",
        )
    return Finding(subject="database", ok=True, what=f"it has the revision of this release, {head}")


def _contents(settings: config.Config, vault: Vault | None, now: datetime) -> Iterator[Finding]:
    try:
        with closing(Ledger.open(settings.database_url)) as ledger:
            main = ledger.stations.main()
            if main is None:
                advice = "add it with 'oftp2d station add --main'"
                yield Finding(subject="station", ok=False, what="there is no main station", advice=advice)
            else:
                yield Finding(subject="station", ok=True, what=f"{main.code}, {main.name}")
            yield from _certificates(ledger, now)
            if vault is not None:
                certificates = Certificates(ledger, vault)
                certificates.owners(now)
                yield Finding(subject="private keys", ok=True, what="all of them open with the master key")
                for partner in all_partners(ledger):
                    if partner.active:
                        yield from _partner(partner, certificates, now)
            for subject, what, advice in survey.findings(settings.home, ledger, vault):
                yield Finding(subject=subject, ok=not advice, what=what, advice=advice)
    except OperatorError as error:
        yield _fault("database", error)


def _certificates(ledger: Ledger, now: datetime) -> Iterator[Finding]:
    """Whether our certificates in use last a while."""
    current = [each for each in ledger.certificates.list(Holder.OWN) if each.active and each.slot is Slot.CURRENT]
    # One whose usages all have a longer-lasting certificate of the same station has a successor already. A self-signed
    # one, such as a station begins with, succeeds none of an authority.
    used = [
        each
        for each in current
        if not any(
            other.station == each.station
            and other.usages >= each.usages
            and other.valid_from <= now
            and other.valid_until > each.valid_until
            and (_self_signed(each) or not _self_signed(other))
            for other in current
        )
    ]
    if not used:
        advice = "make one with 'oftp2d cert generate', or import one"
        yield Finding(subject="certificates", ok=False, what="there is none of ours", advice=advice)
    for each in used:
        subject, end = f"certificate {each.alias}", f"{each.valid_until:%Y-%m-%d}"
        if each.valid_until <= now + EXPIRY_WARNING:
            what = f"it ended on {end}" if each.valid_until <= now else f"it ends on {end}"
            advice = "make its successor with 'oftp2d cert generate' and 'oftp2d exchange deliver'"
            yield Finding(subject=subject, ok=False, what=what, advice=advice)
        elif each.valid_from > now:
            what = f"it is not valid before {each.valid_from:%Y-%m-%d %H:%MZ}"
            yield Finding(subject=subject, ok=False, what=what, advice="check the clock of this machine")
        else:
            yield Finding(subject=subject, ok=True, what=f"it is valid until {end}")


def _partner(partner: Partner, certificates: Certificates, now: datetime) -> Iterator[Finding]:
    """What is weak, or cannot work, of the file security that is agreed with a partner."""
    subject, change = f"partner {partner.code}", f"'oftp2d partner change {partner.code}"
    faults = list(standing_gaps(partner, certificates, now))
    if partner.cipher_suite in WEAK:
        faults.append(
            Gap(
                what=f"its cipher suite {partner.cipher_suite:02} hashes with SHA-1, which is broken",
                advice=f"agree on another one with it, and say {change} --cipher-suite 4'",
            )
        )
    if partner.encrypt_files and not partner.sign_files:
        faults.append(
            Gap(
                what="files for it are encrypted and not signed: an encrypted file can be altered unnoticed",
                advice=f"agree on signatures with it, and say {change} --sign-files'",
            )
        )
    if partner.least_rsa_bits < SAFE_RSA_BITS:
        faults.append(
            Gap(
                what=f"RSA keys of {partner.least_rsa_bits} bits are taken of it, and such short ones can be broken",
                advice=f"ask it for a longer one, and say {change} --least-rsa-bits {SAFE_RSA_BITS}'",
            )
        )
    if (needed := needs_level_5(partner)) and partner.level < Level.REVISION_2_0:
        faults.append(
            Gap(
                what=f"it is set to release level {partner.level}, which has no {', no '.join(needed)}",
                advice=f"say {change} --level 5'",
            )
        )
    for fault in faults:
        yield Finding(subject=subject, ok=False, what=fault.what, advice=fault.advice)


def _self_signed(stored: StoredCertificate) -> bool:
    return CertificateFacts.of(stored.der).self_signed


def _ports(settings: config.Config) -> Iterator[Finding]:
    """Whether the listeners' ports are free, or held by the station itself."""
    held = _held(settings)
    for index, listener in enumerate(settings.listeners):
        subject = f"listeners[{index}]"
        where = f"port {listener.port} of {listener.host}"
        if listener.port == 0:
            yield Finding(subject=subject, ok=True, what="a free port will be taken")
        elif listener.port in held:
            yield Finding(subject=subject, ok=True, what=f"{where} is held by the running daemon")
        else:
            yield _bindable(subject, where, listener)


def _held(settings: config.Config) -> set[int]:
    try:
        with AdminClient(settings.socket_path) as client:
            listeners = client.get("/v1/status").get("listeners") or []
    except OperatorError:
        return set()
    return {each["port"] for each in listeners if isinstance(each, dict) and isinstance(each.get("port"), int)}


def _bindable(subject: str, where: str, listener: config.Listener) -> Finding:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
            probe.listen(1)
        except PermissionError:
            advice = "use a port above 1023, or give the account the right to it"
            return Finding(subject=subject, ok=False, what=f"this user may not use {where}", advice=advice)
        except OSError as error:
            advice = "stop what uses it, or choose another port or host"
            return Finding(subject=subject, ok=False, what=f"{where}: {error.strerror}", advice=advice)
    return Finding(subject=subject, ok=True, what=f"{where} is free")
