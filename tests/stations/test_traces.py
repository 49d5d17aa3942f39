"""Sessions that two stations record: what is in the traces, what is not, and that the replay goes the same way."""

from __future__ import annotations

import contextlib
import re
import socket
import stat
from pathlib import Path

import pytest

from oftp2 import commands as c
from oftp2.framing import frame
from oftp2d.client import RefusedError
from oftp2d.ledger import TransferState, Transport
from tests.oftp2.replay import Replay, entries_of
from tests.stations.house import House, Station, noise, wait_for
from tests.stations.peer import Peer

CONTENT = noise(300_000)
SECRETS = ("OPEN7749", "SESAME33")


def traces(station: Station) -> list[Path]:
    """The files of the traces that are complete, oldest first."""

    def complete() -> bool:
        found = station.get("/v1/traces")["traces"]
        return bool(found) and not any(trace["recording"] for trace in found)

    wait_for(f"{station.code} to complete its traces", complete, told=station.tail)
    return sorted((station.home / "traces").iterdir())


def commands_of(path: Path) -> list[str]:
    return [f"{entry.first} {entry.others[0]}" for entry in entries_of(path) if entry.first in {"I>", "R>"}]


@pytest.mark.parametrize("transport", Transport)
def test_a_session_that_both_sides_record_can_be_replayed_from_either_trace(house: House, transport: Transport) -> None:
    ours, theirs = house.pair(transport=transport)
    house.start()
    for station in (ours, theirs):
        station.post("/v1/traces", seconds=60)
    sent = ours.send(theirs.code, CONTENT, "ORDERS")
    ours.reaches(sent, TransferState.ACKNOWLEDGED)
    for station in (ours, theirs):
        station.has_no_session()
    for station, side in ((ours, "I"), (theirs, "R")):
        for path in traces(station):
            text = path.read_text("utf-8")
            assert f"replay {side}\n" in text
            assert f" UTC over {'TLSv1.3' if transport is Transport.TLS else 'plain TCP'} with 127.0.0.1:" in text
            for other in "IR":
                Replay(path, other).run()
    (path,) = traces(theirs)
    assert commands_of(path)[:4] == ["R> SSRM", "I> SSID", "R> SSID", "I> SFID"]
    assert {"I> DATA", "I> EFID", "R> EFPA", "R> EERP", "I> RTR"} <= set(commands_of(path))


def test_a_trace_holds_no_password_and_no_content_and_nobody_else_may_read_it(house: House) -> None:
    ours, theirs = house.pair()
    house.start()
    for station, other, (outgoing, incoming) in ((ours, theirs, SECRETS), (theirs, ours, SECRETS[::-1])):
        with station.admin() as admin:
            admin.patch(f"/v1/partners/{other.code}", {"password_ours": outgoing, "password_theirs": incoming})
    ours.post("/v1/traces", partner=theirs.code, seconds=60)
    sent = ours.send(theirs.code, b"the quick brown fox " * 10_000, "ORDERS")
    ours.reaches(sent, TransferState.ACKNOWLEDGED)
    ours.has_no_session()
    (path,) = traces(ours)
    text = path.read_text("utf-8")
    octets = b"".join(entry.octets for entry in entries_of(path))
    for secret in (*SECRETS, "quick brown"):
        assert secret not in text
        assert secret.encode() not in octets
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_only_the_partner_that_was_asked_for_is_recorded(house: House) -> None:
    station = house.station()
    with Peer("CA10") as wanted, Peer("CB01") as other:
        for peer in (wanted, other):
            peer.introduce(station)
        station.start()
        station.post("/v1/traces", partner=wanted.code, seconds=60)
        for peer in (other, wanted, other):
            with peer.call(station) as talk:
                talk.leave()
        station.has_no_session()
        (path,) = traces(station)
    assert f"with {wanted.code}, recorded by its responder" in path.read_text("utf-8")
    (document,) = station.get("/v1/traces", partner=wanted.code)["traces"]
    assert (document["partner"], document["role"], document["id"]) == (wanted.code, "responder", path.stem)
    assert station.get("/v1/traces", partner=station.code)["traces"] == []


def test_a_caller_that_speaks_no_oftp_is_recorded_when_everybody_is(house: House) -> None:
    station = house.station()
    station.start()
    station.post("/v1/traces", seconds=60)
    with Peer() as peer:
        with peer.connect(station) as talk:
            talk.hear(c.Ssrm)
            talk.say_octets(b"GET / HTTP/1.1\r\n\r\n")
            talk.hear(c.Esid)
        station.has_no_session()
        (path,) = traces(station)
    text = path.read_text("utf-8")
    assert "with somebody unknown" in text
    assert "# unknown 'GET / HT'" in text
    Replay(path, "R").run()


