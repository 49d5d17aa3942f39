"""The engine of renewal for tests: the real one on a real ledger, under a clock of the test, with a source of the test.

A ``Home`` is the folder and the ledger; ``Home.engine()`` is one run of the engine in it, of which there may be several.
"""

# ruff: noqa: ARG002 - what plugins and consumers are given is in their contract

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.context import Context
from oftp2d.ledger import Candidate, CandidateState, Ledger
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import (
    GROUP,
    Answer,
    Case,
    Fetched,
    House,
    Notification,
    Plugin,
    Refusal,
    Trial,
    Verdict,
)
from oftp2d.renewal.material import Container, Material
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.telling import Activation
from oftp2d.renewal.timetable import Blocked, Plan, Terms
from oftp2d.revocation import Lists
from oftp2d.revocations import Revocations
from oftp2d.settings import secret_reference
from oftp2d.spool import Spool
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers
from tests import pki

NAME = "pharmacy-1"
PASSWORD = "correct horse 17"
PASSPHRASE = b"battery & staple"
DAY = timedelta(days=1)

Outcome = Answer | Refusal | BaseException | Deferred[Any] | object
"""What a step of the source brings: it is returned, raised, or waited for."""


@attrs.frozen(kw_only=True)
class Options:
    """What the source of the tests wants to know."""

    password: str = secret_reference("store", "Where the password is.")
    proxy: str = secret_reference("", "Where another secret is.")


@dataclass
class Source:
    """What a scripted plugin says, and what it was asked; shared by all runs of one test."""

    script: dict[str, deque[Outcome]] = field(default_factory=lambda: defaultdict(deque))
    """By step what comes next; the last of ``always`` where there is nothing more."""
    always: dict[str, Outcome] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Step and set."""
    tans: list[str | None] = field(default_factory=list)

    def says(self, step: str, *outcomes: Outcome) -> None:
        """What the step brings the next times."""
        self.script[step].extend(outcomes)

    def count(self, step: str, name: str = NAME) -> int:
        """How often it was asked."""
        return self.asked.count((step, name))

    async def play(self, step: str, case: Case, usual: Any) -> Any:
        self.asked.append((step, case.name))
        outcome: Any = self.script[step].popleft() if self.script[step] else self.always.get(step, usual)
        if isinstance(outcome, Deferred):
            outcome = await outcome
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome(case) if callable(outcome) else outcome


NOT_YET = Refusal(verdict=Verdict.NOT_YET, code="NC_07", text="there is none yet")


class Scripted(Plugin):
    """A plugin that says what the test has written down."""

    summary = "for tests"
    options = Options
    secrets = ("password", "proxy")
    source: Source

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:
        self.source.tans.append(tan.reveal() if tan else None)
        return await self.source.play("fetch", case, NOT_YET)

    async def read(self, case: Case, answer: Answer, now: datetime) -> Fetched | Refusal:
        usual = Fetched(container=Container(content=answer.content, passphrase=answer.passphrase), code="OK")
        return await self.source.play("read", case, usual)

    async def stage(self, case: Case, new: Material, now: datetime) -> None:
        await self.source.play("stage", case, None)

    async def validate(self, case: Case, new: Material, now: datetime) -> Sequence[Problem]:
        return await self.source.play("validate", case, await super().validate(case, new, now))

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:
        return await self.source.play("probe", case, Trial(ok=True, text="the ping came back"))

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:
        return await self.source.play("status", case, {"host": "test"})


class Bounded(Scripted):
    """One whose source may not be asked as often as one likes."""

    terms = Terms(least_minutes=30, most_attempts=3)


class Busy(Scripted):
    """One that does something in every step there is."""

    async def plan(self, case: Case, now: datetime) -> Plan:
        return await self.source.play("plan", case, await super().plan(case, now))

    async def activate(self, case: Case, new: Material, now: datetime) -> str:
        return await self.source.play("activate", case, "confirmed")

    async def rollback(self, case: Case, former: Material, now: datetime) -> None:
        await self.source.play("rollback", case, None)

    async def tend(self, case: Case, now: datetime) -> Refusal | None:
        return await self.source.play("tend", case, None)


class Manual(Scripted):
    """One that renews by hand only when nothing is in use."""

    async def plan(self, case: Case, now: datetime) -> Plan:
        return Blocked("there is none in use", "give a TAN") if case.current is None else await super().plan(case, now)


ENTRIES = [
    EntryPoint(name=kind.__name__.lower(), value=f"{__name__}:{kind.__name__}", group=GROUP)
    for kind in (Scripted, Bounded, Busy, Manual)
]


@dataclass
class Told:
    """Consumers of the test: they write down what they are told."""

    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Consumer, event, fingerprint of the one in use, fingerprint of the one before."""
    failing: dict[str, Exception] = field(default_factory=dict)
    wrong: list[Problem] = field(default_factory=list)

    async def problems(self, definition: CredentialSet, new: Material) -> Sequence[Problem]:
        return self.wrong

    async def tell(self, consumer: str, telling: Activation) -> str:
        if consumer in self.failing:
            raise self.failing[consumer]
        self.events.append((consumer, telling.event.value, telling.current.fingerprint, telling.former))
        return "it knows"


