"""Files for a third party: a station between a partner that sends them and one that they are for, word by word."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.framing import frame
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import MAX_TEXT, FileFormat, SecurityLevel
from oftp2d.context import Context
from oftp2d.ledger import Direction, Kind, Traffic, Transfer, TransferState, Transport
from oftp2d.overdue import give_up_overdue
from tests.exchange.peer import Answering, Peer, acknowledgement, answering, responses, session
from tests.exchange.station import CODE_A, CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

pytestmark = pytest.mark.rfc("1.5.2", "4.3.6", "5.3.14")

SOURCE = CODE_B
"""Where the files come from."""

TARGET = "O0013000003TESTC"
PLANT = "O0013000003TESTCP2"
"""The partner they are for, and a sub-station of it."""

OURS = CODE_A

CONTENT = bytes(range(256)) * 40


@dataclass
class Between:
    """A station between two partners; the second answers at a port of the test."""

    station: Station
    waiting: Answering

    async def target(self) -> Peer:
        """The next call to the partner that the files are for."""
        peer = await self.waiting.answer(code=TARGET)
        await peer.greet()
        return peer

    async def legs(self) -> tuple[Transfer, Transfer]:
        """The one file's transfers in and out."""
        found = await self.station.transfers()
        assert sorted(each.direction for each in found) == [Direction.IN, Direction.OUT]
        incoming, outgoing = sorted(found, key=lambda each: each.direction is Direction.OUT)
        return incoming, outgoing

    async def listed(self) -> list[str]:
        """What ``transfer list`` says of both."""
        code, text = await self.station.run("transfer", "list")
        assert code == 0
        return [line for line in text.splitlines() if f"forwarded from {SOURCE} to {TARGET}" in line]

    def spooled(self) -> list[str]:
        """What lies in the spool outside of the inbox, and in it."""
        return sorted(path.name for path in (self.station.home / "spool").glob("*/*"))


@asynccontextmanager
async def between(station: Station, *, target: dict[str, Any] | None = None, **source: Any) -> AsyncIterator[Between]:
    """The station, running, with both partners over plain TCP."""
    async with answering() as waiting:
        common = {"transport": Transport.TCP, "password_ours": PASSWORD_A, "password_theirs": PASSWORD_B}
        station.add_partner(SOURCE, **common | {"may_forward": True} | source)
        settings = {"host": "127.0.0.1", "port": waiting.port, "sub_stations": (PLANT,)}
        station.add_partner(TARGET, **common | settings | (target or {}))
        await station.start()
        yield Between(station, waiting)


async def bring(b: Between, **fields: Any) -> c.Sfid:
    """A file for the third party, taken by the station."""
    return (await bring_and_collect(b, **fields))[0]


async def bring_and_collect(b: Between, **fields: Any) -> tuple[c.Sfid, list[c.EndResponse]]:
    """The same, and the end responses that come in that session."""
    async with session(b.station) as peer:
        sfid = peer.offer(**{"dataset": "ORDERS", "octets": CONTENT, "destination": TARGET} | fields)
        assert isinstance(await peer.send_file(sfid, CONTENT), c.Efpa)
        return sfid, responses(await peer.turn())


async def collect(b: Between) -> list[c.EndResponse]:
    """Call as the partner the files come from, and take the end responses."""
    async with session(b.station) as peer:
        return responses(await peer.turn())


async def take(peer: Peer) -> tuple[c.Sfid, bytes]:
    """As the partner they are for: take one file."""
    sfid = await peer.expect(c.Sfid)
    return sfid, await peer._receive()


async def answer(peer: Peer, *end_responses: c.EndResponse) -> None:
    """Say the end responses in the turn that comes, and leave."""
    await peer.expect(c.Cd)
    for response in end_responses:
        peer.send(response)
        await peer.expect(c.Rtr)
    await peer.leave()


