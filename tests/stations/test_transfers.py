"""Files between two daemons: over TLS, both ways, of every size, with their end responses."""

from __future__ import annotations

from oftp2d.ledger import TransferState
from tests.stations.house import House, noise


def test_a_file_arrives_and_is_acknowledged(house: House) -> None:
    first, second = house.pair()
    house.start()
    content = noise(100_000)
    sent = first.send(second.code, content, "HELLO")
    first.reaches(sent, TransferState.ACKNOWLEDGED)
    second.delivered("HELLO", content)
