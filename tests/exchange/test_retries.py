"""What becomes of a file that the partner does not take: every reason, over a real session, and what people are told."""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2d.ledger import AcxMode, Transfer, TransferState, Transport
from oftp2d.overdue import give_up_overdue
from oftp2d.retries import RULES, Course
from tests.exchange.peer import Answering, Peer, acknowledgement, answering
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

pytestmark = pytest.mark.rfc("5.3.5", "5.3.10")

STATE = {
    Course.AGAIN: TransferState.QUEUED,
    Course.HOLD: TransferState.FAILED,
    Course.GIVE_UP: TransferState.FAILED,
    Course.DELIVERED: TransferState.SENT,
}


async def knows_peer(a: Station, port: int, **settings: object) -> None:
    """The station, running, with a partner that is called at a port of the test over plain TCP."""
    a.add_partner(
        CODE_B,
        password_ours=PASSWORD_A,
        password_theirs=PASSWORD_B,
        host="127.0.0.1",
        port=port,
        transport=Transport.TCP,
        acx=AcxMode.OFF,
        **settings,
    )
    await a.start()


async def answer(waiting: Answering) -> Peer:
    peer = await waiting.answer()
    await peer.greet()
    return peer


async def efid(peer: Peer) -> c.Sfid:
    """Take a file up to its EFID."""
    sfid = await peer.expect(c.Sfid)
    peer.send(c.Sfpa())
    while isinstance(command := await peer.command(), c.Data):
        pass
    assert isinstance(command, c.Efid)
    return sfid


async def finish(peer: Peer) -> None:
    """Take the turn, and leave."""
    await peer.expect(c.Cd)
    await peer.leave()


async def only(a: Station) -> Transfer:
    (transfer,) = await a.transfers()
    return transfer


async def in_short(a: Station, transfer: Transfer) -> str:
    """What ``transfer show`` says in one sentence."""
    code, shown = await a.run("transfer", "show", transfer.id)
    assert code == 0
    (line,) = (line for line in shown.splitlines() if line.startswith("in short"))
    return line.removeprefix("in short").strip()


@pytest.mark.rfc("5.3.5")
@pytest_twisted.ensureDeferred
async def test_every_sfna_without_retry_ends_the_file_and_says_what_to_do(a: Station) -> None:
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        for reason in AnswerReason:
            await a.queue(CODE_B, b"content", f"REASON{reason:02}")
        peer = await answer(waiting)
        for reason in AnswerReason:
            sfid = await peer.expect(c.Sfid)
            assert sfid.dataset == f"REASON{reason:02}"
            peer.send(c.Sfna(reason=reason, text="so says the partner"))
        await finish(peer)
        await a.idle()
        for reason, transfer in zip(AnswerReason, await a.transfers(), strict=True):
            assert (transfer.state, transfer.reason) == (TransferState.FAILED, f"SFNA {reason:02}")
            told = await in_short(a, transfer)
            assert f"SFNA {reason:02}: {RULES[reason].means} (it says: so says the partner)" in told
            assert "; it was tried once; " in told
            assert RULES[reason].advice in told.replace(f"transfer retry {transfer.id} ", "transfer retry ")


@pytest_twisted.ensureDeferred
async def test_every_sfna_with_retry_is_offered_again_and_only_in_a_later_session(a: Station) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\nmax_seconds = 1\n"
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        for reason in AnswerReason:
            await a.queue(CODE_B, b"content", f"REASON{reason:02}")
        peer = await answer(waiting)
        for reason in AnswerReason:
            await peer.expect(c.Sfid)
            peer.send(c.Sfna(reason=reason, retry=True, text="not now"))
        await peer.expect(c.Cd)

        async def due() -> bool:
            now = a.running.context.now()
            return all(each.next_attempt_at and each.next_attempt_at <= now for each in await a.transfers())

        # They are due long before this session ends, and yet it is not the one in which they go again.
        await eventually("all of them to be due", due)
        await peer.leave()
        peer = await answer(waiting)
        for reason in AnswerReason:
            sfid = await peer.expect(c.Sfid)
            assert sfid.dataset == f"REASON{reason:02}"
            peer.send(c.Sfna(reason=AnswerReason.FILE_TOO_BIG))
        await finish(peer)


@pytest.mark.rfc("5.3.10")
@pytest_twisted.ensureDeferred
async def test_every_efna_leads_where_the_policy_says(a: Station) -> None:
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        for reason in AnswerReason:
            await a.queue(CODE_B, b"content", f"REASON{reason:02}")
        peer = await answer(waiting)
        for reason in AnswerReason:
            await efid(peer)
            peer.send(c.Efna(reason=reason, text="so says the partner"))
        await finish(peer)
        for reason, transfer in zip(AnswerReason, await a.transfers(), strict=True):
            assert transfer.state is STATE[RULES[reason].rejected], reason
            assert not transfer.efid_sent, "an EFNA says that the partner has not got it"


@pytest_twisted.ensureDeferred
async def test_a_duplicate_counts_as_delivered_only_when_its_efid_had_gone_out(a: Station) -> None:
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        await a.queue(CODE_B, b"content")
        peer = await answer(waiting)
        sfid = await efid(peer)
        peer.hang_up()
        peer = await answer(waiting)
        await peer.expect(c.Sfid)
        peer.send(c.Sfna(reason=AnswerReason.DUPLICATE_FILE))
        await peer.expect(c.Cd)
        assert (await only(a)).state is TransferState.SENT
        assert "its receipt (EERP) has not come; it was tried twice; if that takes days" in await in_short(
            a, await only(a)
        )
        peer.send(acknowledgement(sfid))
        await peer.expect(c.Rtr)
        await peer.leave()
        await a.idle()
        told = await in_short(a, await only(a))
        assert told.startswith("Delivered: the receipt (EERP) of")
        assert told.endswith("; it was tried twice.")