def test_a_refused_password_can_be_seen_in_a_trace_and_replayed(house: House) -> None:
    ours, theirs = house.pair()
    house.start()
    with theirs.admin() as admin:
        admin.patch(f"/v1/partners/{ours.code}", {"password_theirs": "ANOTHER"})
    theirs.post("/v1/traces", partner=ours.code, seconds=60)
    ours.send(theirs.code, CONTENT, "ORDERS")
    ours.line("ESID 04")
    path = traces(theirs)[0]
    assert commands_of(path) == ["R> SSRM", "I> SSID", "R> ESID"]
    for side in "IR":
        Replay(path, side).run()


def test_traces_are_shown_in_pieces_removed_and_stopped(house: House) -> None:
    ours, theirs = house.pair()
    house.start()
    ours.post("/v1/traces", seconds=60)
    ours.post(f"/v1/partners/{theirs.code}/test", calls=True)
    (path,) = traces(ours)
    whole = ours.get(f"/v1/traces/{path.stem}")
    assert whole["text"] == path.read_text("utf-8")
    rest = ours.get(f"/v1/traces/{path.stem}", after=100)
    assert (rest["text"], rest["next"]) == (whole["text"][100:], whole["octets"])
    stopped = ours.post("/v1/traces/stop")["stopped"]
    assert [order["partner"] for order in stopped] == [None]
    assert ours.get("/v1/traces")["orders"] == []
    ours.post(f"/v1/partners/{theirs.code}/test", calls=True)
    assert traces(ours) == [path]
    with ours.admin() as admin:
        admin.delete(f"/v1/traces/{path.stem}")
        for name in (path.stem, "../oftp2d", "%2e%2e%2fmaster"):
            with pytest.raises(RefusedError) as refused:
                admin.get(f"/v1/traces/{name}")
            assert refused.value.status == 404
    assert not path.exists()
    events = [entry["event"] for entry in ours.get("/v1/audit")["entries"]]
    assert {"trace started", "trace stopped"} <= set(events)


def test_a_session_goes_on_when_its_trace_cannot_be_written(house: House) -> None:
    ours, theirs = house.pair()
    (ours.home / "traces").write_text("in the way")
    house.start()
    ours.post("/v1/traces", seconds=60)
    sent = ours.send(theirs.code, CONTENT, "ORDERS")
    ours.reaches(sent, TransferState.ACKNOWLEDGED)
    assert re.search("a session is not recorded: the disk does not take it", ours.line("is not recorded"))


def test_a_daemon_that_stops_completes_its_traces(house: House) -> None:
    station = house.station(session={"stop_seconds": 0})
    station.start()
    station.post("/v1/traces", seconds=60)
    with Peer() as peer:
        peer.introduce(station)
        talk = peer.call(station)
        wait_for("the trace", (station.home / "traces").exists)
        assert station.stop() == 0
        talk.plug.close()
    (path,) = (station.home / "traces").iterdir()
    assert commands_of(path)[-1] == "R> ESID"
    assert path.read_text("utf-8").splitlines()[-2] == "close"


HOSTILE = {
    "nothing": b"",
    "noise": noise(50_000),
    "half a header": b"\x10\x00",
    "a buffer that never ends": b"\x10\x01\x86\xa3D" + bytes(90_000),
    "many small words": frame(b"R") * 20_000,
    "an SSID without padding": frame(b"X5O0013SOMEBODYSECRET7700128BYYN064Y"),
    "an SSID with controls": frame(b"X5" + b"\x1b[2J\n".ljust(25) + bytes(34)),
    "data at once": frame(b"D" + b"\x7f-" * 40_000),
}


def test_whatever_a_caller_says_can_be_recorded(house: House) -> None:
    station = house.station()
    station.start()
    station.post("/v1/traces", seconds=60)
    with Peer() as peer:
        for octets in HOSTILE.values():
            with peer.connect(station) as talk, contextlib.suppress(ConnectionError):
                talk.hear(c.Ssrm)
                talk.say_octets(octets)
                talk.plug.shutdown(socket.SHUT_WR)
                while talk.next() is not None:
                    pass
        station.has_no_session()
        wait_for("all traces", lambda: len(traces(station)) == len(HOSTILE), told=station.tail)
    found = traces(station)
    for path in found:
        text = path.read_text("utf-8")
        assert all(line.isprintable() for line in text.splitlines())
        assert len(text) < 1_000_000
        assert "SECRET77" not in text
        assert b"SECRET77".hex(" ") not in text