# --- there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("destination", [TARGET, PLANT])
@pytest_twisted.ensureDeferred
async def test_a_file_goes_on_as_it_came_and_does_not_stay_in_the_inbox(a: Station, destination: str) -> None:
    async with between(a) as b:
        offered = await bring(
            b,
            destination=destination,
            user="USER",
            description="for the plant",
            security=SecurityLevel.ENCRYPTED_AND_SIGNED,
            cipher=2,
            compression=1,
            envelope=1,
            signed_response=True,
            original_size=77,
        )
        peer = await b.target()
        sfid, content = await take(peer)
        assert sfid == offered
        assert content == CONTENT
        incoming, outgoing = await b.legs()
        assert incoming.key == outgoing.key == offered.identity
        assert (incoming.state, incoming.kind, outgoing.kind) == (TransferState.RECEIVED, Kind.FILE, Kind.FILE)
        assert a.inbox() == []
        assert len(await b.listed()) == 2
        await answer(peer)


@pytest_twisted.ensureDeferred
async def test_a_message_of_the_certificate_exchange_for_somebody_else_is_a_file_like_any_other(a: Station) -> None:
    async with between(a) as b:
        offered = await bring(b, dataset="ODETTE_CERTIFICATE_DELIVER", format=FileFormat.TEXT)
        peer = await b.target()
        assert await take(peer) == (offered, CONTENT)
        await answer(peer)
        assert await a.exchanges() == []


@pytest_twisted.ensureDeferred
async def test_the_originator_may_be_a_sub_station_of_the_partner(a: Station) -> None:
    async with between(a, sub_stations=("O0013000002PLANT",)) as b:
        offered = await bring(b, originator="O0013000002PLANT")
        peer = await b.target()
        sfid, _ = await take(peer)
        await answer(peer, acknowledgement(sfid))
        (eerp,) = await collect(b)
        assert eerp == acknowledgement(offered)
        assert eerp.destination == "O0013000002PLANT"


# --- and back ----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_eerp_travels_back_with_hash_and_signature(a: Station) -> None:
    async with between(a) as b:
        offered = await bring(b, signed_response=True)
        peer = await b.target()
        await take(peer)
        signed = replace(acknowledgement(offered), user="THEIRS", hash=b"\x00hash", signature=b"\x30signature")
        await answer(peer, signed, signed)
        assert await collect(b) == [signed]
        assert await collect(b) == [], "once"
        incoming, outgoing = await b.legs()
        assert (incoming.state, outgoing.state) == (TransferState.DELIVERED, TransferState.ACKNOWLEDGED)
        assert b.spooled() == [], "nothing of it is left"
        _, shown = await a.run("transfer", "show", incoming.id)
        assert f"Forwarded from {SOURCE} to {TARGET}; delivered: the receipt (EERP) is with {SOURCE}." in shown


