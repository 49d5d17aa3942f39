"""The transfers of the ledger against a model that fits on one screen."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from oftp2d.ledger import (
    Busy,
    Duplicate,
    IllegalMoveError,
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

LEASE = timedelta(seconds=60)
S = TransferState
OUT_VERBS = {
    "secured": {S.SECURING: S.QUEUED},
    "unsecurable": {S.SECURING: S.FAILED},
    "sent": {S.SENDING: S.SENT},
    "requeue": {S.SENDING: S.QUEUED},
    "failed": {S.SENDING: S.FAILED, S.QUEUED: S.FAILED},
    "cancel": dict.fromkeys((S.SECURING, S.QUEUED, S.FAILED), S.CANCELLED),
    "retry": dict.fromkeys((S.FAILED, S.CANCELLED, S.REFUSED, S.SENT), S.QUEUED),
}
IN_VERBS = {
    "received": {S.RECEIVING: S.RECEIVED},
    "interrupted": {S.RECEIVING: S.INTERRUPTED},
    "delivered": {S.RECEIVED: S.DELIVERED},
    "refuse": {S.RECEIVED: S.REFUSED},
    "both": {S.RECEIVING: S.DELIVERED},
    "cancel": {S.INTERRUPTED: S.CANCELLED},
}


@dataclass
class Expected:
    """What the model knows of one transfer."""

    state: TransferState
    until: datetime | None = None
    owner: str | None = None
    receipt: ReceiptKind | None = None
    to_secure: bool = False
    """Whether it is to be secured, anew or for the first time, before it goes again."""
    signed: bool = False


class TransfersModel(RuleBasedStateMachine):
    out: Bundle[str] = Bundle("out")
    arriving: Bundle[str] = Bundle("arriving")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = self.open()
        self.ledger.stations.add(Station(code="US", name="", main=True))
        self.now = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
        self.partner = self.ledger.partners.add(NewPartner(code="THEM", name="", station="US"), self.now).id
        self.expected: dict[str, Expected] = {}

    def open(self) -> Ledger:
        return Ledger.open(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}")

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule(seconds=st.integers(0, 90))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(target=out, name=st.sampled_from("AB"), signed=st.booleans())
    def queue(self, name: str, *, signed: bool) -> str:
        new = NewOutgoing(
            kind=Kind.FILE,
            partner_id=self.partner,
            dataset=name,
            originator="US",
            destination="THEM",
            octets=1,
            spool_name="x",
            security=2 if signed else 0,
        )
        transfer = self.ledger.transfers.queue(new, self.now)
        self.expected[transfer.id] = Expected(S.SECURING if signed else S.QUEUED, to_secure=signed, signed=signed)
        return transfer.id

    @rule(owner=st.sampled_from(["one", "two"]))
    def claim_next(self, owner: str) -> None:
        queued = sorted(key for key, known in self.expected.items() if known.state is S.QUEUED)
        lapsed = sorted(
            key
            for key, known in self.expected.items()
            if known.state is S.SENDING and known.until is not None and known.until < self.now
        )
        claimed = self.ledger.transfers.claim_next(self.partner, owner, self.now, LEASE)
        assert (claimed and claimed.id) == next(iter([*queued, *lapsed]), None)
        if claimed is not None:
            self.move(claimed.id, S.SENDING, until=self.now + LEASE, owner=owner)

    @rule(transfer_id=out, verb=st.sampled_from(sorted(OUT_VERBS)))
    def move_out(self, transfer_id: str, verb: str) -> None:
        transfers, now = self.ledger.transfers, self.now
        secured = {"octets": 9, "spool_name": "y", "virtual_hash": b"hash"}
        call = {
            "secured": lambda: transfers.secured(transfer_id, now, **secured),
            "unsecurable": lambda: transfers.unsecurable(transfer_id, now, "no key"),
            "sent": lambda: transfers.sent(transfer_id, now),
            "requeue": lambda: transfers.requeue(transfer_id, now, None, "lost"),
            "failed": lambda: transfers.failed(transfer_id, now, "SFNA 02", ""),
            "cancel": lambda: transfers.cancel(transfer_id, now),
            "retry": lambda: transfers.retry(transfer_id, now),
        }[verb]
        known = self.expected[transfer_id]
        moves = OUT_VERBS[verb]
        late = {"secured": {S.CANCELLED}, "unsecurable": {S.CANCELLED}}.get(verb, set())
        if verb in {"sent", "requeue", "failed"}:
            late = {S.ACKNOWLEDGED, S.REFUSED}
        if verb == "retry":
            # What was never secured, or gets a new stamp, is secured first.
            anew = known.signed and (known.to_secure or known.state in {S.REFUSED, S.SENT})
            moves = dict.fromkeys(moves, S.SECURING) if anew else moves
            known.to_secure = anew
        if self.check(transfer_id, call, moves, late=late) and verb == "secured":
            self.expected[transfer_id].to_secure = False

    @rule(transfer_id=out, refused=st.booleans())
    def end_response(self, transfer_id: str, refused: bool) -> None:
        key = self.ledger.transfers.get(transfer_id).key
        if refused:
            answered = self.ledger.transfers.refused(key, self.now, "NERP 34", "")
        else:
            answered = self.ledger.transfers.acknowledged(key, self.now)
        known = self.expected[transfer_id]
        if known.state is S.SECURING:
            assert answered is None
            return
        news = known.state not in {S.ACKNOWLEDGED, S.REFUSED}
        if news:
            self.move(transfer_id, S.REFUSED if refused else S.ACKNOWLEDGED)
        assert answered is not None
        assert answered.news is news
        assert answered.transfer.state is self.expected[transfer_id].state

    @rule(target=arriving, number=st.integers(1, 3), owner=st.sampled_from(["one", "two"]))
    def offer(self, number: int, owner: str) -> str:
        new = NewIncoming(
            kind=Kind.FILE,
            partner_id=self.partner,
            dataset="IN",
            date="20260304",
            time=f"120000{number:04}",
            originator="THEM",
            destination="US",
        )
        answer = self.ledger.transfers.open_incoming(new, self.now, owner, LEASE)
        transfer = answer if isinstance(answer, Transfer) else answer.transfer
        known = self.expected.get(transfer.id)
        if known is None or known.state in {S.INTERRUPTED, S.CANCELLED}:
            kind: type = Transfer
        elif known.state is S.RECEIVING:
            free = known.owner == owner or known.until is None or known.until <= self.now
            kind = Transfer if free else Busy
        else:
            kind = Duplicate
        assert type(answer) is kind
        if kind is Transfer:
            self.expected[transfer.id] = Expected(S.RECEIVING, self.now + LEASE, owner)
        return transfer.id

    @rule(transfer_id=arriving, verb=st.sampled_from(sorted(IN_VERBS)))
    def move_in(self, transfer_id: str, verb: str) -> None:
        transfers, now = self.ledger.transfers, self.now
        eerp, nerp = NewReceipt(kind=ReceiptKind.EERP), NewReceipt(kind=ReceiptKind.NERP, reason=34)
        call = {
            "received": lambda: transfers.received(transfer_id, 1, "", transfer_id, now),
            "interrupted": lambda: transfers.interrupted(transfer_id, now),
            "delivered": lambda: transfers.delivered(transfer_id, "inbox", now, eerp),
            "refuse": lambda: transfers.refuse(transfer_id, "NERP 34", "", now, nerp),
            "both": lambda: transfers.received_and_delivered(transfer_id, 1, "", "inbox", now, receipt=eerp),
            "cancel": lambda: transfers.cancel(transfer_id, now),
        }[verb]
        if self.check(transfer_id, call, IN_VERBS[verb]) and verb in {"delivered", "refuse", "both"}:
            kind = ReceiptKind.NERP if verb == "refuse" else ReceiptKind.EERP
            self.expected[transfer_id].receipt = kind

    @rule()
    def crash_and_recover(self) -> None:
        self.ledger.close()
        self.ledger = self.open()
        self.ledger.transfers.recover(lambda owner: owner == "two", self.now)
        for key, known in self.expected.items():
            if known.owner == "one" and known.state in {S.SENDING, S.RECEIVING}:
                self.move(key, S.QUEUED if known.state is S.SENDING else S.INTERRUPTED)

    @rule(transfer_id=consumes(out))
    def forget(self, transfer_id: str) -> None:
        """Keep the choice of transfers small; the ledger still has it."""

    @invariant()
    def the_ledger_agrees(self) -> None:
        transfers = self.ledger.transfers.list(limit=1000)
        assert {transfer.id: transfer.state for transfer in transfers} == {
            key: known.state for key, known in self.expected.items()
        }
        assert len({(transfer.direction, transfer.key) for transfer in transfers}) == len(transfers)
        owed = {receipt.transfer_id: receipt.kind for receipt in self.ledger.receipts.owed(self.partner, 1000)}
        assert owed == {key: known.receipt for key, known in self.expected.items() if known.receipt}

    def move(self, transfer_id: str, state: TransferState, *, until: datetime | None = None, owner: str = "") -> None:
        """Expect a transfer in another state, and the rest of what is known of it as it was."""
        self.expected[transfer_id] = replace(self.expected[transfer_id], state=state, until=until, owner=owner or None)

    def check(self, transfer_id: str, call, moves, *, late=frozenset()) -> bool:  # type: ignore[no-untyped-def]
        """Make a call and see whether the model allows it."""
        here = self.expected[transfer_id].state
        if here in moves:
            assert call().state is moves[here]
            self.move(transfer_id, moves[here])
            return True
        if here in late:
            assert call().state is here
            return False
        with pytest.raises(IllegalMoveError) as raised:
            call()
        assert (raised.value.transfer_id, raised.value.here) == (transfer_id, here)
        return False


TransfersModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTransfersModel = TransfersModel.TestCase
