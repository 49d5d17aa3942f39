"""The two stations of Odette's test cases as daemons: A with certificates CA.., B with CB.., and the authorities above them.

What comes before a case (certificates already exchanged, file security agreed, authentication on) is put into both stations
before they start; the case itself goes over real sessions. ``role`` is that of the station under test, which is A: as Initiator
it calls B, as Responder it is called by B; only who calls knows an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Literal

from oftp2.certs.usages import Usage
from oftp2d.config import RevocationMode
from oftp2d.ledger import (
    AcxMode,
    Authentication,
    Demand,
    Direction,
    ExchangeRecord,
    Kind,
    Partner,
    Slot,
    Transfer,
    TransferState,
)
from tests import pki
from tests.authority import Authority
from tests.exchange.station import CODE_A, CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually, start
from tests.pki import Issued, Service

Role = Literal["initiator", "responder"]
ROLES: tuple[Role, ...] = ("initiator", "responder")

SECURE: dict[str, Any] = {
    "sign_files": True,
    "compress_files": True,
    "encrypt_files": True,
    "signed_receipts": True,
    "incoming_signed": Demand.REQUIRED,
    "incoming_encrypted": Demand.REQUIRED,
    "authentication": Authentication.ON,
    "client_certificate": True,
    "acx": AcxMode.ANNOUNCED,
}
"""What Odette's cases agree on: everything."""

LIST, STAMP = "/TSL_OFTP2.XML", "/TSL_OFTP2.UPD"

_datasets = count(1)
_ENDS = frozenset({TransferState.ACKNOWLEDGED, TransferState.FAILED, TransferState.REFUSED})


@dataclass
class Pair:
    """Both stations, and who of them calls."""

    a: Station
    b: Station
    role: Role
    authority: Authority

    @property
    def caller(self) -> Station:
        return self.a if self.role == "initiator" else self.b

    def other(self, station: Station) -> Station:
        return self.b if station is self.a else self.a

    def certificate(self, name: str) -> Issued:
        """A declared certificate whose revocation list is where this pair looks for it."""
        return pki.certificate(name, self.authority.url)

    # --- before they start --------------------------------------------------------------------------------------

    def acquaint(
        self,
        *,
        a: dict[str, Any] | None = None,
        b: dict[str, Any] | None = None,
        of_b: str | None = None,
        **settings: Any,
    ) -> None:
        """Make them partners that hold each other's certificate and know that the other has theirs.

        ``settings`` are of both sides, ``a`` and ``b`` what that station has set of the other; ``of_b`` names what A holds of B
        where that is not what B has.
        """
        self.introduce(a=a, b=b, **(SECURE | settings))
        for station in (self.a, self.b):
            with at_rest(station, self.other(station)) as partner:
                pass
            known = self.other(station).certificate
            station.hold(partner, self.certificate(of_b) if of_b and station is self.a else known)
            station.confirm(partner)

    def introduce(self, *, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None, **settings: Any) -> None:
        """Make them partners that know no certificate of each other, but what it will be called."""
        for station, passwords, announce, given in (
            (self.a, (PASSWORD_A, PASSWORD_B), "b.test", a),
            (self.b, (PASSWORD_B, PASSWORD_A), "a0.test", b),
        ):
            calls = {"host": "127.0.0.1"} if station is self.caller else {"host": None}
            ours, theirs = passwords
            of_tls = {"server_name": announce} | calls
            known = {"password_ours": ours, "password_theirs": theirs, "announce": announce} | of_tls
            station.add_partner(self.other(station).code, **(known | settings | (given or {})))

    async def start(self) -> None:
        """Start both, and wait until they have read what the authorities publish."""
        await start(self.a, self.b)
        await self.refresh()

    async def refresh(self) -> None:
        """Let both read the trust list and the revocation lists now, and act on them."""
        for station in (self.a, self.b):
            await station.running.trust_lists.refresh()
            if station.running.context.config.revocation.mode is not RevocationMode.OFF:
                await station.running.context.revocations.refresh()

    def revoke(self, *names: str, **published: Any) -> None:
        """The authorities publish lists with these certificates of theirs; nobody has read them yet."""
        for hierarchy in ("A", "B"):
            issuer = pki.issuing(hierarchy, self.authority.url)
            theirs = [self.certificate(name) for name in names if name[1] == hierarchy]
            self.authority.put(pki.list_path(hierarchy), pki.crl(issuer, revoked=theirs, **({"number": 2} | published)))

    # --- what happens in a case ---------------------------------------------------------------------------------

    async def call(self) -> Partner:
        """One call, to its end, with all that waits on either side."""
        return await self.caller.call(self.other(self.caller).code)

    async def settled(self) -> None:
        """Call until all files and messages of both have come to their end."""

        async def over() -> bool:
            if not await self._waiting():
                return True
            await self.call()
            return not await self._waiting()

        await eventually("the end of all that waits", over)

    async def _waiting(self) -> bool:
        for station in (self.a, self.b):
            if any(each.direction is Direction.OUT and each.state not in _ENDS for each in await station.transfers()):
                return True
        return False

    async def send(self, sender: Station, *options: str, content: bytes = b"ORDER " * 400) -> str:
        """Queue a file from the command line; the dataset name it has."""
        dataset = f"ODETTE.{next(_datasets)}"
        file = sender.home / dataset
        file.write_bytes(content)
        code, said = await sender.run("send", self.other(sender).code, str(file), "--as", dataset, *options)
        assert code == 0, said
        return dataset

    async def files_both_ways(self) -> tuple[Transfer, Transfer]:
        """One file from A and one from B, to their end; the transfers of their senders."""
        names = [await self.send(station) for station in (self.a, self.b)]
        await self.settled()
        of_a, of_b = [await self.sent(station, name) for station, name in zip((self.a, self.b), names, strict=True)]
        for each in (of_a, of_b):
            assert each.state is TransferState.ACKNOWLEDGED, each
        return of_a, of_b

    async def sent(self, station: Station, dataset: str) -> Transfer:
        (found,) = [
            each
            for each in await station.transfers(Kind.FILE)
            if each.dataset == dataset and each.direction is Direction.OUT
        ]
        return found

    async def secured(self, station: Station, dataset: str) -> None:
        """Wait until a file is signed and encrypted, and only waits for a call."""

        async def ready() -> bool:
            return (await self.sent(station, dataset)).state is not TransferState.SECURING

        await eventually("the file to be secured", ready)

    async def arrived(self, station: Station, dataset: str) -> Transfer:
        (found,) = [
            each
            for each in await station.transfers(Kind.FILE)
            if each.dataset == dataset and each.direction is Direction.IN
        ]
        return found

    async def bring(self, station: Station, issued: Issued, *, usages: frozenset[Usage] | None = None) -> None:
        """The station gets a key with its certificate; nobody is told of it yet."""
        context = station.running.context
        await station.db(
            lambda: context.certificates.adopt(
                issued.key,
                issued.certificate,
                alias=issued.fingerprint[:16],
                now=datetime.now(UTC),
                station=issued.station,
                usages=usages,
            )
        )
        station.running.certificates_changed()

    async def exchange(self, station: Station, command: str, issued: Issued, *options: str) -> ExchangeRecord:
        """``exchange deliver``, ``request`` or ``recall`` with this certificate, and what became of it in the end."""
        code, said = await station.run(
            "exchange",
            command,
            self.other(station).code,
            "--certificate",
            issued.fingerprint[:16],
            *options,
        )
        assert code == 0, said
        await self.settled()
        mine = [each for each in await station.exchanges() if each.direction is Direction.OUT]
        return [each for each in mine if each.fingerprint == issued.fingerprint][-1]

    async def held(self, station: Station) -> dict[Slot, set[str]]:
        """What a station holds of the other: slot -> fingerprints."""
        found: dict[Slot, set[str]] = {}
        for held in await station.certificates(self.other(station).code):
            found.setdefault(held.slot, set()).add(held.fingerprint)
        return found

    def prints(self, *names: str) -> set[str]:
        return {self.certificate(name).fingerprint for name in names}