@pytest.mark.parametrize("creator", ["O0013000009BEYOND", ""])
@pytest_twisted.ensureDeferred
async def test_the_nerp_travels_back_with_creator_reason_and_text(a: Station, creator: str) -> None:
    """A blank creator stays blank: it is signed so."""
    async with between(a) as b:
        offered = await bring(b)
        peer = await b.target()
        await take(peer)
        nerp = c.Nerp(
            dataset=offered.dataset,
            date=offered.date,
            time=offered.time,
            destination=offered.originator,
            originator=offered.destination,
            creator=creator,
            reason=NegativeResponseReason.PROCESSING_FAILED,
            text="segment {17} is missing",
            hash=b"hash",
            signature=b"signature",
        )
        await answer(peer, nerp)
        assert await collect(b) == [nerp]
        incoming, outgoing = await b.legs()
        assert (incoming.state, incoming.reason) == (TransferState.REFUSED, "NERP 34")
        assert outgoing.state is TransferState.REFUSED
        assert b.spooled() == []
        _, shown = await a.run("transfer", "show", incoming.id)
        assert f"NERP 34: segment {{17}} is missing; the NERP is with {SOURCE}." in shown


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (c.Sfna(reason=AnswerReason.INVALID_ORIGIN, text="who is that"), NegativeResponseReason.INVALID_ORIGIN),
        (c.Sfna(reason=AnswerReason.DUPLICATE_FILE), NegativeResponseReason.DUPLICATE_FILE),
        (c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT), NegativeResponseReason.INVALID_BYTE_COUNT),
        (c.Efna(reason=AnswerReason.DECRYPTION_FAILED), NegativeResponseReason.DECRYPTION_FAILED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_when_the_next_location_refuses_for_good_a_nerp_of_ours_goes_back(
    a: Station, answered: c.Sfna | c.Efna, reason: NegativeResponseReason
) -> None:
    async with between(a) as b:
        offered = await bring(b)
        peer = await b.target()
        if isinstance(answered, c.Sfna):
            await peer.expect(c.Sfid)
        else:
            await peer.expect(c.Sfid)
            peer.send(c.Sfpa())
            while not isinstance(await peer.command(), c.Efid):
                pass
        peer.send(answered)
        await answer(peer)
        (nerp,) = await collect(b)
        assert nerp == c.Nerp(
            dataset=offered.dataset,
            date=offered.date,
            time=offered.time,
            destination=SOURCE,
            originator=TARGET,
            creator=OURS,
            reason=reason,
            text=f"{reason.meaning}: {answered.text}" if answered.text else reason.meaning,
        )
        incoming, outgoing = await b.legs()
        assert (incoming.state, outgoing.state) == (TransferState.REFUSED, TransferState.FAILED)
        assert b.spooled() == []
        # It is somebody else's file: it can't be made another one, and who sent it has been told.
        code, told = await a.run("transfer", "retry", outgoing.id)
        assert (code, "ask its originator to send it again" in told) == (1, True)


@pytest_twisted.ensureDeferred
async def test_a_refusal_for_now_is_tried_again_and_nothing_goes_back_yet(a: Station) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\n"
    async with between(a) as b:
        await bring(b)
        peer = await b.target()
        await peer.expect(c.Sfid)
        peer.send(c.Sfna(reason=AnswerReason.ACCESS_METHOD_FAILURE, retry=True))
        await answer(peer)
        assert await collect(b) == []
        peer = await b.target()
        sfid, _ = await take(peer)
        await answer(peer, acknowledgement(sfid))
        assert await collect(b) == [acknowledgement(sfid)]


@pytest_twisted.ensureDeferred
async def test_what_an_operator_cancels_goes_back_as_stopped_and_a_late_eerp_changes_nothing(a: Station) -> None:
    a.settings = "[retry]\nfirst_seconds = 1000\nmax_seconds = 1000\n"
    async with between(a) as b:
        offered = await bring(b)
        peer = await b.target()
        sfid = await peer.expect(c.Sfid)
        peer.send(c.Sfpa())
        while not isinstance(await peer.command(), c.Efid):
            pass
        peer.hang_up()
        await a.idle()
        _, outgoing = await b.legs()
        assert (await a.run("transfer", "cancel", outgoing.id))[0] == 0
        assert b.spooled() == []
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, nerp.creator) == (NegativeResponseReason.STOPPED_BY_OPERATOR, OURS)
        async with session(a, code=TARGET) as late:
            late.send(acknowledgement(offered))
            await late.expect(c.Rtr)
            await late.turn()
        assert await collect(b) == []
        incoming, outgoing = await b.legs()
        assert (incoming.state, outgoing.state) == (TransferState.REFUSED, TransferState.ACKNOWLEDGED)
        assert sfid == offered


