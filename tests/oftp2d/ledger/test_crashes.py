"""A crash between any two steps of a file's way, and what the next start makes of it.

A crash is simply the end: the ledger and the spool are left as they are and opened anew, as a process that was
killed would leave them. Then the start puts things right, and the partner does what a partner does: it sends again
what got no EFPA, and answers again what got no RTR.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oftp2d.ledger import (
    Duplicate,
    Kind,
    Ledger,
    NewIncoming,
    NewOutgoing,
    NewPartner,
    NewReceipt,
    ReceiptKind,
    Station,
    Transfer,
    TransferState,
)
from oftp2d.spool import Spool, Staged, inbox_name

CONTENT = b"one engineering file" * 500
NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
LEASE = timedelta(seconds=60)
EERP = NewReceipt(kind=ReceiptKind.EERP)


class PowerCutError(Exception):
    """The moment at which everything stops."""


class Site:
    """A station's ledger and spool, with a fuse that blows after a number of steps."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.steps_left: int | None = None
        self.open()
        self.ledger.stations.add(Station(code="US", name="", main=True))
        self.partner = self.ledger.partners.add(NewPartner(code="THEM", name="", station="US"), NOW).id

    def open(self) -> None:
        self.ledger = Ledger.open(f"sqlite:///{self._root / 'ledger.db'}")
        self.spool = Spool(self._root / "spool")

    def step(self) -> None:
        """One more step is done; here the power may go."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise PowerCutError

    def restart(self) -> None:
        """What the daemon does when it starts: recover, sweep, deliver what was received."""
        self.ledger.close()
        self.open()
        self.steps_left = None
        self.ledger.transfers.recover(lambda _owner: False, NOW)
        for name in self.spool.ready():
            transfer = self.ledger.transfers.get(name)
            if transfer.state is TransferState.DELIVERED:
                self.spool.place(transfer.id, transfer.spool_name)
            elif transfer.state is TransferState.RECEIVED:
                self.spool.reclaim(transfer.spool_name, transfer.id)
        self.spool.sweep(self.ledger.transfers.spool_names())
        for transfer in self.ledger.transfers.undelivered():
            deliver(self, transfer)

    def files(self, folder: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self._root / "spool" / folder).iterdir())]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def deliver(site: Site, transfer: Transfer) -> None:
    name = inbox_name(transfer.id, "step file.stp")
    site.spool.reclaim(transfer.spool_name, transfer.id)
    site.spool.make_ready(transfer.spool_name, transfer.id)
    site.step()
    site.ledger.transfers.delivered(transfer.id, name, NOW, EERP)
    site.step()
    site.spool.place(transfer.id, name)
    site.step()


def receive(site: Site) -> bool:
    """A partner sends the file; true when it has got its EFPA or is told that we have the file (SFNA 13)."""
    offer = NewIncoming(
        kind=Kind.FILE,
        partner_id=site.partner,
        dataset="MODEL",
        date="20260304",
        time="1230000001",
        originator="THEM",
        destination="US",
    )
    transfer = site.ledger.transfers.open_incoming(offer, NOW, "session", LEASE)
    site.step()
    if isinstance(transfer, Duplicate):
        return True
    assert isinstance(transfer, Transfer)
    with site.spool.part(transfer.spool_name, fresh=transfer.attempts == 1) as part:
        part.resume(part.octets // 1024 * 1024)
        while part.octets < len(CONTENT):
            part.write(CONTENT[part.octets : part.octets + 3000])
            site.step()
        sealed = part.seal()
    site.step()
    received = site.ledger.transfers.received(transfer.id, sealed.octets, sealed.sha256, sealed.name, NOW)
    site.step()
    deliver(site, received)
    return True


def receive_at_once(site: Site) -> bool:
    """The same for a file that goes straight to the inbox."""
    offer = NewIncoming(
        kind=Kind.FILE,
        partner_id=site.partner,
        dataset="MODEL",
        date="20260304",
        time="1230000001",
        originator="THEM",
        destination="US",
    )
    transfer = site.ledger.transfers.open_incoming(offer, NOW, "session", LEASE)
    site.step()
    if isinstance(transfer, Duplicate):
        return True
    assert isinstance(transfer, Transfer)
    with site.spool.part(transfer.spool_name, fresh=transfer.attempts == 1) as part:
        part.resume(part.octets // 1024 * 1024)
        part.write(CONTENT[part.octets :])
        site.step()
        sealed = part.seal_ready()
    site.step()
    keep(site, transfer, sealed)
    return True


def receive_as_a_whole(site: Site) -> bool:
    """The same for a file that is at hand as a whole before anything of it is written."""
    offer = NewIncoming(
        kind=Kind.FILE,
        partner_id=site.partner,
        dataset="MODEL",
        date="20260304",
        time="1230000001",
        originator="THEM",
        destination="US",
    )
    transfer = site.ledger.transfers.open_incoming(offer, NOW, "session", LEASE)
    site.step()
    if isinstance(transfer, Duplicate):
        return True
    assert isinstance(transfer, Transfer)
    with site.spool.part(transfer.id, fresh=transfer.attempts == 1) as part:
        part.resume(0)
        sealed = part.seal_ready(CONTENT)
    site.step()
    keep(site, transfer, sealed)
    return True


def keep(site: Site, transfer: Transfer, sealed: Staged) -> None:
    """Commit, then place in the inbox."""
    name = inbox_name(transfer.id, "model.stp")
    site.ledger.transfers.received_and_delivered(transfer.id, sealed.octets, sealed.sha256, name, NOW, receipt=EERP)
    site.step()
    site.spool.place(transfer.id, name)
    site.step()


@pytest.mark.parametrize("way", [receive, receive_at_once, receive_as_a_whole])
@pytest.mark.parametrize("steps", range(12))
def test_a_file_arrives_exactly_once_wherever_the_power_goes(
    site: Site, way: Callable[[Site], bool], steps: int
) -> None:
    site.steps_left = steps
    with suppress(PowerCutError):
        way(site)
    site.restart()
    assert way(site)
    assert site.files("inbox") == [CONTENT]
    assert site.files("parts") == site.files("received") == []
    (transfer,) = site.ledger.transfers.list()
    assert transfer.state is TransferState.DELIVERED
    assert site.spool.inbox_path(transfer.spool_name).read_bytes() == CONTENT
    assert [receipt.transfer_id for receipt in site.ledger.receipts.owed(site.partner)] == [transfer.id]


@pytest.mark.parametrize("steps", range(12))
def test_power_that_goes_twice_does_no_more_harm(site: Site, steps: int) -> None:
    for _ in range(2):
        site.steps_left = steps
        with suppress(PowerCutError):
            receive(site)
        site.restart()
    assert receive(site)
    assert site.files("inbox") == [CONTENT]
    assert len(site.ledger.receipts.owed(site.partner)) == 1


class FarSide:
    """A partner that keeps what it has received, knows duplicates and owes an end response for each file."""

    def __init__(self) -> None:
        self.files: dict[object, bytes] = {}
        self.answered = False


def send(site: Site, far: FarSide) -> None:
    """Send what is queued, as a session does, to a partner that keeps its own books."""
    transfer = site.ledger.transfers.claim_next(site.partner, "session", NOW, LEASE)
    site.step()
    if transfer is not None:
        if transfer.key in far.files:
            # SFNA 13 for a file whose EFID had gone out: the partner has it.
            assert transfer.efid_sent
        else:
            with site.spool.open_outgoing(transfer.spool_name) as file:
                content = file.read()
            site.ledger.transfers.efid_going(transfer.id)
            site.step()
            far.files[transfer.key] = content
            site.step()
        site.ledger.transfers.sent(transfer.id, NOW)
        site.step()
    for key in far.files:
        done = site.ledger.transfers.acknowledged(key, NOW)  # type: ignore[arg-type]
        site.step()
        assert done is not None
        site.spool.remove_outgoing(done.transfer.spool_name)
        site.step()
        far.answered = True


@pytest.mark.parametrize("steps", range(10))
def test_a_file_is_sent_exactly_once_wherever_the_power_goes(site: Site, steps: int) -> None:
    far = FarSide()
    site.steps_left = steps
    queued = False
    try:
        staged = site.spool.stage(io.BytesIO(CONTENT))
        site.step()
        new = NewOutgoing(
            kind=Kind.FILE,
            partner_id=site.partner,
            dataset="MODEL",
            originator="US",
            destination="THEM",
            octets=staged.octets,
            spool_name=staged.name,
            sha256=staged.sha256,
        )
        site.ledger.transfers.queue(new, NOW)
        queued = True
        site.step()
        send(site, far)
    except PowerCutError:
        pass
    site.restart()
    assert len(site.files("outgoing")) == (1 if queued and not far.answered and not _done(site) else 0)
    send(site, far)
    assert list(far.files.values()) == ([CONTENT] if queued else [])
    assert [transfer.state for transfer in site.ledger.transfers.list()] == (
        [TransferState.ACKNOWLEDGED] if queued else []
    )
    assert site.files("outgoing") == []


def _done(site: Site) -> bool:
    return TransferState.ACKNOWLEDGED in site.ledger.transfers.counts()


@pytest.mark.parametrize("rtr_came", [False, True])
def test_an_end_response_is_owed_until_its_rtr_is_committed(site: Site, *, rtr_came: bool) -> None:
    receive(site)
    (claimed,) = site.ledger.receipts.claim(site.partner, "session", NOW, LEASE)
    if rtr_came:
        site.ledger.receipts.sent([claimed.id], NOW)
    site.restart()
    assert len(site.ledger.receipts.owed(site.partner)) == (0 if rtr_came else 1)