@dataclass
class Time:
    """The time of day, as the engine is told, and the timers."""

    now: datetime = pki.NOW
    timers: Clock = field(default_factory=Clock)

    def __call__(self) -> datetime:
        return self.now

    def go(self, after: timedelta) -> None:
        """Some time goes by; timers are not fired."""
        self.now += after


class Home:
    """A home folder with its ledger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = Time()
        self.source = Source()
        self.told = Told()
        self.vault = Vault(bytes(32))
        self.url = f"sqlite:///{folder / 'ledger.sqlite'}"
        self._runs = 0

    def define(self, *names: str, plugin: str = "scripted", **settings: object) -> None:
        """Write a file with these sets; each setting is a line of every one, a section is written ``store='x = 1'``."""
        sections = {
            key: value for key, value in settings.items() if key in {"store", "export", "hook", "terms", "demands"}
        }
        lines = []
        for name in names or (NAME,):
            lines += ["[[set]]", f'name = "{name}"', f'plugin = "{plugin}"']
            own = settings.get(plugin, {"password": "store"})
            lines += [f"{key} = {_toml(value)}" for key, value in settings.items() if key not in {*sections, plugin}]
            lines += [f"[set.{plugin}]", *(f"{key} = {_toml(value)}" for key, value in dict(own).items())]  # type: ignore[call-overload]
            for key, value in sections.items():
                lines += [f"[set.{key}]", str(value)]
        folder = self.folder / "renewal"
        folder.mkdir(exist_ok=True)
        (folder / "sets.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @asynccontextmanager
    async def engine(self, owner: str = "", *, start: bool = True, consumers: Any = None) -> AsyncIterator[Engine]:
        """One run of the engine."""
        self._runs += 1
        workers = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
        workers.start()
        ledger = await workers.database(Ledger.open, self.url)
        settings = config.Config(home=self.folder)
        lists = Lists(settings.revocation.mode, timedelta(seconds=settings.revocation.max_age_seconds))
        certificates = Certificates(ledger, self.vault, lists=lists)
        context = Context(
            reactor=self.time.timers,
            config=settings,
            ledger=ledger,
            spool=Spool(self.folder / "spool"),
            workers=workers,
            vault=self.vault,
            certificates=certificates,
            revocations=Revocations(reactor, workers, ledger, certificates, lists, settings=settings.revocation),
            owner=owner or f"elsewhere/{self._runs}/test",
            clock=self.time,
        )
        house = House(reactor=self.time.timers, workers=workers, home=self.folder)
        registry = Registry(house, ENTRIES)
        for entry in ENTRIES:
            registry.plugin(entry.name).source = self.source  # type: ignore[attr-defined]
        renewer = Renewer(context, consumers or self.told, registry=registry)
        engine = Engine(home=self, context=context, ledger=ledger, renewer=renewer)
        try:
            if start:
                await renewer.start()
                await engine.quiet()
            yield engine
        finally:
            await renewer.stop()
            await workers.stop()
            ledger.close()


@dataclass
class Engine:
    """One run of the engine."""

    home: Home
    context: Context
    ledger: Ledger
    renewer: Renewer

    async def quiet(self) -> None:
        """What is due has been done."""
        await self.renewer.run_due()

    async def later(self, after: timedelta) -> None:
        """Time goes by, and what is due then is done."""
        self.home.time.go(after)
        await self.renewer.run_due()

    async def states(self, name: str = NAME) -> list[str]:
        """The states of the candidates, the youngest first."""
        return [each.state.value for each in await self.renewer.candidates(name)]

    async def candidate(self, state: CandidateState, name: str = NAME) -> Candidate:
        """The youngest in that state."""
        return next(each for each in await self.renewer.candidates(name) if each.state is state)

    async def concerns(self) -> list[str]:
        """What an administrator should look after."""
        found = await self.context.workers.database(lambda: list(self.renewer.concerns(self.home.time.now)))
        return [concern.line for concern in found]

    async def audit(self) -> list[str]:
        """The events about credentials, the oldest first."""
        entries = await self.context.workers.database(self.ledger.audit.list)
        return [
            each.event for each in sorted(entries, key=lambda each: each.id) if each.event.startswith("credential ")
        ]


def issue(
    home: Home, *, subject: str = "CN=pharmacy-1,O=Test", begins: float = -1, days: float = 730, **more: Any
) -> pki.Issued:
    """A credential as the source makes it now: valid for so many days from now on."""
    ahead = (home.time.now - pki.NOW) / DAY
    return pki.make(subject=subject, issuer=pki.root("A"), days=(ahead + begins, ahead + days), **more)


def answer(issued: pki.Issued, transaction: str = "T1") -> Answer:
    """What the source sends."""
    return Answer(content=Secret(contained(issued)), passphrase=Secret(PASSPHRASE), transaction=transaction)


def contained(issued: pki.Issued) -> bytes:
    """PKCS#12 with the chain."""
    above = [each.certificate for each in issued.chain]
    return pkcs12.serialize_key_and_certificates(
        b"test", issued.key, issued.certificate, above, BestAvailableEncryption(PASSPHRASE)
    )


def notified(*codes: str) -> tuple[Notification, ...]:
    """Notifications of a source."""
    return tuple(Notification(code=code, text=f"about {code}") for code in codes)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'
