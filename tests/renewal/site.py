"""A site with credential sets at the stand-in: the real plugin, engine, ledger and consumers, by the stand-in's clock.

Nothing runs by itself: ``attend`` is what the station does each minute, and waits until it is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task

from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.context import Context
from oftp2d.ledger import AuditEntry, Candidate, CandidateState, CredentialSetRecord, Ledger, StoredCertificate
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.interface import GROUP, House
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewal.standing import Standing
from oftp2d.revocation import Lists
from oftp2d.revocations import Revocations
from oftp2d.spool import Spool
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers
from tools.nmvs.standin import Enrolled, StandIn

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DUE = timedelta(days=670)
"""From the beginning of a certificate to the day on which it has a successor."""
PASSWORD = "Correct-horse-1"
LIMITS = "connect_seconds = 10\nread_seconds = 10\ntotal_seconds = 20\n"
"""Behind the profile of the stand-in, whose last section is that of limits."""

NMVS = EntryPoint("nmvs", "oftp2d.renewal.nmvs.plugin:Nmvs", GROUP)


class NoPartners:
    """The sets of these tests tell no certificate store."""

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:  # noqa: ARG002 - as promised
        raise AssertionError

    def taken_back(self, fingerprint: str, why: str) -> int:  # noqa: ARG002 - as promised
        raise AssertionError


class Site:
    """A home folder with definitions, and a renewer that is driven by hand."""

    def __init__(self, home: Path, standin: StandIn) -> None:
        self.home = home
        self.standin = standin
        self.profiles = home / "renewal" / "profiles"
        self.profiles.mkdir(parents=True)
        home.chmod(0o700)
        self.time = task.Clock()
        self.skew = timedelta()
        """How far the clock of the site is before that of the stand-in."""
        self.context = self._context(reactor)
        self.renewer = self._renewer()

    def _context(self, running: Any) -> Context:
        self.vault = Vault.create(self.home / "master.key")
        ledger, workers = Ledger.open(f"sqlite:///{self.home / 'ledger.sqlite'}"), Workers(running)
        settings = config.Config(home=self.home)
        lists = Lists(settings.revocation.mode, timedelta(seconds=settings.revocation.max_age_seconds))
        certificates = Certificates(ledger, self.vault, lists=lists)
        return Context(
            reactor=self.time,
            config=settings,
            ledger=ledger,
            spool=Spool(self.home / "spool"),
            workers=workers,
            vault=self.vault,
            certificates=certificates,
            revocations=Revocations(running, workers, ledger, certificates, lists, settings=settings.revocation),
            clock=lambda: self.standin.clock.now() + self.skew,
        )

    def _renewer(self) -> Renewer:
        # The plugin calls over real sockets, and so by the real reactor; all else goes by a clock that stands still.
        house = House(reactor=reactor, workers=self.context.workers, home=self.home)  # type: ignore[arg-type]
        consumers = Consumers(self.context, NoPartners(), changed=lambda: None)
        return Renewer(self.context, consumers, registry=Registry(house, [NMVS]))

    async def start(self) -> Site:
        self.context.workers.start()
        await self.renewer.start()
        return self

    async def stop(self) -> None:
        await self.renewer.stop()
        await self.context.workers.database(self.context.ledger.close)
        await self.context.workers.stop()

    # --- what an administrator writes -----------------------------------------------------------------------------

    def profile(self, name: str = "standin", *, edits: Sequence[tuple[str, str]] = (), more: str = LIMITS) -> None:
        """The profile of the stand-in as it is now, with texts in it replaced, and sections of one's own."""
        text = self.standin.profile_path.read_text(encoding="utf-8")
        for old, new in edits:
            assert old in text, old
            text = text.replace(old, new)
        (self.profiles / f"{name}.toml").write_text(f"{text}\n{more}", encoding="utf-8")

    def define(self, name: str, *, more: str = "", nmvs: str = "", profile: str = "standin") -> None:
        """A credential set in a file of its own; ``more`` lines are of the set, ``nmvs`` lines options of the plugin."""
        (self.home / "renewal" / f"{name}.toml").write_text(
            f'[[set]]\nname = "{name}"\nplugin = "nmvs"\n{more}\n[set.terms]\nspread_hours = 0\n'
            f'[set.export]\nfolder = "exported/{name}"\n[set.nmvs]\nprofile = "{profile}"\n'
            f'client_login_id = "{name.upper()}"\nuser_id = "machine"\npassword = "store"\n{nmvs}\n',
            encoding="utf-8",
        )

    async def defined(self, name: str, *, more: str = "", nmvs: str = "", profile: str = "standin") -> None:
        """The set is defined, and its password kept."""
        if not (self.profiles / f"{profile}.toml").exists():
            self.profile(profile)
        self.define(name, more=more, nmvs=nmvs, profile=profile)
        read = await self.renewer.reload()
        assert [str(fault) for fault in read.faults] == []
        await self.renewer.keep_secret(name, "password", Secret(PASSWORD))

    async def holds(
        self, name: str, *, aged: timedelta = timedelta(), more: str = "", nmvs: str = "", profile: str = "standin"
    ) -> Enrolled:
        """A user of the stand-in with a first certificate of that age; the set is defined, and the certificate imported."""
        clock = self.standin.clock
        now = clock.now()
        clock.set(now - aged)
        user = self.standin.enrol(name.upper(), "machine", PASSWORD)
        clock.set(now)
        await self.defined(name, more=more, nmvs=nmvs, profile=profile)
        assert user.container_path
        assert user.passphrase_path
        brought = Secret(user.container_path.read_bytes()), Secret(user.passphrase_path.read_bytes())
        standing = await self.renewer.bring(name, *brought)
        assert standing.current, standing
        return user

    # --- time -----------------------------------------------------------------------------------------------------

    async def attend(self, after: timedelta = timedelta()) -> None:
        """Let time go on, and do what is due then."""
        self.standin.clock.advance(after)
        await self.renewer.run_due()

    async def live(self, days: int) -> None:
        """Day by day."""
        for _ in range(days):
            await self.attend(DAY)

    async def undefine(self, name: str) -> None:
        """The set is defined no more."""
        (self.home / "renewal" / f"{name}.toml").unlink()
        await self.renewer.reload()

    # --- what became of it ----------------------------------------------------------------------------------------

    async def standing(self, name: str) -> Standing:
        return await self.renewer.standing(name)

    async def states(self, name: str) -> list[CandidateState]:
        """The states of all its credentials, the oldest first."""
        return [each.state for each in reversed(await self.renewer.candidates(name))]

    async def record(self, name: str) -> CredentialSetRecord:
        """The last attempt, and the block."""
        return (await self.standing(name)).record

    async def newest(self, name: str) -> Candidate:
        return (await self.renewer.candidates(name))[0]

    async def audit(self) -> list[AuditEntry]:
        """What was written about credential sets, the oldest first."""
        found = await self.context.workers.database(self.context.ledger.audit.list, limit=1000)
        return [each for each in reversed(found) if each.event.startswith("credential")]

    def exported(self, name: str) -> tuple[bytes, bytes]:
        """The files that other programs read: container and passphrase."""
        current = self.home / "exported" / name / "current"
        return (current / "credential.p12").read_bytes(), (current / "credential.passphrase").read_bytes()