@pytest_twisted.ensureDeferred
async def test_a_file_is_given_up_when_it_was_refused_too_often(a: Station, log: Log) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\nmax_seconds = 1\nattempts = 2\n"
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        await a.queue(CODE_B, b"content")
        for _ in range(2):
            peer = await answer(waiting)
            await efid(peer)
            peer.send(c.Efna(reason=AnswerReason.ACCESS_METHOD_FAILURE, text="disk full"))
            await finish(peer)
        await a.idle()
        transfer = await only(a)
        assert (transfer.state, transfer.reason) == (TransferState.FAILED, "EFNA 12")
        assert await in_short(a, transfer) == (
            "Given up after the partner refused it twice, the last time: EFNA 12: disk full; it was tried twice; ask the"
            f" partner, and retry the file when it is put right ('oftp2d transfer retry {transfer.id}')."
        )
        (line,) = log.lines("failed, transfer", transfer.id)
        assert "ask the partner, and retry" in line
        await a.run("transfer", "retry", transfer.id)
        assert (await only(a)).refusals == 0


@pytest_twisted.ensureDeferred
async def test_sessions_that_end_too_early_count_as_no_refusal_but_not_for_ever(a: Station) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\nmax_seconds = 1\nattempts = 1\ntotal_seconds = 3600\n"
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        await a.queue(CODE_B, b"content")
        for _ in range(2):
            peer = await answer(waiting)
            await peer.expect(c.Sfid)
            peer.send(c.Esid(reason=EndSessionReason.RESOURCES_NOT_AVAILABLE, text="no room"))
            peer.hang_up()
            await a.idle()
        transfer = await only(a)
        assert (transfer.state, transfer.attempts, transfer.refusals) == (TransferState.QUEUED, 2, 0)
        await grow_old(a, transfer)
        peer = await answer(waiting)
        await peer.expect(c.Sfid)
        peer.send(c.Esid(reason=EndSessionReason.RESOURCES_NOT_AVAILABLE, text="no room"))
        peer.hang_up()
        await a.idle()
        transfer = await only(a)
        assert (transfer.state, transfer.reason) == (TransferState.FAILED, "ESID 08")
        told = await in_short(a, transfer)
        assert told.startswith("Given up after 60 minutes, the last time: ended by the peer, ESID 08")
        assert "it was tried 3 times; put it right, and retry the file" in told


async def grow_old(a: Station, transfer: Transfer) -> None:
    """As if it had been queued an hour earlier."""
    assert transfer.queued_at is not None

    def age() -> None:
        import sqlalchemy as sa

        from oftp2d.ledger.schema import transfers

        with a.ledger._database.writing() as connection:
            aged = sa.update(transfers).where(transfers.c.id == transfer.id)
            connection.execute(aged.values(queued_at=transfer.queued_at - timedelta(hours=1)))

    await a.db(age)


@pytest_twisted.ensureDeferred
async def test_a_file_for_a_partner_out_of_reach_is_given_up_when_its_time_is_over(a: Station, log: Log) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\ntotal_seconds = 3600\n"
    async with answering() as waiting:
        port = waiting.port
    await knows_peer(a, port)
    transfer = await a.queue(CODE_B, b"content")

    async def failed() -> bool:
        return (await a.partner(CODE_B)).call_failures > 0

    await eventually("a call that fails", failed)
    await give_up_overdue(a.running.context)
    assert (await only(a)).state is TransferState.QUEUED
    await grow_old(a, transfer)
    await give_up_overdue(a.running.context)
    transfer = await only(a)
    assert (transfer.state, transfer.attempts) == (TransferState.FAILED, 0)
    told = await in_short(a, transfer)
    assert told.startswith("Given up after 60 minutes, the last time: 127.0.0.1")
    assert "nobody answers there" in told
    assert "it was not tried yet; put it right, and retry the file" in told
    assert log.lines("failed, transfer", transfer.id)


@pytest.mark.parametrize("settings", [{"host": None}, {"active": False}], ids=["no address", "inactive"])
@pytest_twisted.ensureDeferred
async def test_what_nobody_tries_to_send_is_not_given_up(a: Station, settings: dict[str, object]) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\ntotal_seconds = 3600\n"
    await knows_peer(a, 1)
    await a.set(CODE_B, **settings)
    await grow_old(a, await a.queue(CODE_B, b"content"))
    await give_up_overdue(a.running.context)
    assert (await only(a)).state is TransferState.QUEUED


@pytest_twisted.ensureDeferred
async def test_the_partners_last_esid_is_known_to_the_file_that_waited_for_it(a: Station) -> None:
    a.settings = "[retry]\nfirst_seconds = 1\ntotal_seconds = 3600\n"
    async with answering() as waiting:
        await knows_peer(a, waiting.port)
        transfer = await a.queue(CODE_B, b"content")
        peer = await waiting.answer()
        peer.send(c.Ssrm())
        await peer.expect(c.Ssid)
        peer.send(c.Esid(reason=EndSessionReason.INVALID_PASSWORD))
        peer.hang_up()
        await a.idle()

        async def known() -> bool:
            return (await a.partner(CODE_B)).last_reason == "ESID 04"

        await eventually("the reason", known)
        await grow_old(a, transfer)
        await give_up_overdue(a.running.context)
        assert (await only(a)).reason == "ESID 04"