@pytest.mark.parametrize(
    ("esid", "reason"),
    [
        (EndSessionReason.USER_CODE_NOT_KNOWN, NegativeResponseReason.USER_CODE_NOT_KNOWN),
        (EndSessionReason.INVALID_PASSWORD, NegativeResponseReason.INVALID_PASSWORD),
        (EndSessionReason.UNSPECIFIED, NegativeResponseReason.SESSION_UNSPECIFIED),
        (None, NegativeResponseReason.NOT_DELIVERED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_when_the_next_location_cannot_be_had_in_time_the_nerp_says_why(
    a: Station, esid: EndSessionReason | None, reason: NegativeResponseReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.settings = "[retry]\nfirst_seconds = 1000\nmax_seconds = 1000\ntotal_seconds = 1000\n"
    async with between(a) as b:
        await bring(b)
        peer = await b.waiting.answer(code=TARGET)
        if esid is not None:
            peer.send(c.Ssrm())
            await peer.expect(c.Ssid)
            peer.send(c.Esid(reason=esid))
        peer.hang_up()
        await a.idle()

        async def known() -> bool:
            return (await a.partner(TARGET)).call_failures > 0

        await eventually("the failed call", known)
        context = a.running.context
        later = context.now() + timedelta(hours=1)
        monkeypatch.setattr(Context, "now", lambda _: later)
        await give_up_overdue(context)
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, nerp.creator) == (reason, OURS)
        assert nerp.text == reason.meaning, "nothing of hosts and addresses, which are no business of the source"
        assert b.spooled() == []


@pytest.mark.parametrize(
    "command",
    [
        ["partner", "change", TARGET, "--inactive"],
        ["partner", "change", TARGET, "--mode", "receive"],
        ["partner", "remove", TARGET, "--yes"],
    ],
    ids=["switched off", "sends only", "removed"],
)
@pytest_twisted.ensureDeferred
async def test_a_file_whose_target_takes_none_any_more_when_it_has_come_is_answered_at_once(
    a: Station, log: Log, command: list[str]
) -> None:
    async with between(a) as b, session(a) as peer:
        offered = peer.offer("ORDERS", CONTENT, destination=TARGET)
        peer.send(offered)
        await peer.expect(c.Sfpa)
        code, told = await a.run(*command)
        assert code == 0, told
        peer.write(bytes(buffers.encode(CONTENT, peer.ssid.buffer_size, last=True).stream))
        peer.send(c.Efid(octets=len(CONTENT)))
        while isinstance(answered := await peer.command(), c.Cdt):
            pass
        assert isinstance(answered, c.Efpa)
        (nerp,) = responses(await peer.turn())
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, nerp.creator) == (NegativeResponseReason.NOT_DELIVERED, OURS)
        assert nerp.identity == offered.identity
        (incoming,) = await a.transfers()
        assert incoming.state is TransferState.REFUSED
        assert b.spooled() == []
        assert len(log.lines("error", "cannot go on", incoming.id)) == 1


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ({"wait_for_calls": True}, None),
        ({"host": None}, None),
        ({"wait_for_calls": True}, ["partner", "change", TARGET, "--inactive"]),
        ({"wait_for_calls": True}, ["partner", "change", TARGET, "--mode", "receive"]),
    ],
    ids=["never calls", "cannot be called", "switched off", "sends only"],
)
@pytest_twisted.ensureDeferred
async def test_a_file_that_waits_for_its_target_in_vain_is_answered_in_the_end(
    a: Station, target: dict[str, Any], command: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with between(a, target=target) as b:
        await bring(b)
        if command is not None:
            assert (await a.run(*command))[0] == 0
        await give_up_overdue(a.running.context)
        assert await collect(b) == [], "not before its time"
        later = a.running.context.now() + timedelta(days=8)
        with monkeypatch.context() as patched:
            patched.setattr(Context, "now", lambda _: later)
            await give_up_overdue(a.running.context)
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, nerp.text) == (NegativeResponseReason.NOT_DELIVERED, "not delivered to recipient")
        incoming, outgoing = await b.legs()
        assert (incoming.state, outgoing.state) == (TransferState.REFUSED, TransferState.FAILED)
        assert b.spooled() == []


@pytest_twisted.ensureDeferred
async def test_a_file_that_arrived_and_is_never_answered_is_not_acknowledged_in_the_end(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with between(a) as b:
        await bring(b)
        peer = await b.target()
        sfid, _ = await take(peer)
        await answer(peer)
        await a.idle()
        later = a.running.context.now() + timedelta(days=8)
        with monkeypatch.context() as patched:
            patched.setattr(Context, "now", lambda _: later)
            await give_up_overdue(a.running.context)
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, nerp.creator) == (NegativeResponseReason.NOT_ACKNOWLEDGED, OURS)
        assert b.spooled() == []
        assert len(log.lines("error", "given up after 8 days without an end response; its originator is told so")) == 1
        async with session(a, code=TARGET) as late:
            late.send(acknowledgement(sfid))
            await late.expect(c.Rtr)
            await late.turn()
        assert await collect(b) == [], "the first answer stands"


