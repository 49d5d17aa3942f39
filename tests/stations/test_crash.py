"""What is promised about crashes: kill -9 at any instant, start again, and every file arrives exactly once.

The instants are octets on a relay between the two daemons, so a failing one can be tried again: they come from a seed,
``OFTP2D_CRASH_SEED``, by default another one each day.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial

import pytest

from oftp2 import codec
from oftp2 import commands as c
from oftp2.framing import FrameReader
from oftp2.reasons import AnswerReason
from oftp2d.ledger import Direction, ReceiptState, TransferState, Transport
from tests.stations.house import BACK, MEBIBYTE, OUT, House, Station, Way, Wire, noise, wait_for
from tests.stations.peer import Peer

SEED = int(os.environ.get("OFTP2D_CRASH_SEED") or f"{datetime.now(UTC):%Y%m%d}")
INSTANTS = 10
MANY = 80
LARGE = 64 * MEBIBYTE

Both = tuple[Station, Station]
VICTIMS: Mapping[str, Callable[[Both], Both | tuple[Station]]] = {
    "sender": lambda pair: (pair[0],),
    "receiver": lambda pair: (pair[1],),
    "both": lambda pair: pair,
}


@cache
def large() -> bytes:
    return noise(LARGE, 5024)


def linked(house: House, transport: Transport = Transport.TLS) -> tuple[Station, Station, Wire]:
    """A pair whose first station reaches the second through a wire; the second calls directly, if it has to."""
    first, second = house.station("CA01"), house.station("CB01")
    wire = house.wire(second.port(transport))
    first.know(second.code, port=wire.port, transport=transport)
    second.know(first.code, port=first.port(transport), transport=transport)
    return first, second, wire


@dataclass(frozen=True)
class Kill:
    """Kill these stations when so many octets have passed this way."""

    way: Way
    octets: int
    victims: tuple[Station, ...]


def survive(house: House, wire: Wire, kills: Sequence[Kill], begin: Callable[[], object]) -> None:
    """Begin, and kill and start again as planned; each count begins where the kill before it was."""

    def arrange(kill: Kill) -> threading.Event:
        def act() -> None:
            for victim in kill.victims:
                victim.kill()
            wire.cut()

        return wire.at(kill.way, kill.octets, act)

    def told() -> str:
        return "\n".join(station.tail() for station in house.stations)

    happened = arrange(kills[0])
    begin()
    for kill, following in zip(kills, [*kills[1:], None], strict=True):
        wait_for(f"{kill.octets} octets {kill.way}", happened.is_set, told=told)
        if following is not None:
            # Before the victims run again, or they might be quicker.
            happened = arrange(following)
        house.start(*kill.victims)


def everything_once(sender: Station, receiver: Station, contents: Mapping[str, bytes]) -> None:
    """Demand that each file is in the inbox once and whole, acknowledged, and that nothing else is there."""

    def answered() -> bool:
        states = {transfer.dataset: transfer.state for transfer in sender.stored(Direction.OUT)}
        return all(states[dataset] is TransferState.ACKNOWLEDGED for dataset in contents)

    wait_for("all files to be acknowledged", answered, told=lambda: f"{sender.tail()}\n{receiver.tail()}")
    for dataset, content in contents.items():
        receiver.delivered(dataset, content)
    assert len(receiver.inbox_files()) == len(contents)
    assert receiver.part_files() == []

    def told() -> bool:
        receipts = [receiver.receipt(transfer.id) for transfer in receiver.stored(Direction.IN)]
        return all(receipt is not None and receipt.state is ReceiptState.SENT for receipt in receipts)

    wait_for("no end response to be owed any more", told, told=receiver.tail)


@pytest.mark.slow
@pytest.mark.parametrize("victims", VICTIMS)
def test_a_file_of_64_mib_survives_kills_at_random_instants_and_arrives_exactly_once(
    house: House, victims: str
) -> None:
    chance = random.Random(f"{SEED} {victims}")  # noqa: S311 - repeatable, not secret
    first, second, wire = linked(house)
    killed = VICTIMS[victims]((first, second))
    count = INSTANTS if len(killed) == 1 else INSTANTS // 2
    # The file goes on where it was, so all of them together must come before its end.
    kills = [Kill(OUT, int(chance.uniform(0, 1) * LARGE / count), killed) for _ in range(count)]
    house.start()
    survive(house, wire, kills, lambda: first.send(second.code, large(), "LARGE"))
    everything_once(first, second, {"LARGE": large()})


@pytest.mark.slow
def test_many_small_files_both_ways_survive_ten_kills_each_exactly_once(house: House) -> None:
    chance = random.Random(f"{SEED} many")  # noqa: S311 - repeatable, not secret
    first, second, _ = linked(house, Transport.TCP)
    ours, theirs = (
        {f"{name}{number}": noise(chance.randrange(3_000), number) for number in range(MANY)} for name in ("O", "T")
    )
    first.queue(second.code, ours)
    second.queue(first.code, theirs)

    def arrived() -> int:
        return len(first.inbox_files()) + len(second.inbox_files())

    def more(goal: int) -> bool:
        return arrived() >= goal

    house.start()
    for number in range(INSTANTS):
        goal = arrived() + chance.randint(1, 2 * MANY // INSTANTS - 4)
        wait_for(f"{goal} files to arrive", partial(more, goal), told=lambda: f"{first.tail()}\n{second.tail()}")
        time.sleep(chance.uniform(0, 0.02))
        victims = list(VICTIMS.values())[number % 3]((first, second))
        for victim in victims:
            victim.kill()
        house.start(*victims)
    everything_once(first, second, ours)
    everything_once(second, first, theirs)


SIGNPOSTS = ((BACK, c.Sfpa), (OUT, c.Efid), (BACK, c.Efpa), (BACK, c.Eerp), (OUT, c.Rtr))


@pytest.mark.slow
@pytest.mark.parametrize("victims", ["sender", "receiver"])
def test_a_kill_between_any_two_commands_of_a_file_loses_and_doubles_nothing(house: House, victims: str) -> None:
    first, second, wire = linked(house, Transport.TCP)
    house.start()
    contents = {f"END{number}": noise(5_000, number) for number in range(len(SIGNPOSTS) + 1)}
    wire.record = True
    first.reaches(first.send(second.code, contents["END0"], "END0"), TransferState.ACKNOWLEDGED)
    first.has_no_session()
    wire.record = False
    for number, (way, command) in enumerate(SIGNPOSTS, 1):
        dataset = f"END{number}"
        kill = Kill(way, end_of(command, wire.recorded[way]), VICTIMS[victims]((first, second)))
        survive(house, wire, [kill], partial(first.send, second.code, contents[dataset], dataset))
        wait_for("the file to be acknowledged", partial(acknowledged, first, dataset), told=first.tail)
        wait_for("both to be at rest", lambda: not first.sessions() and not second.sessions(), told=second.tail)
    everything_once(first, second, contents)


def end_of(command: type[c.Command], octets: bytes) -> int:
    """Where the first such command ends in what passed."""
    reader = FrameReader()
    reader.feed(octets)
    while (buffer := reader.take()) is not None:
        if isinstance(codec.decode(buffer), command):
            return len(octets) - reader.held
    raise AssertionError(f"no {command.__name__} passed")


def acknowledged(station: Station, dataset: str) -> bool:
    return [each.state for each in station.stored(Direction.OUT, dataset)] == [TransferState.ACKNOWLEDGED]


# --- what EFPA means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [0, 5_000, 3 * MEBIBYTE])
def test_who_gets_efpa_finds_row_and_file_though_the_daemon_is_killed_at_that_instant(
    house: House, octets: int
) -> None:
    station = house.station()
    content = noise(octets, octets)
    with Peer() as peer:
        peer.introduce(station)
        station.start()
        sfid = peer.sfid(station, "SAFE", content)
        with peer.call(station) as talk:
            answer = talk.send(sfid, content)
            station.kill()
        assert isinstance(answer, c.Efpa)
        station.delivered("SAFE", content)
        station.start()
        with peer.call(station) as talk:
            refused = talk.send(sfid, content)
            assert isinstance(refused, c.Sfna)
            assert refused.reason is AnswerReason.DUPLICATE_FILE
            talk.say(c.Cd())
            assert talk.hear(c.Eerp).identity == sfid.identity
        station.delivered("SAFE", content)


def test_a_kill_between_efid_and_efpa_leaves_a_file_that_can_be_sent_again(house: House) -> None:
    """Whatever of sync, rename and commit the kill met: without EFPA the file is sent again, and is there once."""
    station = house.station()
    chance = random.Random(f"{SEED} efid")  # noqa: S311 - repeatable, not secret
    with Peer() as peer:
        peer.introduce(station)
        station.start()
        for number in range(5):
            content = noise(2 * MEBIBYTE, number)
            sfid = peer.sfid(station, f"AGAIN{number}", content)
            with peer.call(station) as talk:
                talk.say(sfid)
                talk.hear(c.Sfpa)
                talk.say_content(content)
                talk.say(c.Efid(octets=len(content)))
                time.sleep(chance.uniform(0, 0.02))
                station.kill()
                confirmed = isinstance(talk.next(), c.Efpa)
            station.start()
            with peer.call(station) as talk:
                answer = talk.send(sfid, content)
            assert isinstance(answer, c.Sfna if confirmed else c.Efpa | c.Sfna), answer
            station.delivered(sfid.dataset, content)
            assert len(station.inbox_files()) == number + 1
