"""What is promised about crashes: kill -9 at any instant, start again, and every file arrives exactly once.

The instants are octets on a relay between the two daemons, so a failing one can be tried again: they come from a seed,
``OFTP2D_CRASH_SEED``, by default another one each day.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import pytest

from oftp2d.ledger import Direction, ReceiptState, TransferState, Transport
from tests.stations.house import MEBIBYTE, OUT, House, Station, Way, Wire, noise, wait_for

SEED = int(os.environ.get("OFTP2D_CRASH_SEED") or f"{datetime.now(UTC):%Y%m%d}")
INSTANTS = 10
LARGE = 64 * MEBIBYTE
FINISHED = frozenset({TransferState.ACKNOWLEDGED, TransferState.DELIVERED})

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
    """A pair whose first station reaches the second through a wire."""
    first, second = house.station("CA01"), house.station("CB01")
    wire = house.wire(second.port(transport))
    first.know(second.code, port=wire.port, transport=transport)
    second.know(first.code, port=None, transport=transport)
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

    def acknowledged() -> bool:
        states = {transfer.dataset: transfer.state for transfer in sender.stored(Direction.OUT)}
        return all(states[dataset] is TransferState.ACKNOWLEDGED for dataset in contents)

    wait_for("all files to be acknowledged", acknowledged, told=lambda: f"{sender.tail()}\n{receiver.tail()}")
    for dataset, content in contents.items():
        receiver.delivered(dataset, content)
    assert len(receiver.inbox_files()) == len(contents)
    assert receiver.part_files() == []
    for transfer in receiver.stored(Direction.IN):
        receipt = receiver.receipt(transfer.id)
        assert receipt is not None
        assert receipt.state is ReceiptState.SENT


@pytest.mark.slow
@pytest.mark.parametrize("victims", VICTIMS)
def test_a_file_of_64_mib_survives_ten_kills_at_random_instants_and_arrives_exactly_once(
    house: House, victims: str
) -> None:
    chance = random.Random(f"{SEED} {victims}")  # noqa: S311 - repeatable, not secret
    first, second, wire = linked(house)
    killed = VICTIMS[victims]((first, second))
    kills = [Kill(OUT, int(chance.uniform(0, 1) * LARGE), killed) for _ in range(INSTANTS)]
    house.start()
    survive(house, wire, kills, lambda: first.send(second.code, large(), "LARGE"))
    everything_once(first, second, {"LARGE": large()})
