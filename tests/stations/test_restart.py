"""Restart (RFC 5024 sections 1.5.4 and 4.3.3): what was there before the break does not travel again, and is right.

The instants come from a seed, ``OFTP2D_CRASH_SEED``, by default another one each day.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from oftp2 import buffers
from oftp2 import commands as c
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.values import FileFormat
from oftp2d.ledger import Direction, LineEnds, TransferState, Transport
from tests.stations.house import MEBIBYTE, OUT, House, Station, Wire, noise, wait_for
from tests.stations.peer import Peer, Talk

SEED = int(os.environ.get("OFTP2D_CRASH_SEED") or f"{datetime.now(UTC):%Y%m%d}")
SIZE = 16 * MEBIBYTE
UNDERWAY = 5 * MEBIBYTE
"""Octets that may be lost at a break at most: a window of credit, and what waits for the disk."""

WINDOW = {"buffer_size": 32_768, "credit": 32}

F, T, U, V = FileFormat.FIXED, FileFormat.TEXT, FileFormat.UNSTRUCTURED, FileFormat.VARIABLE
LENGTHS = {F: 4_093, T: 0, U: 0, V: 0}


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def variable(records: list[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


@cache
def content(form: FileFormat) -> bytes:
    """About ``SIZE`` octets of this format, as they are stored."""
    if form is T:
        return b"".join(b"line %d\r\n" % number for number in range(SIZE // 14))
    if form is F:
        return noise(SIZE // LENGTHS[F] * LENGTHS[F], 5)
    if form is V:
        chance = random.Random(5024)  # noqa: S311 - repeatable, not secret
        records = [chance.randbytes(chance.choice((0, 1, 80, 3_000, 65_535))) for _ in range(1_200)]
        return variable(records)
    return noise(SIZE + 7, 5)


def linked(house: House) -> tuple[Station, Station, Wire]:
    """A pair whose first station reaches the second through a wire that counts octets, without TLS."""
    first, second = house.station("CA01", session=WINDOW), house.station("CB01", session=WINDOW)
    wire = house.wire(second.port(Transport.TCP))
    first.know(second.code, port=wire.port, transport=Transport.TCP)
    second.know(first.code, port=None, transport=Transport.TCP)
    return first, second, wire


def break_it(
    house: House, form: FileFormat, instants: list[int], breaks: Callable[[Station, Station, Wire], list[Station]]
) -> None:
    """Send a file, break it off where said, and demand that what was there does not travel again."""
    first, second, wire = linked(house)
    sent = content(form)
    house.start()
    stopped: list[Station] = []

    def arrange(instant: int) -> threading.Event:
        return wire.at(OUT, instant, lambda: stopped.extend(breaks(first, second, wire)))

    happened = arrange(instants[0])
    how: dict[str, str | int] = {"record_length": LENGTHS[form]} if LENGTHS[form] else {}
    transfer = first.send(second.code, sent, "FILE", format=form.value, **how)
    for following in (*instants[1:], None):
        wait_for("the break", happened.is_set, told=lambda: first.tail() + second.tail())
        passed = wire.passed[OUT]
        if following is not None:
            happened = arrange(following)
        if stopped:
            house.start(*stopped)
            stopped.clear()
    first.reaches(transfer, TransferState.ACKNOWLEDGED)
    arrived, found = second.arrived("FILE")
    assert found == sent
    assert (arrived.format, arrived.records) == (form, first.stored(Direction.OUT)[0].records)
    again = wire.passed[OUT] - passed
    assert again < len(sent) * 1.02 - (instants[-1] - UNDERWAY), "what was there was sent again"
    assert second.lines("FILE goes on behind"), second.tail()
    assert second.part_files() == []


def instants(name: str, count: int) -> list[int]:
    """Where to break it: each time behind more than what may be lost, and before the end."""
    chance = random.Random(f"{SEED} {name}")  # noqa: S311 - repeatable, not secret
    return [chance.randrange(UNDERWAY + MEBIBYTE, UNDERWAY + 3 * MEBIBYTE) for _ in range(count)]


@pytest.mark.parametrize("form", FileFormat)
def test_a_file_whose_line_is_cut_goes_on_where_it_was(house: House, form: FileFormat) -> None:
    def cut(_first: Station, _second: Station, wire: Wire) -> list[Station]:
        wire.cut()
        return []

    break_it(house, form, instants(f"cut {form}", 2), cut)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["sender", "receiver"])
@pytest.mark.parametrize("form", FileFormat)
def test_a_file_goes_on_where_it_was_after_kill_9(house: House, form: FileFormat, victim: str) -> None:
    def kill(first: Station, second: Station, wire: Wire) -> list[Station]:
        chosen = first if victim == "sender" else second
        chosen.kill()
        wire.cut()
        return [chosen]

    break_it(house, form, instants(f"kill {victim} {form}", 1), kill)


# --- as Listener, word by word ---------------------------------------------------------------------------------

RECORDS = [noise(number % 500, number) for number in range(7_500)]
CONTENT: Mapping[FileFormat, tuple[bytes, list[int], int]] = {
    U: (noise(2_000_500), [], 0),
    T: (noise(2_000_500, 2), [], 0),
    F: (noise(800 * 2_500, 3), [800 * (number + 1) for number in range(2_500)], 800),
    V: (b"".join(RECORDS), list(accumulate(map(len, RECORDS))), 500),
}
"""Octets, record ends, record length: more than the station reads at once, less than its window of credit."""


def say(talk: Talk, octets: bytes, ends: list[int], *, last: bool = False) -> None:
    """Data of a file with these record ends; the whole of it must be within the credit."""
    talk.say_octets(bytes(buffers.encode(octets, talk.buffer_size, last=last, ends=ends).stream))


def counts_of(form: FileFormat) -> c.Efid:
    octets, ends, _ = CONTENT[form]
    return c.Efid(records=len(ends), octets=len(octets))


def begin(peer: Peer, station: Station, form: FileFormat, upto: int) -> c.Sfid:
    """Send so many octets of a file of this format, with the records that end in them, and be gone."""
    octets, ends, length = CONTENT[form]
    before = len(station.lines("was cut off"))
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        sfid = peer.sfid(station, "FILE", octets, format=form, record_length=length)
        talk.say(sfid)
        assert talk.hear(c.Sfpa).restart == 0
        say(talk, octets[:upto], [end for end in ends if end <= upto])
        # A line that is closed is read to its end, one that is reset is not.
        talk.plug.shutdown(socket.SHUT_WR)
        station.line("was cut off", count=before + 1)
    station.has_no_session()
    return sfid


def go_on(talk: Talk, form: FileFormat, count: int) -> c.Command | None:
    """Send the rest, behind so many records or blocks; the answer."""
    octets, ends, _ = CONTENT[form]
    at = 1024 * count if form in {U, T} else (ends[count - 1] if count else 0)
    say(talk, octets[at:], [end - at for end in ends[count:]] if ends else [], last=not ends)
    talk.say(counts_of(form))
    return talk.next()


def whole(form: FileFormat) -> bytes:
    return variable(RECORDS) if form is V else CONTENT[form][0]


def positions(form: FileFormat, octets: int) -> int:
    """How many records or blocks are whole in so many octets."""
    ends = CONTENT[form][1]
    return sum(end <= octets for end in ends) if ends else octets // 1024


@pytest.mark.parametrize("form", FileFormat)
def test_the_answer_is_what_is_whole_in_the_part_file(house: House, peer: Peer, form: FileFormat) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, form, 700_123)
    here = positions(form, 700_123)
    # Never beyond what the Speaker offers; what is behind is forgotten.
    for number, offered in enumerate((here + 100, here, here - 1, 10), 2):
        with peer.call(station, buffer_size=99_999, restart=True) as talk:
            talk.say(c.Sfid(**{**vars_of(sfid), "restart": offered}))
            assert talk.hear(c.Sfpa).restart == min(here, offered)
        station.line("was cut off", count=number)
        station.has_no_session()
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": here}))
        assert talk.hear(c.Sfpa).restart == 10
        assert isinstance(go_on(talk, form, 10), c.Efpa)
    assert station.arrived("FILE")[1] == whole(form)
    assert station.part_files() == []


def vars_of(sfid: c.Sfid) -> dict[str, Any]:
    return {name: getattr(sfid, name) for name in sfid.__slots__}


@pytest.mark.parametrize("form", FileFormat)
@pytest.mark.parametrize("left", [0, 1, 300_001])
def test_what_counts_is_the_part_file_and_not_what_was_said_of_it(
    house: House, peer: Peer, form: FileFormat, left: int
) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, form, 700_123)
    (part,) = station.part_files()
    os.truncate(part, left)
    stored = list(accumulate(len(record) + 2 for record in RECORDS))
    here = sum(end <= left for end in stored) if form is V else positions(form, left)
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        assert talk.hear(c.Sfpa).restart == here
        assert isinstance(go_on(talk, form, here), c.Efpa)
    assert station.arrived("FILE")[1] == whole(form)


@pytest.mark.parametrize("rebooted", [False, True], ids=["killed", "without power"])
def test_what_was_being_received_goes_on_after_a_kill_and_begins_anew_after_a_boot(
    house: House, peer: Peer, *, rebooted: bool
) -> None:
    octets = CONTENT[U][0]
    station = house.station()
    peer.introduce(station)
    station.start()
    boot = station.home / "spool" / "boot"
    assert boot.read_text() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    sfid = peer.sfid(station, "FILE", octets)
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(sfid)
        assert talk.hear(c.Sfpa).restart == 0
        say(talk, octets[:1_500_000], [])
        wait_for("some of it to be written", lambda: any(path.stat().st_size for path in station.part_files()))
        station.kill()
    if rebooted:
        boot.write_text("of a machine that lost its power")
        # What that does to a part: its size is there, its content is not.
        (part,) = station.part_files()
        part.write_bytes(bytes(part.stat().st_size))
    station.start()
    assert bool(station.part_files()) is not rebooted
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        here = talk.hear(c.Sfpa).restart
        assert (here == 0) is rebooted
        assert isinstance(go_on(talk, U, here), c.Efpa)
    assert station.arrived("FILE")[1] == octets
    assert boot.read_text() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_what_a_session_kept_goes_on_after_a_boot(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, U, 700_123)
    station.kill()
    (station.home / "spool" / "boot").unlink()
    station.start()
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        assert talk.hear(c.Sfpa).restart == positions(U, 700_123)
        assert isinstance(go_on(talk, U, positions(U, 700_123)), c.Efpa)
    assert station.arrived("FILE")[1] == whole(U)


@pytest.mark.parametrize(
    "change",
    [{"size": 5}, {"format": T}, {"description": "another"}, {"restart": 0}],
    ids=lambda change: next(iter(change)),
)
def test_another_file_or_no_offer_begins_at_the_beginning(
    house: House, peer: Peer, change: Mapping[str, object]
) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, U, 700_123)
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 100, **change}))
        assert talk.hear(c.Sfpa).restart == 0
        assert isinstance(go_on(talk, U, 0), c.Efpa)
    assert station.arrived("FILE")[1] == whole(U)


def test_without_agreement_there_is_no_restart(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    with peer.call(station) as talk:
        assert [ssid.restart for ssid in talk.heard if isinstance(ssid, c.Ssid)] == [False]
        sfid = peer.sfid(station, "FILE", noise(5_000))
        talk.say(sfid)
        talk.hear(c.Sfpa)
        say(talk, b"x" * 3_000, [])
        talk.plug.shutdown(socket.SHUT_WR)
        station.line("was cut off at 3000 octets")
    assert station.part_files() == []
    station.has_no_session()
    with peer.call(station) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 1}))
        talk.hear_end(EndSessionReason.PROTOCOL_VIOLATION)


def test_lines_that_were_sent_as_records_come_from_the_beginning_again(house: House, peer: Peer) -> None:
    """What was put in between them is not of the Virtual File, and positions count its octets."""
    station = house.station()
    peer.introduce(station, text_line_ends=LineEnds.LF)
    station.start()
    lines = [b"line %d" % number for number in range(50_000)]
    octets, ends = b"".join(lines), list(accumulate(map(len, lines)))
    sfid = peer.sfid(station, "LINES", octets, format=T)
    for kill in (False, True):
        with peer.call(station, buffer_size=99_999, restart=True) as talk:
            talk.say(c.Sfid(**{**vars_of(sfid), "restart": 500}))
            assert talk.hear(c.Sfpa).restart == 0
            say(talk, octets[: ends[40_000]], ends[:40_001])
            wait_for("it to be written", lambda: any(path.stat().st_size for path in station.part_files()))
            if kill:
                station.kill()
                station.start()
        station.has_no_session()
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 500}))
        assert talk.hear(c.Sfpa).restart == 0
        say(talk, octets, ends)
        talk.say(c.Efid(octets=len(octets)))
        talk.hear(c.Efpa)
        talk.say(c.Cd())
        talk.hear(c.Eerp)
    assert station.arrived("LINES")[1] == b"\n".join([*lines, b""])
    assert station.part_files() == []


def test_a_part_that_does_not_fit_the_rest_is_found_out_by_its_counts_and_dropped(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, V, 700_123)
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        here = talk.hear(c.Sfpa).restart
        answer = go_on(talk, V, here + 1)
        assert isinstance(answer, c.Efna)
        assert answer.reason is AnswerReason.INVALID_BYTE_COUNT
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        assert talk.hear(c.Sfpa).restart == 0
        assert isinstance(go_on(talk, V, 0), c.Efpa)
    assert station.arrived("FILE")[1] == whole(V)


def test_what_nobody_goes_on_with_is_given_up_and_its_room_freed(house: House, peer: Peer) -> None:
    station = house.station(spool={"keep_parts_hours": 2})
    peer.introduce(station)
    station.start()
    sfid = begin(peer, station, U, 700_123)
    for hours, kept in ((1, True), (3, False)):
        station.stop()
        moved = int((datetime.now(UTC).timestamp() - hours * 3_600) * 1_000_000)
        with contextlib.closing(sqlite3.connect(station.home / "ledger.sqlite")) as database, database:
            database.execute("update transfers set updated_at = ?", (moved,))
        station.start()
        assert bool(station.part_files()) is kept
    station.line("is given up")
    assert [each.state for each in station.stored(Direction.IN)] == [TransferState.CANCELLED]
    with peer.call(station, buffer_size=99_999, restart=True) as talk:
        talk.say(c.Sfid(**{**vars_of(sfid), "restart": 10**9}))
        assert talk.hear(c.Sfpa).restart == 0
        assert isinstance(go_on(talk, U, 0), c.Efpa)


# --- as Speaker, word by word ----------------------------------------------------------------------------------


def queue(station: Station, peer: Peer, form: FileFormat) -> None:
    length = CONTENT[form][2]
    how: dict[str, str | int] = {"record_length": length} if length else {}
    station.send(peer.code, whole(form), "FILE", format=form.value, **how)


def take(talk: Talk, buffers_wanted: int) -> tuple[bytes, list[int]]:
    """The octets and record ends of so many buffers."""
    octets, ends = b"", []
    for _ in range(buffers_wanted):
        decoded = buffers.decode(talk.hear(c.Data).payload)
        ends += [len(octets) + int(end) for end in decoded.ends]
        octets += bytes(decoded.octets)
    return octets, ends


@pytest.mark.parametrize("form", FileFormat)
def test_the_station_offers_what_the_partner_may_have_and_sends_from_where_it_says(
    house: House, peer: Peer, form: FileFormat
) -> None:
    octets, ends, _ = CONTENT[form]
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    queue(station, peer, form)
    answer = partial(peer.answer, buffer_size=9_999, credit=20, restart=True)
    with answer() as talk:
        assert talk.hear(c.Sfid).restart == 0
        talk.say(c.Sfpa())
        had, _ = take(talk, 20)
        assert octets.startswith(had)
    with answer() as talk:
        offered = talk.hear(c.Sfid).restart
        # No less than we have, and no more than there is.
        assert positions(form, len(had)) <= offered <= positions(form, len(octets))
        talk.say(c.Sfpa(restart=offered + 1))
        assert "SFPAACNT" in talk.hear_end(EndSessionReason.PROTOCOL_VIOLATION).text
    with answer() as talk:
        assert talk.hear(c.Sfid).restart == offered, "nothing went since"
        wanted = positions(form, len(had)) - 3
        talk.say(c.Sfpa(restart=wanted))
        at = 1024 * wanted if form in {U, T} else ends[wanted - 1]
        talk.credit = 20
        rest, efid = talk.hear_content()
        assert rest == octets[at:]
        assert efid == counts_of(form)
        talk.say(c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT))
        talk.hear(c.Cd)
    failed = station.stored(Direction.OUT)[0]
    assert failed.state is TransferState.FAILED
    station.post(f"/v1/transfers/{failed.id}/retry")
    with answer() as talk:
        assert talk.hear(c.Sfid).restart == 0, "what was rejected is nowhere any more"


@pytest.mark.parametrize("form", FileFormat)
def test_a_station_that_was_killed_offers_all_of_the_file(house: House, peer: Peer, form: FileFormat) -> None:
    octets, ends, _ = CONTENT[form]
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    queue(station, peer, form)
    with peer.answer(buffer_size=9_999, credit=20, restart=True) as talk:
        talk.hear(c.Sfid)
        talk.say(c.Sfpa())
        take(talk, 20)
        station.kill()
    station.start()
    with peer.answer(buffer_size=9_999, credit=20, restart=True) as talk:
        offered = talk.hear(c.Sfid).restart
        assert offered == positions(form, len(octets))
        talk.say(c.Sfpa(restart=offered))
        at = 1024 * offered if form in {U, T} else ends[-1]
        rest, efid = talk.hear_content()
        assert (rest, efid) == (octets[at:], counts_of(form))


def test_nothing_is_offered_to_a_partner_that_cannot_restart(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    queue(station, peer, V)
    for restart in (True, False):
        with peer.answer(buffer_size=9_999, credit=20, restart=restart) as talk:
            assert talk.hear(c.Sfid).restart == 0
            talk.say(c.Sfpa())
            take(talk, 20)