@pytest_twisted.ensureDeferred
async def test_an_operator_ends_the_wait_for_an_end_response(a: Station) -> None:
    async with between(a) as b:
        await bring(b)
        peer = await b.target()
        await take(peer)
        await answer(peer)
        await a.idle()
        _, outgoing = await b.legs()
        assert outgoing.state is TransferState.SENT
        assert (await a.run("transfer", "cancel", outgoing.id))[0] == 0
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert nerp.reason is NegativeResponseReason.STOPPED_BY_OPERATOR
        assert b.spooled() == []


# --- what nobody can say again -----------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_nerp_whose_text_is_no_utf8_travels_back_cut_and_holds_up_nothing_behind_it(a: Station) -> None:
    async with between(a) as b:
        offered = await bring(b)
        peer = await b.target()
        await take(peer)
        await peer.expect(c.Cd)
        nerp = codec.encode(
            c.Nerp(
                dataset=offered.dataset,
                date=offered.date,
                time=offered.time,
                destination=SOURCE,
                originator=TARGET,
                creator=TARGET,
                reason=NegativeResponseReason.PROCESSING_FAILED,
                text="x" * MAX_TEXT,
            )
        )
        peer.write(frame(nerp.replace(b"x" * MAX_TEXT, b"\xff" * MAX_TEXT)))
        await peer.expect(c.Rtr)
        await peer.leave()
        behind, (travelled,) = await bring_and_collect(b, dataset="BEHIND")
        assert isinstance(travelled, c.Nerp)
        assert travelled.reason is NegativeResponseReason.PROCESSING_FAILED
        assert travelled.text == "\N{REPLACEMENT CHARACTER}" * 333
        peer = await b.target()
        await take(peer)
        await answer(peer, acknowledgement(behind))
        assert await collect(b) == [acknowledgement(behind)]


@pytest_twisted.ensureDeferred
async def test_the_longest_text_of_a_refusal_ends_no_session_with_the_source(a: Station) -> None:
    a.settings = "[retry]\nattempts = 1\n"
    async with between(a) as b:
        await bring(b)
        peer = await b.target()
        await peer.expect(c.Sfid)
        peer.send(c.Sfna(reason=AnswerReason.ACCESS_METHOD_FAILURE, retry=True, text="x" * MAX_TEXT))
        await answer(peer)
        (nerp,) = await collect(b)
        assert isinstance(nerp, c.Nerp)
        assert (nerp.reason, len(nerp.text)) == (NegativeResponseReason.ACCESS_METHOD_FAILURE, MAX_TEXT)
        assert await collect(b) == []


@pytest_twisted.ensureDeferred
async def test_a_description_that_is_no_utf8_goes_on_cut_and_ends_no_session_with_the_target(a: Station) -> None:
    async with between(a) as b:
        async with session(b.station) as peer:
            offered = peer.offer("ORDERS", CONTENT, destination=TARGET, description="x" * MAX_TEXT)
            peer.write(frame(codec.encode(offered).replace(b"x" * MAX_TEXT, b"\xff" * MAX_TEXT)))
            await peer.expect(c.Sfpa)
            peer.write(bytes(buffers.encode(CONTENT, peer.ssid.buffer_size, last=True).stream))
            peer.send(c.Efid(octets=len(CONTENT)))
            while isinstance(command := await peer.command(), c.Cdt):
                pass
            assert isinstance(command, c.Efpa)
            await peer.turn()
        target = await b.target()
        sfid, content = await take(target)
        assert sfid == replace(offered, description="\N{REPLACEMENT CHARACTER}" * 333)
        assert content == CONTENT
        await answer(target, acknowledgement(sfid))


@pytest_twisted.ensureDeferred
async def test_an_end_response_that_cannot_be_written_costs_itself_and_not_the_session(a: Station, log: Log) -> None:
    async with between(a) as b:
        await bring(b)
        peer = await b.target()
        sfid, _ = await take(peer)
        await answer(peer, acknowledgement(sfid))
        # What no input is known to bring about.
        with closing(sqlite3.connect(a.home / "ledger.sqlite")) as database, database:
            assert database.execute("UPDATE receipts SET user = 'Ü' WHERE dataset = 'ORDERS'").rowcount == 1
        behind, travelled = await bring_and_collect(b, dataset="BEHIND")
        assert travelled == []
        peer = await b.target()
        await take(peer)
        await answer(peer, acknowledgement(behind))
        assert await collect(b) == [acknowledgement(behind)]
        (line,) = log.lines("error", "the EERP for ORDERS cannot be sent and is withdrawn")
        assert SOURCE in line


