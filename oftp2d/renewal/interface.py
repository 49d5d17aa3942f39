"""What a renewal plugin is: the steps from a credential that ends to its successor, each asked for with the time.

A plugin is a subclass of :class:`Plugin`, named by an entry point of the group ``oftp2d.renewal``. Only :meth:`Plugin.fetch` has
to be written; every other step does what suits most sources. The steps, in their order (nmvs.md 8.2):

plan -> fetch -> (what came is kept, encrypted and synced) -> read -> stage -> validate -> probe -> activate, or rollback.

A plugin keeps nothing itself and decides nothing about repetition: it says what happened, in one of the words of
:class:`Verdict`, and the station does what follows from that. Nothing it returns is ever logged but ``code``, ``text``,
``advice`` and ``transaction``; secrets travel as :class:`~oftp2d.vault.Secret`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from oftp2d.errors import OperatorError
from oftp2d.renewal.material import Container, Material
from oftp2d.renewal.rules import Demands, Problem, problems
from oftp2d.renewal.timetable import Plan, Terms, plan
from oftp2d.vault import Secret
from oftp2d.workers import Workers

GROUP = "oftp2d.renewal"
"""The group of entry points under which plugins are found."""


class Verdict(StrEnum):
    """How an attempt to get a credential ended."""

    FETCHED = "fetched"
    NOT_YET = "not yet"
    """The source has no successor yet: asked again the next day."""
    ALREADY = "already"
    """The source says that we have it: looked for in what is kept here, else a person must."""
    AUTH_FAILED = "authentication failed"
    """Never tried again before an operator has changed the secret: the source may lock the account."""
    LOCKED = "locked"
    """The account is locked, or wants something of a person first: never tried again before an operator says so."""
    RETRY = "retry"
    """Trouble that passes: tried again with growing waits."""
    FATAL = "fatal"
    """A person must look: wrong configuration, or an answer that is not understood. Asked again the next day at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What a source tells beside its answer, such as a password that ends."""

    code: str
    text: str
    days: int | None = None
    """In how many days it comes to pass, where the source says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a source sent, as it came. It is kept before anybody reads it: it may never come again."""

    content: Secret[bytes]
    passphrase: Secret[bytes] | None = None
    """Where it is known already; most answers hold it."""
    transaction: str = ""
    """The number under which the source's help desk finds the attempt; printable, at most 64 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer that was read: a credential in its container."""

    container: Container
    code: str = ""
    transaction: str = ""
    notifications: tuple[Notification, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """There is no credential, and why."""

    verdict: Verdict
    code: str = ""
    """As the source has it; printable, at most 64 characters."""
    text: str = ""
    """One sentence, without a secret."""
    advice: str = ""
    """What a person does next; empty where nothing is to be done."""
    after: timedelta | None = None
    """For RETRY: not earlier than after so long."""
    understood: bool = False
    """For FATAL: the answer was understood, and certainly holds no credential. One that was not is kept for a person."""
    transaction: str = ""
    notifications: tuple[Notification, ...] = ()


class SourceRefusedError(OperatorError):
    """The source refused what a step behind the fetch wanted of it. One of the login counts like that of an attempt."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text, refusal.advice)
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What trying a credential brought: ``ok`` is None where there was nothing to try it with."""

    ok: bool | None
    text: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is known of a secret without seeing it; nothing of one that is kept elsewhere (a file, the environment)."""

    changed_at: datetime | None = None
    """Since when its value counts."""
    proposed_at: datetime | None = None
    """Since when another value waits beside it to be settled; None where none does. While one does, nobody knows for sure
    which of the two the source takes."""


class Secrets(Protocol):
    """The secrets of one credential set, by the names its options give them; never in a repr, never logged."""

    async def get(self, name: str) -> Secret[str]:
        """The secret behind a reference of the options, such as ``password``. Raises OperatorError."""

    async def held(self, name: str) -> Held:
        """What is known of a secret without seeing it."""

    async def propose(self, name: str, value: Secret[str]) -> None:
        """Keep a new value beside the one that counts, durably: before a source is told of it. Raises OperatorError."""

    async def settle(self, name: str, *, accepted: bool) -> None:
        """The proposed value counts from now on, or is forgotten."""


@attrs.frozen(kw_only=True)
class Nothing:
    """The options of a plugin that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One credential set, as its plugin sees it."""

    name: str
    options: Any
    """An instance of the plugin's ``options``, checked."""
    terms: Terms
    demands: Demands
    current: Material | None
    """The credential in use; None before there was one."""
    secrets: Secrets = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a plugin has of the station: a reactor, threads for work that blocks, and the home folder."""

    reactor: IReactorTime
    workers: Workers
    home: Path


class Plugin(ABC):
    """One kind of source. Made once for a running station, for all credential sets that name it."""

    summary: ClassVar[str] = ""
    """One line for 'oftp2d renew plugins'."""
    options: ClassVar[type[attrs.AttrsInstance]] = Nothing
    """An attrs class, made with the functions of :mod:`oftp2d.settings`: the table of a credential set called like the plugin."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """The names of those options that are references to secrets."""
    terms: ClassVar[Terms] = Terms()
    """What counts unless the credential set says otherwise."""
    demands: ClassVar[Demands] = Demands()

    def __init__(self, house: House) -> None:
        self.house = house

    def usual(self, options: Any) -> Terms:  # noqa: ARG002 - for those whose options know better
        """The terms of a credential set with these options before its own are laid over them; reads no network. Blocks."""
        return self.terms

    def check(self, options: Any) -> Iterable[str]:  # noqa: ARG002 - there is nothing to check yet
        """Faults of the options beyond their form, each a sentence with advice; reads no network. Blocks."""
        return ()

    def profile(self) -> str:
        """A further file that a site fills in, for 'oftp2d renew example --profile'; empty where there is none. Blocks."""
        return ""

    async def plan(self, case: Case, now: datetime) -> Plan:
        """Whether it is time, by the end of the current credential alone."""
        ends = None if case.current is None else case.current.valid_until
        return plan(case.name, ends, case.terms, now)

    @abstractmethod
    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:
        """Ask the source once. ``tan`` is a one-time number that an operator was given. Raises nothing but OperatorError."""

    async def read(self, case: Case, answer: Answer, now: datetime) -> Fetched | Refusal:  # noqa: ARG002
        """What the source's answer holds: a container, unless a plugin knows better. Also asked after a crash."""
        return Fetched(container=Container(content=answer.content, passphrase=answer.passphrase), code="")

    async def stage(self, case: Case, new: Material, now: datetime) -> None:  # noqa: B027 - most have nothing to do
        """The new credential is kept and opens: what the source wants to be done then."""

    async def validate(self, case: Case, new: Material, now: datetime) -> Sequence[Problem]:
        """What is wrong with the new credential; with anything wrong it is kept and not activated."""
        return problems(case.current, new, case.demands, now)

    async def probe(self, case: Case, new: Material, now: datetime) -> Trial:  # noqa: ARG002
        """Try the new credential where that can do no harm."""
        return Trial(ok=None, text="there is nothing to try it with")

    async def activate(self, case: Case, new: Material, now: datetime) -> str:  # noqa: ARG002
        """It is in use here now: tell the source, if it wants to know. May be asked again after a crash.

        Returns a sentence for the audit trail, or nothing. Raises OperatorError: it is active all the same, and this is asked
        again; SourceRefusedError where the source refused the login: not before a person has done something.
        """
        return ""

    async def rollback(self, case: Case, former: Material, now: datetime) -> None:  # noqa: B027 - as above
        """The former credential is in use again."""

    async def tend(self, case: Case, now: datetime) -> Refusal | None:  # noqa: ARG002
        """What the source wants besides, such as a new password; asked once a day. A refusal counts like that of an attempt."""
        return None

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:  # noqa: ARG002
        """What else there is to know of it, by a word each, for people; no secret."""
        return {}
