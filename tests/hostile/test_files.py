"""Files that may not be taken, and end responses that nobody is owed: what a partner with a good password may try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2.cms.compressed import Compressing
from oftp2.reasons import AnswerReason as Answer
from oftp2.reasons import EndSessionReason as End
from oftp2.reasons import NegativeResponseReason
from oftp2.values import FileFormat, Mode, SecurityLevel
from oftp2d.ledger import Kind, TransferState
from tests.exchange.peer import Peer, acknowledgement, call, files, responses, session
from tests.exchange.station import CLOCK, CODE_A, CODE_B, Log, Station, pause
from tests.hostile.mischief import OTHER, OTHER_PASSWORD, SUB_STATION, one_complaint, raw, serves

BEFORE_THE_DATA: dict[str, tuple[dict[str, Any], Answer]] = {
    "for nobody here": ({"destination": "O0013000009NOBODY"}, Answer.INVALID_DESTINATION),
    "for themselves": ({"destination": CODE_B}, Answer.INVALID_DESTINATION),
    "for another partner": ({"destination": OTHER}, Answer.INVALID_DESTINATION),
    "for nobody at all": ({"destination": ""}, Answer.INVALID_DESTINATION),
    "from another partner": ({"originator": OTHER}, Answer.INVALID_ORIGIN),
    "from us": ({"originator": CODE_A}, Answer.INVALID_ORIGIN),
    "from a stranger": ({"originator": "O0013000009NOBODY"}, Answer.INVALID_ORIGIN),
    "from nobody": ({"originator": ""}, Answer.INVALID_ORIGIN),
    "without a name": ({"dataset": ""}, Answer.INVALID_FILE_NAME),
    "of the 30th of february": ({"date": "20260230"}, Answer.INVALID_FILE_NAME),
    "of the year 0": ({"date": "00000101"}, Answer.INVALID_FILE_NAME),
    "of month 13": ({"date": "20261301"}, Answer.INVALID_FILE_NAME),
    "of 24 o'clock": ({"time": "2400000001"}, Answer.INVALID_FILE_NAME),
    "of minute 60": ({"time": "2360000001"}, Answer.INVALID_FILE_NAME),
    "records of no length": ({"format": FileFormat.FIXED}, Answer.RECORD_LENGTH_NOT_SUPPORTED),
    "records too long": (
        {"format": FileFormat.VARIABLE, "record_length": 65_537},
        Answer.RECORD_LENGTH_NOT_SUPPORTED,
    ),
    "certificates in records": (
        {"dataset": "ODETTE_CERTIFICATE_DELIVER", "format": FileFormat.VARIABLE, "record_length": 80},
        Answer.RECORD_FORMAT_NOT_SUPPORTED,
    ),
    "signed weakly": (
        {"security": SecurityLevel.SIGNED, "cipher": 1, "envelope": 1},
        Answer.CIPHER_SUITE_NOT_SUPPORTED,
    ),
    "encrypted by nothing": (
        {"security": SecurityLevel.ENCRYPTED, "envelope": 1},
        Answer.CIPHER_SUITE_NOT_SUPPORTED,
    ),
    "compressed by something else": ({"compression": 2, "envelope": 1}, Answer.COMPRESSION_NOT_ALLOWED),
    "enveloped in something else": ({"envelope": 2}, Answer.UNSPECIFIED),
    "larger than allowed": ({"size": 1026}, Answer.FILE_TOO_BIG),
    "larger than anything": ({"size": 9_999_999_999_999}, Answer.FILE_TOO_BIG),
}


@pytest.mark.rfc("5.3.5")
@pytest.mark.interop(7)
@pytest_twisted.ensureDeferred
async def test_a_file_that_may_not_be_taken_is_refused_before_its_data_with_one_line(victim: Station, log: Log) -> None:
    victim.settings = "[limits]\nmax_file_octets = 1048576"
    await victim.start()
    async with session(victim) as peer:
        for number, (what, (fields, reason)) in enumerate(BEFORE_THE_DATA.items(), 1):
            answer = await peer.send_file(replace(peer.offer("ORDERS", b"x"), **fields), b"x")
            assert isinstance(answer, c.Sfna), what
            assert answer.reason is reason, (what, answer)
            assert answer.retry is False, what
            lines = log.complaints()
            assert len(lines) == number, what
            assert CODE_B in lines[-1]
            assert f"SFNA {reason.value:02}" in lines[-1]
        await peer.leave()
    assert await victim.transfers() == []
    assert victim.inbox() == []
    await serves(victim)


@pytest.mark.parametrize(
    "dataset",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "A/B/../../C",
        "~ROOT",
        "C:\\WINDOWS",
        "CON",
        "-rf *",
        "a b",
        "%00",
        "{x}",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_name_from_a_partner_never_becomes_a_path(dataset: str, victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        answer = await peer.send_file(peer.offer(dataset, b"content"), b"content")
        assert isinstance(answer, c.Efpa | c.Sfna), answer
    await victim.idle()
    inbox = victim.home / "spool" / "inbox"
    names = [path.name for path in inbox.rglob("*")]
    assert len(names) == isinstance(answer, c.Efpa)
    for name in names:
        assert all(character.isascii() and (character.isalnum() or character in "._-") for character in name)
        assert name[0].isalnum()
    known = {
        "admin.sock",
        "admin.lock",
        "ledger.sqlite",
        "ledger.sqlite-shm",
        "ledger.sqlite-wal",
        "master.key",
        "spool",
    }
    assert {path.name for path in victim.home.iterdir()} <= known | {"admin.sock.lock"}
    assert {path.name for path in (victim.home / "spool").iterdir()} == {
        "boot",
        "inbox",
        "outgoing",
        "parts",
        "received",
        "refused",
    }
    await serves(victim)


@pytest.mark.rfc("5.3.8", "5.3.10")
@pytest.mark.interop(13)
@pytest_twisted.ensureDeferred
async def test_wrong_counts_behind_the_data_are_told_and_nothing_stays(victim: Station, log: Log) -> None:
    await victim.start()
    octets = b"0123456789" * 100
    async with session(victim) as peer:
        for number, told in enumerate((0, 999, 1001, 10**16), 1):
            peer.send(peer.offer("ORDERS", octets))
            await peer.expect(c.Sfpa)
            peer.write(bytes(buffers.encode(octets, 32_768, last=True).stream))
            peer.send(c.Efid(octets=told))
            answer = await peer.expect(c.Efna)
            assert answer.reason is Answer.INVALID_BYTE_COUNT
            assert len(log.complaints()) == number
        await peer.leave()
    await victim.idle()
    assert victim.inbox() == []
    assert list((victim.home / "spool" / "parts").iterdir()) == []
    assert {transfer.state for transfer in await victim.transfers()} <= {TransferState.INTERRUPTED}
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_more_octets_than_allowed_are_not_stored_whatever_was_announced(victim: Station) -> None:
    victim.settings = "[limits]\nmax_file_octets = 65536"
    await victim.start()
    octets = bytes(100_000)
    async with session(victim) as peer:
        answer = await peer.send_file(peer.offer("ORDERS", octets, size=1), octets)
        assert isinstance(answer, c.Efna)
        assert answer.reason is Answer.FILE_TOO_BIG
        await peer.leave()
    await victim.idle()
    assert list((victim.home / "spool" / "parts").iterdir()) == []
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_the_reserve_of_the_disk_holds_against_sizes_that_are_lies(
    victim: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim.settings = "[spool]\nfree_octets_reserved = 1000000"
    await victim.start()
    spool = victim.running.context.spool

    def free() -> int:
        used = sum(path.stat().st_size for path in (victim.home / "spool" / "parts").iterdir())
        return 1_400_000 - used

    monkeypatch.setattr(spool, "free_octets", free)
    octets = bytes(1_500_000)
    async with session(victim) as peer:
        honest = await peer.send_file(peer.offer("ORDERS", octets), octets)
        assert isinstance(honest, c.Sfna)
        assert honest.reason is Answer.ACCESS_METHOD_FAILURE
        assert honest.retry is True
        liar = await peer.send_file(peer.offer("ORDERS", octets, size=1), octets)
        assert isinstance(liar, c.Efna)
        assert liar.reason is Answer.ACCESS_METHOD_FAILURE
        await peer.leave()
    await victim.idle()
    assert list((victim.home / "spool" / "parts").iterdir()) == []
    assert victim.inbox() == []


@pytest_twisted.ensureDeferred
async def test_a_file_that_needs_no_suite_arrives_whatever_suite_it_names(victim: Station) -> None:
    await victim.start()
    stage = Compressing()
    octets = stage.update(b"content") + stage.finish()
    async with session(victim) as peer:
        answer = await peer.send_file(peer.offer("ORDERS", octets, compression=1, envelope=1, cipher=99), octets)
        assert isinstance(answer, c.Efpa), answer
        assert any(isinstance(each, c.Eerp) for each in responses(await peer.turn()))
    await victim.idle()
    assert victim.inbox() == [b"content"]


# --- end responses ------------------------------------------------------------------------------------------------


def refusal(sfid: c.Sfid) -> c.Nerp:
    return c.Nerp(
        dataset=sfid.dataset,
        date=sfid.date,
        time=sfid.time,
        destination=sfid.originator,
        originator=sfid.destination,
        creator=sfid.destination,
        reason=NegativeResponseReason.UNSPECIFIED,
        text="\x1b[2J\r\n2026-01-01T00:00:00.000Z info forged: line " + "x" * 900,
    )


@pytest.mark.parametrize("make", [acknowledgement, refusal])
@pytest_twisted.ensureDeferred
async def test_end_responses_for_files_never_sent_are_taken_and_change_nothing(
    make: Callable[[c.Sfid], c.Command], victim: Station, log: Log
) -> None:
    await victim.start()
    queued = await victim.queue(CODE_B, b"waits")
    foreign = await victim.queue(OTHER, b"for the other")
    async with session(victim) as peer:
        own = peer.offer("NEVER", b"", originator=CODE_A, destination=CODE_B)
        others = replace(
            own, dataset=foreign.dataset, date=foreign.date, time=foreign.time, destination=foreign.destination
        )
        waiting = replace(own, dataset=queued.dataset, date=queued.date, time=queued.time)
        for sfid in (own, others, waiting):
            peer.send(make(sfid))
            await peer.expect(c.Rtr)
        heard = await peer.turn()
        assert [octets for _, octets in files(heard)] == [b"waits"]
        await peer.leave()
    await victim.idle()
    states = {transfer.id: transfer.state for transfer in await victim.transfers()}
    assert states == {queued.id: TransferState.SENT, foreign.id: TransferState.QUEUED}
    lines = log.complaints()
    assert len(lines) == 3
    assert all(CODE_B in line and "for a file never sent" in line for line in lines)
    assert not [line for line in log.text.splitlines() if line.startswith("2026-01-01")]
    assert "\x1b" not in log.text


@pytest_twisted.ensureDeferred
async def test_one_partner_cannot_acknowledge_or_refuse_what_was_sent_to_another(victim: Station) -> None:
    await victim.start()
    await victim.queue(OTHER, b"for the other")
    async with session(victim, code=OTHER, password=OTHER_PASSWORD) as peer:
        ((sfid, _),) = files(await peer.turn())
        await peer.leave()
    await victim.idle()
    async with session(victim) as peer:
        for make in (acknowledgement, refusal):
            peer.send(make(sfid))
            await peer.expect(c.Rtr)
        await peer.leave()
    await victim.idle()
    (transfer,) = await victim.transfers(Kind.FILE)
    assert transfer.state is TransferState.SENT
    async with session(victim, code=OTHER, password=OTHER_PASSWORD) as peer:
        peer.acknowledge(sfid)
        await peer.expect(c.Rtr)
        await peer.leave()
    await victim.idle()
    (transfer,) = await victim.transfers(Kind.FILE)
    assert transfer.state is TransferState.ACKNOWLEDGED


@pytest_twisted.ensureDeferred
async def test_one_partner_cannot_go_on_with_what_another_has_begun(victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        begun = peer.offer("BEGUN", bytes(10_000))
        peer.send(begun)
        await peer.expect(c.Sfpa)
        peer.write(bytes(buffers.encode(b"first half", 32_768, last=False).stream))
    await victim.idle()
    async with session(victim, code=OTHER, password=OTHER_PASSWORD) as peer:
        answer = await peer.send_file(begun, b"second half")
        assert isinstance(answer, c.Sfna), answer
        assert answer.reason is Answer.INVALID_ORIGIN
        peer.send(replace(begun, restart=1))
        assert (await peer.ended()).reason is End.PROTOCOL_VIOLATION
    await victim.idle()
    (transfer,) = await victim.transfers()
    assert (transfer.state, transfer.partner_id) == (TransferState.INTERRUPTED, (await victim.partner(CODE_B)).id)


@pytest_twisted.ensureDeferred
async def test_a_station_that_moves_to_another_partner_leaves_its_files_behind(victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        begun = peer.offer("BEGUN", bytes(10_000), originator=SUB_STATION)
        peer.send(begun)
        await peer.expect(c.Sfpa)
        peer.write(bytes(buffers.encode(b"first half", 32_768, last=False).stream))
    await victim.idle()
    await victim.set(CODE_B, sub_stations=())
    await victim.set(OTHER, sub_stations=(SUB_STATION,))
    async with session(victim, code=OTHER, password=OTHER_PASSWORD) as peer:
        answer = await peer.send_file(begun, b"second half")
        assert isinstance(answer, c.Sfna), answer
        assert answer.reason is Answer.DUPLICATE_FILE
        await peer.leave()
    assert victim.inbox() == []


@pytest_twisted.ensureDeferred
async def test_end_responses_owed_to_one_partner_never_go_to_another(victim: Station) -> None:
    await victim.start()
    async with session(victim) as peer:
        await peer.send_file(peer.offer("ORDERS", b"x"), b"x")
        await peer.leave()
    await victim.idle()
    async with session(victim, code=OTHER, password=OTHER_PASSWORD) as peer:
        assert responses(await peer.turn()) == []
    await victim.idle()
    async with session(victim) as peer:
        assert len(responses(await peer.turn())) == 1


# --- floods --------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_flood_of_end_responses_without_waiting_ends_the_session(victim: Station, log: Log) -> None:
    await victim.start()
    async with session(victim) as peer:
        sfid = peer.offer("NEVER", b"", originator=CODE_A, destination=CODE_B)
        peer.send(*[acknowledgement(sfid)] * 5_000)
        while not isinstance(said := await peer.command(), c.Esid):
            assert isinstance(said, c.Rtr)
        assert said.reason is End.PROTOCOL_VIOLATION
        peer.hang_up()
        await peer.gone()
    await victim.idle()
    assert len(log.complaints()) <= 2
    await serves(victim)


async def offered(peer: Peer) -> None:
    """Take the file the station offers, and answer nothing more."""
    peer.send(c.Cd())
    await peer.expect(c.Sfid)
    peer.send(c.Sfpa())


@pytest_twisted.ensureDeferred
async def test_a_flood_of_credit_neither_fills_the_memory_nor_keeps_the_station_busy(victim: Station) -> None:
    await victim.start()
    await victim.queue(CODE_B, bytes(3_000_000))
    async with session(victim, credit=1, buffer_size=2048) as peer:
        await offered(peer)
        # Credit for data that was not sent yet: taken a few times, but never collected.
        peer.write(raw(codec.encode(c.Cdt())) * 500_000)
        most, begun = 0, CLOCK.seconds()
        while not isinstance(said := await peer.command(), c.Efid | c.Esid):
            for running in victim.running.running.running():
                most = max(most, len(running.link._events))
        assert isinstance(said, c.Esid), said
        assert said.reason is End.PROTOCOL_VIOLATION
        assert most < 100
        assert CLOCK.seconds() - begun < 10
        peer.hang_up()
        await peer.gone()
    await victim.idle()
    await serves_the_rest(victim)


@pytest.mark.interop(3)
@pytest_twisted.ensureDeferred
async def test_credit_that_comes_a_little_early_is_welcome(victim: Station) -> None:
    await victim.start()
    content = bytes(300_000)
    await victim.queue(CODE_B, content)
    async with session(victim, credit=4, buffer_size=2048) as peer:
        await offered(peer)
        received = b""
        while not isinstance(said := await peer.command(), c.Efid):
            assert isinstance(said, c.Data)
            received += bytes(buffers.decode(said.payload).octets)
            peer.send(c.Cdt())
        assert received == content
        peer.send(c.Efpa())
        await peer.listen()


async def serves_the_rest(victim: Station) -> None:
    for transfer in await victim.transfers():
        if transfer.state is TransferState.QUEUED:
            await victim.db(victim.ledger.transfers.cancel, transfer.id, victim.running.context.now())
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_partner_that_takes_a_file_and_then_nothing_holds_one_window_and_not_the_file(victim: Station) -> None:
    victim.settings = "[session]\ninactivity_seconds = 5"
    await victim.start()
    await victim.queue(CODE_B, bytes(30_000_000))
    async with session(victim, credit=999, buffer_size=99_999) as peer:
        await offered(peer)
        peer.wire.transport.pauseProducing()
        await pause(0.5)
        (running,) = victim.running.running.running()
        (moved,) = running.report.progress.values() or (0,)
        assert moved < 30_000_000
        peer.wire.transport.resumeProducing()
    await victim.idle()
    await serves_the_rest(victim)


@pytest_twisted.ensureDeferred
async def test_a_partner_that_never_ends_a_file_is_timed_out_and_may_try_again(victim: Station, log: Log) -> None:
    victim.settings = "[session]\ninactivity_seconds = 5"
    await victim.start()
    async with session(victim) as peer:
        peer.send(peer.offer("ORDERS", b"x"))
        await peer.expect(c.Sfpa)
        assert (await peer.ended()).reason is End.TIME_OUT
    await victim.idle()
    one_complaint(log, CODE_B, "ESID 09")


@pytest_twisted.ensureDeferred
async def test_what_waits_for_a_partner_that_only_sends_keeps_waiting(victim: Station) -> None:
    await victim.start()
    queued = await victim.queue(CODE_B, b"for you", "ORDERS")
    async with call(victim) as peer:
        await peer.identify(mode=Mode.SENDER)
        assert await peer.turn() == [c.Esid(reason=End.NORMAL)]
    await victim.idle()
    (transfer,) = await victim.transfers()
    assert (transfer.id, transfer.state) == (queued.id, "queued")
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_file_that_breaks_off_leaves_nothing_on_the_disk(victim: Station, log: Log) -> None:
    await victim.start()
    async with session(victim) as peer:
        peer.send(peer.offer("DRAWING", bytes(500_000)))
        await peer.expect(c.Sfpa)
        peer.send(c.Data(payload=(b"\x3f" + bytes(63)) * 400))
        await pause(0.2)
    await victim.idle()
    (transfer,) = await victim.transfers()
    assert transfer.state == "interrupted"
    assert list((victim.home / "spool" / "parts").iterdir()) == []
    assert log.lines("DRAWING was cut off at 25200 octets and is expected again")
    await serves(victim)
