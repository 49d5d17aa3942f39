"""What the administration interface needs of the other rooms, and nothing more.

The daemon fills one :class:`Desk` with them. The rooms below (ledger, spool, workers, vault, certificates) are
used as they are; those above or beside are described as protocols, so that this package never imports them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from oftp2.certs.usages import Usage
from oftp2d.certificates import Certificates
from oftp2d.config import Limits
from oftp2d.ledger import ExchangeRecord, Ledger, Partner, StoredCertificate
from oftp2d.metrics import Metrics
from oftp2d.offers import Route
from oftp2d.probe import TestReport
from oftp2d.renewal.renewer import Renewer
from oftp2d.renewals import Renewals
from oftp2d.revocations import Revocations
from oftp2d.spool import Spool
from oftp2d.trace import Traces
from oftp2d.trustlists import TrustLists
from oftp2d.vault import Vault
from oftp2d.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as people see it."""

    partner: str | None
    """The partner's code; None while it has not said who it is."""
    role: Literal["initiator", "responder"]
    state: str
    since: datetime
    remote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerView:
    """An address that is really listened on, with the port that was taken for port 0."""

    transport: str
    host: str
    port: int


class Dialler(Protocol):
    """Who makes the calls."""

    async def call(self, partner: Partner) -> None:
        """Begin a call to the partner now; returns once it is under way.

        Raises OperatorError where the partner has no address, is inactive, or is being called already.
        """

    async def test(self, partner: Partner) -> TestReport:
        """Call, identify and leave; returns what was found, and raises nothing for what the partner does."""

    def nudge(self, partner_id: int) -> None:
        """Something changed for this partner: a file is queued, or its settings are new. Never blocks."""


class ExchangeDesk(Protocol):
    """Who speaks ACX. Without a certificate it chooses those in use; without a previous one it finds it."""

    async def deliver(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue DELIVER messages."""

    async def request(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue REQUEST messages."""

    async def recall(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue REPLACE messages."""

    async def accept(self, exchange_id: int, usages: frozenset[Usage] | None = None) -> ExchangeRecord:
        """Accept a held certificate, for these usages or for those that follow from what is known."""

    async def reject(self, exchange_id: int, text: str = "") -> ExchangeRecord:
        """Refuse a held certificate with these words."""

    async def certificate_came(self, partner: Partner) -> None:
        """A certificate of the partner was imported: what waited for it goes on."""


class Securing(Protocol):
    """Who signs, compresses and encrypts files before they are sent."""

    def nudge(self) -> None:
        """A file is queued. Never blocks."""

    def abandon(self, transfer_id: str) -> None:
        """A file was cancelled, which may be under way. Never blocks."""


class House(Protocol):
    """The daemon about itself."""

    def listeners(self) -> Sequence[ListenerView]:
        """What is listened on."""

    def sessions(self) -> Sequence[SessionView]:
        """The sessions that are open."""

    def warnings(self) -> Sequence[str]:
        """What an administrator should look after, such as a certificate that ends soon."""

    def progress(self, transfer_id: str) -> int | None:
        """Octets moved of a transfer that is under way right now; None when it is not."""

    def trouble(self, transfer_id: str) -> str | None:
        """Why a transfer waits for its next try to be secured or delivered, and what to do; None of any other."""

    def certificates_changed(self) -> None:
        """A certificate was added or changed: TLS contexts and trust are to be made anew."""

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:
        """A certificate of ours was imported that follows another. In the database worker, in one go with the import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """All collaborators of the administration interface."""

    ledger: Ledger
    spool: Spool
    workers: Workers
    vault: Vault
    certificates: Certificates
    dialler: Dialler
    exchange: ExchangeDesk
    renewals: Renewals
    renewer: Renewer
    securing: Securing
    traces: Traces
    trust_lists: TrustLists
    revocations: Revocations
    house: House
    metrics: Metrics
    limits: Limits
    upload_folder: Path
    """Where the bodies of large requests lie until they are in the spool; on the file system of the spool."""
    started_at: datetime
    version: str
    now: Callable[[], datetime]
    """The time, UTC."""
