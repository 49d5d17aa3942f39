"""Partners that stall or vanish at any point of a session, and disks that are full: nothing is lost, the daemon goes on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from oftp2 import commands as c
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2d.client import RefusedError
from oftp2d.ledger import Direction, ReceiptState, TransferState, Transport
from tests.stations.house import MEBIBYTE, House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp

INACTIVITY = 5
IMPATIENT = {"session": {"inactivity_seconds": INACTIVITY}, "limits": {"handshake_seconds": 1}}

QUEUED = {f"OUT{number}": noise(500_000 + number, number) for number in range(3)}
OFFERED = noise(300_000)

# How a partner stops to take part: it says nothing any more, it is gone, or it hangs up.
Stop = Callable[[Talk], None]
SILENT: Stop = lambda _talk: None  # noqa: E731
VANISHED: Stop = Talk.vanish
CLOSED: Stop = lambda talk: talk.plug.close()  # noqa: E731


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def unclaimed(station: Station) -> bool:
    return all(each.claim_owner is None for way in Direction for each in station.stored(way))


# --- a partner that called -------------------------------------------------------------------------------------


def points(station: Station, peer: Peer) -> dict[str, Talk]:
    """A session at every point at which a caller may stop, all at once."""
    talks = {"nothing said": peer.connect(station)}
    talks["nothing said"].hear(c.Ssrm)
    talks["SSID answered"] = peer.call(station)

    talks["offer accepted"] = talk = peer.call(station)
    talk.say(peer.sfid(station, "IN0", OFFERED))
    talk.hear(c.Sfpa)

    talks["in the middle of data"] = talk = peer.call(station)
    talk.say(peer.sfid(station, "IN1", OFFERED))
    talk.hear(c.Sfpa)
    talk.say_content(OFFERED[:200_000], last=False)
    talk.say_octets(b"\x10\x00\x00\x80D\x3f")

    talks["all data said"] = talk = peer.call(station)
    talk.say(peer.sfid(station, "IN2", OFFERED))
    talk.hear(c.Sfpa)
    talk.say_content(OFFERED)

    talks["EFPA heard"] = talk = peer.call(station)
    assert isinstance(talk.send(peer.sfid(station, "IN3", OFFERED), OFFERED), c.Efpa)

    talks["in RTR wait"] = talk = peer.call(station)
    talk.say(c.Cd())
    talk.hear(c.Eerp)

    talks["offer heard"] = talk = peer.call(station)
    talk.say(c.Cd())
    talk.hear(c.Sfid)

    talks["credit used up"] = talk = peer.call(station, credit=2)
    talk.say(c.Cd())
    talk.hear(c.Sfid)
    talk.say(c.Sfpa())

    talks["EFID heard"] = talk = peer.call(station)
    talk.say(c.Cd())
    talk.receive()
    return talks


def everything_goes_on(station: Station, peer: Peer) -> None:
    """In a session like any other all that was broken off comes to its end."""
    with peer.call(station) as talk:
        for number in range(3):
            assert isinstance(talk.send(again(station, peer, f"IN{number}"), OFFERED), c.Efpa)
        talk.say(c.Cd())
        for _ in range(4):
            talk.hear(c.Eerp)
            talk.say(c.Rtr())
        came = {}
        for _ in QUEUED:
            sfid, content = talk.receive()
            came[sfid.dataset] = content
            talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.leave()
    assert came == QUEUED
    for number in range(4):
        station.delivered(f"IN{number}", OFFERED)
    assert station.part_files() == []


def again(station: Station, peer: Peer, dataset: str) -> c.Sfid:
    """The offer of a file that was broken off, as it was; one that never got to be stored is a new one."""
    (transfer,) = station.stored(Direction.IN, dataset)
    return peer.sfid(station, dataset, OFFERED, date=transfer.date, time=transfer.time)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [SILENT, VANISHED, CLOSED], ids=["silent", "vanished", "closed"])
def test_a_caller_that_stops_anywhere_costs_a_session_and_nothing_else(house: House, peer: Peer, stop: Stop) -> None:
    station = house.station(**IMPATIENT)
    peer.introduce(station)
    station.queue(peer.code, QUEUED)
    station.start()
    talks = points(station, peer)
    for talk in talks.values():
        stop(talk)
    if stop is SILENT:
        for point, talk in talks.items():
            while isinstance(heard := talk.next(seconds=2 * INACTIVITY), c.Data):
                pass
            assert isinstance(heard, c.Esid), f"{point}: {heard}"
            assert heard.reason is EndSessionReason.TIME_OUT, f"{point}: {heard}"
            talk.plug.close()
    station.has_no_session()
    assert len(station.lines("warn", " session ", " with ")) == len(talks), "one line for each"
    assert unclaimed(station)
    assert {each.state for each in station.stored(Direction.OUT)} == {TransferState.QUEUED}
    interrupted = [each.dataset for each in station.stored(Direction.IN) if each.state is TransferState.INTERRUPTED]
    assert interrupted == ["IN0", "IN1", "IN2"]
    (arrived,) = station.stored(Direction.IN, "IN3")
    receipt = station.receipt(arrived.id)
    assert receipt is not None
    assert receipt.state is ReceiptState.OWED
    wait_for("the queued files to be due again", lambda: due(station), told=station.tail)
    everything_goes_on(station, peer)


def due(station: Station) -> bool:
    now = datetime.now(UTC)
    return all(each.next_attempt_at is None or each.next_attempt_at < now for each in station.stored(Direction.OUT))


@pytest.mark.parametrize("transport", Transport)
def test_who_connects_and_says_nothing_is_dismissed_in_time(house: House, transport: Transport) -> None:
    station = house.station(**IMPATIENT)
    station.start()
    with Talk(socket.create_connection(("127.0.0.1", station.port(transport)))) as talk:
        heard = talk.next(seconds=5)
        if transport is Transport.TCP:
            assert isinstance(heard, c.Ssrm)
            talk.hear_end(EndSessionReason.TIME_OUT, seconds=5)
        else:
            assert heard is None
    station.has_no_session()


# --- a partner that was called ---------------------------------------------------------------------------------


def test_one_that_answers_and_stops_anywhere_is_called_again_until_it_has_the_file(house: House, peer: Peer) -> None:
    station = house.station(**IMPATIENT)
    peer.introduce(station, callable_=True)
    station.start()
    content = noise(400_000)
    sent = station.send(peer.code, content, "PATIENCE")
    with peer.accept() as talk:
        talk.hear_end(EndSessionReason.TIME_OUT, seconds=5)
    with peer.accept() as talk:
        talk.say(c.Ssrm())
        talk.hear(c.Ssid)
        talk.hear_end(EndSessionReason.TIME_OUT, seconds=5)
    with peer.accept():
        pass
    with peer.accept() as talk:
        talk.say(c.Ssrm())
        talk.hear(c.Ssid)
    with peer.answer() as talk:
        talk.hear(c.Sfid)
    with peer.answer(credit=2) as talk:
        talk.hear(c.Sfid)
        talk.say(c.Sfpa())
        talk.next()
    with peer.answer() as talk:
        talk.receive()
    with peer.answer() as talk:
        sfid, came = talk.receive()
        assert came == content
        talk.say(c.Efpa())
    station.reaches(sent, TransferState.SENT)
    with peer.call(station) as talk:
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
    station.reaches(sent, TransferState.ACKNOWLEDGED)
    assert unclaimed(station)


# --- a full disk -----------------------------------------------------------------------------------------------


def test_a_file_that_the_reserve_has_no_room_for_is_refused_for_now(house: House, peer: Peer) -> None:
    station = house.station(spool={"free_octets_reserved": 2**60})
    peer.introduce(station)
    station.start()
    with peer.call(station) as talk:
        for _ in range(2):
            refused = talk.send(peer.sfid(station, "NOROOM", OFFERED), OFFERED)
            assert isinstance(refused, c.Sfna)
            assert (refused.reason, refused.retry) == (AnswerReason.ACCESS_METHOD_FAILURE, True)
    station.line("refused NOROOM with SFNA 12")
    assert station.stored(Direction.IN) == []


def test_a_disk_that_gets_full_in_the_middle_refuses_the_file_and_takes_it_when_there_is_room(
    house: House, peer: Peer
) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    content = noise(4 * MEBIBYTE)
    sfid = peer.sfid(station, "TOOMUCH", content)
    station.limit_files(2 * MEBIBYTE)
    with peer.call(station) as talk:
        refused = talk.send(sfid, content)
        assert isinstance(refused, c.Efna)
        assert refused.reason is AnswerReason.ACCESS_METHOD_FAILURE
        assert station.part_files() == []
        small = noise(MEBIBYTE, 1)
        assert isinstance(talk.send(peer.sfid(station, "FITS", small), small), c.Efpa)
        station.limit_files(-1)
        assert isinstance(talk.send(sfid, content), c.Efpa)
    station.line("refused TOOMUCH with EFNA 12")
    station.delivered("FITS", small)
    station.delivered("TOOMUCH", content)


def test_two_daemons_wait_for_room_on_the_disk_and_nothing_is_lost(house: House) -> None:
    first, second = house.pair()
    house.start()
    second.limit_files(2 * MEBIBYTE)
    content = noise(5 * MEBIBYTE)
    sent = first.send(second.code, content, "LATER")
    second.line("refused LATER with EFNA 12", count=2)
    assert first.state(sent) in {TransferState.QUEUED, TransferState.SENDING}
    second.limit_files(-1)
    first.reaches(sent, TransferState.ACKNOWLEDGED)
    second.delivered("LATER", content)


def test_a_file_to_send_that_does_not_fit_is_refused_and_leaves_nothing_behind(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    station.limit_files(MEBIBYTE)
    with pytest.raises(RefusedError):
        station.send(peer.code, noise(3 * MEBIBYTE), "TOOMUCH")
    station.limit_files(-1)
    assert list((station.home / "spool" / "outgoing").iterdir()) == []
    station.send(peer.code, noise(3 * MEBIBYTE), "FITS")


def test_a_ledger_that_cannot_be_written_refuses_files_and_comes_back(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    content = noise(1_000)
    sfid = peer.sfid(station, "UNWRITTEN", content)
    with peer.call(station) as talk:
        station.limit_files(1)
        answer = talk.send(sfid, content)
        station.limit_files(-1)
        assert isinstance(answer, c.Sfna | c.Efna | c.Esid), answer
    station.has_no_session()
    with peer.call(station) as talk:
        assert isinstance(talk.send(sfid, content), c.Efpa)
    station.delivered("UNWRITTEN", content)