# --- not at all --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "destination", "text"),
    [
        ({"may_forward": False}, {}, TARGET, f"{TARGET} is no station here"),
        ({}, {}, "O0013000004NOBODY", "no partner it could be forwarded to"),
        ({}, {"active": False}, TARGET, "no partner it could be forwarded to"),
        ({}, {"mode": Traffic.RECEIVE}, TARGET, f"no files are sent to {TARGET}"),
        ({"sub_stations": ("O0013000002PLANT",)}, {}, "O0013000002PLANT", "is where the file came from"),
        ({}, {}, SOURCE, "is where the file came from"),
    ],
    ids=["not allowed", "unknown", "inactive", "sends only", "back to its sub-station", "back"],
)
@pytest_twisted.ensureDeferred
async def test_a_file_for_a_third_party_is_refused(
    a: Station, source: dict[str, Any], target: dict[str, Any], destination: str, text: str
) -> None:
    async with between(a, target=target, **source) as b, session(b.station) as peer:
        sfna = await peer.send_file(peer.offer("ORDERS", CONTENT, destination=destination), CONTENT)
        assert isinstance(sfna, c.Sfna)
        assert (sfna.reason, sfna.retry) == (AnswerReason.INVALID_DESTINATION, False)
        assert text in sfna.text
        assert await a.transfers() == []
        await peer.turn()


@pytest_twisted.ensureDeferred
async def test_nobody_forwards_for_a_partner_without_permission_and_the_operator_gives_it(a: Station) -> None:
    async with between(a, may_forward=False) as b:
        assert (await a.run("partner", "change", SOURCE, "--may-forward"))[0] == 0
        assert "may send files for others" in (await a.run("partner", "show", SOURCE))[1]
        await bring(b)
        peer = await b.target()
        sfid, _ = await take(peer)
        await answer(peer, acknowledgement(sfid))
        assert (await a.run("partner", "change", SOURCE, "--no-forward"))[0] == 0
        async with session(a) as again:
            refused = await again.send_file(again.offer("ORDERS", CONTENT, destination=TARGET), CONTENT)
            assert isinstance(refused, c.Sfna)
            # What is on its way is answered all the same.
            assert responses(await again.turn()) == [acknowledgement(sfid)]
        assert [entry.detail for entry in await a.audit("partner changed")] == [
            {"may_forward": True},
            {"may_forward": False},
        ]


@pytest_twisted.ensureDeferred
async def test_the_same_file_is_forwarded_once_whoever_brings_it_again(a: Station) -> None:
    async with between(a) as b:
        offered = await bring(b)
        peer = await b.target()
        sfid, _ = await take(peer)
        for code in (SOURCE, TARGET):
            async with session(a, code=code) as again:
                refused = await again.send_file(offered, CONTENT)
                assert isinstance(refused, c.Sfna)
                assert refused.reason in {AnswerReason.DUPLICATE_FILE, AnswerReason.INVALID_DESTINATION}
                await again.turn()
        await answer(peer, acknowledgement(sfid))
        assert len(await a.transfers()) == 2


@pytest_twisted.ensureDeferred
async def test_a_file_for_a_third_party_that_broke_off_on_its_way_in_is_not_forwarded_until_it_is_whole(
    a: Station,
) -> None:
    async with between(a) as b:
        async with session(a) as peer:
            offered = peer.offer("ORDERS", CONTENT, destination=TARGET)
            peer.send(offered)
            await peer.expect(c.Sfpa)
        await a.idle()
        assert [each.direction for each in await a.transfers()] == [Direction.IN]
        async with session(a) as peer:
            assert isinstance(await peer.send_file(offered, CONTENT), c.Efpa)
            await peer.turn()
        target = await b.target()
        assert (await take(target))[1] == CONTENT
        await answer(target, acknowledgement(offered))
