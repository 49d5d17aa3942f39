"""Outgoing calls and the end of a daemon: who is called when, and what a stop leaves behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from oftp2 import commands as c
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2d.client import RefusedError
from oftp2d.ledger import Direction, TransferState, Transport
from tests.stations.house import BACK, MEBIBYTE, OUT, House, noise, wait_for
from tests.stations.peer import SECONDS, HungError, Peer, eerp


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


# --- calls -----------------------------------------------------------------------------------------------------


def test_a_partner_that_does_not_answer_is_called_again_after_waits_that_double_up_to_a_bound(house: House) -> None:
    first, second = house.pair(retry={"first_seconds": 1, "max_seconds": 2})
    house.start(first)
    sent = first.send(second.code, noise(1_000), "WAITS")
    lines = [first.line("the call failed", count=number) for number in (1, 2, 3)]
    assert [line.partition("next one in ")[2].split()[0] for line in lines] == ["1", "2", "2"]
    assert all("nobody answers there" in line for line in lines), "the reason is told"
    assert first.state(sent) is TransferState.QUEUED
    assert first.transfer(sent)["attempts"] == 0, "a call that failed is no attempt of the file"
    house.start(second)
    first.reaches(sent, TransferState.ACKNOWLEDGED)
    second.delivered("WAITS", noise(1_000))


def test_a_partner_without_an_address_is_waited_for(house: House) -> None:
    first, second = house.pair()
    house.start()
    sent = second.send(first.code, noise(1_000), "COLLECT")
    with pytest.raises(RefusedError, match="no address"):
        second.post(f"/v1/partners/{first.code}/call")
    time.sleep(1.5)
    assert second.state(sent) is TransferState.QUEUED
    assert not second.lines("dialler")
    first.post(f"/v1/partners/{second.code}/call")
    second.reaches(sent, TransferState.ACKNOWLEDGED)
    first.delivered("COLLECT", noise(1_000))


def test_a_partner_that_is_called_regularly_is_called_when_it_is_time(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True, call_every=60)
    with station.ledger() as ledger:
        partner = ledger.partners.by_code(peer.code)
        assert partner is not None
        ledger.partners.change(partner.id, next_call_at=datetime.now(UTC) + timedelta(seconds=3))
    begun = time.monotonic()
    station.start()
    with peer.answer() as talk:
        assert time.monotonic() - begun > 2
        talk.hear(c.Cd)
        talk.leave()
    station.has_no_session()

    def next_call() -> datetime | None:
        with station.ledger() as ledger:
            found = ledger.partners.by_code(peer.code)
            assert found is not None
            return found.next_call_at

    wait_for("the next call to be planned", lambda: (next_call() or datetime.now(UTC)) > datetime.now(UTC))
    planned = next_call()
    assert planned is not None
    assert 50 < (planned - datetime.now(UTC)).total_seconds() <= 60


def test_a_partner_is_called_by_one_call_at_a_time(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    station.send(peer.code, noise(100, 1), "FIRST")
    with peer.answer() as talk:
        talk.hear(c.Sfid)
        station.send(peer.code, noise(100, 2), "SECOND")
        with pytest.raises(RefusedError, match="called already"):
            station.post(f"/v1/partners/{peer.code}/call")
        with pytest.raises(HungError):
            peer.accept(seconds=2.5)
        talk.say(c.Sfna(reason=AnswerReason.FILE_TOO_BIG))
        second, _ = talk.receive()
        assert second.dataset == "SECOND", "what came meanwhile goes in the same session"


def test_none_is_called_while_it_is_calling(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    with peer.call(station) as talk:
        station.send(peer.code, noise(100), "HERE")
        with pytest.raises(HungError):
            peer.accept(seconds=2.5)
        talk.say(c.Cd())
        talk.receive()


@pytest.mark.interop(11)
def test_a_connection_test_says_how_far_it_came(house: House) -> None:
    first, second = house.pair()
    house.start(first)
    report = first.post(f"/v1/partners/{second.code}/test", calls=True)
    assert (report["ok"], [step["step"] for step in report["steps"]]) == (False, ["tcp"])
    house.start(second)
    report = first.post(f"/v1/partners/{second.code}/test", calls=True)
    assert report["ok"], report
    assert [step["step"] for step in report["steps"]][-1] == "leave"
    second.has_no_session()


# --- the end of a daemon ---------------------------------------------------------------------------------------


def test_a_stop_lets_the_running_file_finish_and_takes_no_other(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    wire = house.wire(second.port(Transport.TLS))
    first.know(second.code, port=wire.port)
    second.know(first.code, port=None)
    contents = {"RUNS": noise(16 * MEBIBYTE, 1), "STAYS": noise(MEBIBYTE, 2)}
    queued = first.queue(second.code, contents)
    stopping = wire.at(OUT, 4 * MEBIBYTE, lambda: first.signal(signal.SIGTERM))
    house.start()
    wait_for("the file to be half-way", stopping.is_set)
    assert first.gone() == 0
    states = {each.dataset: each.state for each in first.stored(Direction.OUT)}
    assert states["RUNS"] in {TransferState.SENT, TransferState.ACKNOWLEDGED}
    assert states["STAYS"] is TransferState.QUEUED
    second.delivered("RUNS", contents["RUNS"])
    first.start()
    for transfer in queued.values():
        first.reaches(transfer, TransferState.ACKNOWLEDGED)
    second.delivered("STAYS", contents["STAYS"])


def test_a_receiver_that_stops_finishes_the_running_file_too_and_refuses_the_next_for_now(
    house: House, peer: Peer
) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    content = noise(1_000_000)
    with peer.call(station) as talk:
        sfid = peer.sfid(station, "RUNS", content)
        talk.say(sfid)
        talk.hear(c.Sfpa)
        station.signal(signal.SIGTERM)
        station.line("stopping")
        talk.say_content(content)
        talk.say(c.Efid(octets=len(content)))
        talk.hear(c.Efpa)
        refused = talk.send(peer.sfid(station, "NEXT", content), content)
        assert isinstance(refused, c.Sfna)
        assert refused.retry
        talk.say(c.Cd())
        assert talk.hear(c.Eerp).identity == sfid.identity
        talk.say(c.Rtr())
        talk.hear(c.Cd)
        talk.leave()
    assert station.gone() == 0
    station.delivered("RUNS", content)


@pytest.mark.parametrize("how", ["deadline", "second signal"])
def test_a_session_that_takes_too_long_is_ended_with_esid_05_and_its_file_goes_on_later(
    house: House, peer: Peer, how: str
) -> None:
    station = house.station(session={"stop_seconds": 1 if how == "deadline" else 600})
    peer.introduce(station, callable_=True)
    station.start()
    content = noise(1_000_000)
    sent = station.send(peer.code, content, "SLOW")
    with peer.answer(credit=2) as talk:
        talk.hear(c.Sfid)
        talk.say(c.Sfpa())
        station.signal(signal.SIGTERM)
        station.line("stopping")
        if how == "second signal":
            time.sleep(0.3)
            station.signal(signal.SIGTERM)
        while isinstance(heard := talk.next(seconds=SECONDS), c.Data):
            pass
        assert isinstance(heard, c.Esid)
        assert heard.reason is EndSessionReason.EMERGENCY_CLOSE_DOWN
    assert station.gone(seconds=15) == 0
    (stored,) = station.stored(Direction.OUT)
    assert (stored.state, stored.claim_owner) == (TransferState.QUEUED, None)
    station.start()
    with peer.answer() as talk:
        sfid, came = talk.receive()
        assert came == content
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
    station.reaches(sent, TransferState.ACKNOWLEDGED)


def test_an_idle_daemon_stops_at_once_and_a_second_one_in_its_home_is_refused(house: House) -> None:
    station = house.station()
    station.start()
    running, station.daemon = station.daemon, None
    station.begin()
    assert station.gone() == 1
    assert len(station.lines("error")) == 1, "one line says why"
    station.daemon = running
    assert station.stop() == 0


def test_a_cable_that_is_pulled_again_and_again_costs_time_only(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    wire = house.wire(second.port(Transport.TLS))
    first.know(second.code, port=wire.port)
    second.know(first.code, port=None)
    house.start()
    content = noise(8 * MEBIBYTE)
    cuts = ((OUT, 1_000), (BACK, 2_500), (OUT, 7 * MEBIBYTE))
    happened = wire.at(*cuts[0], wire.cut)
    sent = first.send(second.code, content, "PULLED")
    for cut in (*cuts[1:], None):
        wait_for("the cable to be pulled", happened.is_set, told=first.tail)
        if cut is not None:
            happened = wire.at(*cut, wire.cut)
    first.reaches(sent, TransferState.ACKNOWLEDGED)
    second.delivered("PULLED", content)
    second.has_no_session()