async def logged(log: Log, *words: str) -> None:
    """Wait for a line with all these words: the other end of a connection may notice its end a moment later."""

    async def there() -> list[str]:
        return log.lines(*words)

    await eventually(f"a line with {words}", there)


@contextmanager
def at_rest(station: Station, other: Station) -> Iterator[Partner]:
    """The partner as a station that does not run has it."""
    with station._closed() as (ledger, _):
        partner = ledger.partners.by_code(other.code)
        assert partner is not None
    yield partner


def publish(authority: Authority, services: Iterable[Service], **how: Any) -> None:
    """Publish a trust list, with a new stamp; ``how`` as ``pki.trust_list`` has it. Nobody has read it yet."""
    content = pki.trust_list(services, **how)
    authority.put(LIST, content)
    authority.put(STAMP, sha256(content).hexdigest().encode())


STRICT = '[revocation]\nmode = "strict"\nallow_local = true\n'
UNAWARE = '[revocation]\nmode = "off"\n'
"""A station that reads no revocation lists, as a partner of ours might not."""


def pair(
    folder: Path,
    role: Role,
    authority: Authority,
    *,
    a: str = "CA01",
    b: str = "CB01",
    a_settings: str = STRICT,
    b_settings: str = STRICT,
) -> Pair:
    """Both stations with these certificates of the list, not started and not acquainted. Both trust the trust list alone."""
    trusting = f'[trust_list]\nenabled = true\nurl = "{authority.url}{LIST}"\nstamp_url = "{authority.url}{STAMP}"\n'
    first, second = (
        Station(folder / name, code, pki.certificate(own, authority.url), settings=trusting + settings, anchors=())
        for name, code, own, settings in (("a", CODE_A, a, a_settings), ("b", CODE_B, b, b_settings))
    )
    return Pair(first, second, role, authority)
