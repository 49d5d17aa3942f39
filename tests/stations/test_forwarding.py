"""Three daemons in a row: files go on through the one in the middle, end responses come back, and it may crash meanwhile."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from oftp2d.ledger import Direction, ReceiptState, TransferState, Transport
from tests.stations.house import BACK, OUT, House, Station, Way, Wire, noise, wait_for
from tests.stations.test_crash import SEED, Kill, survive

CONTENT = noise(300_000, 3)


@dataclass
class Row:
    """A sends to C through B; each reaches the next through a wire."""

    a: Station
    b: Station
    c: Station
    near: Wire
    """From A to B."""
    far: Wire
    """From B to C."""
    home: Wire
    """From B to A."""

    def told(self) -> str:
        return "\n".join(each.tail() for each in (self.a, self.b, self.c))

    def send(self, dataset: str = "THROUGH", content: bytes = CONTENT, **more: str) -> str:
        """From A to C, by way of B."""
        import io

        with self.a.admin() as client:
            sent = client.upload(
                "/v1/transfers",
                io.BytesIO(content),
                len(content),
                lambda _moved: None,
                partner=self.b.code,
                dataset=dataset,
                **{"destination": self.c.code} | more,
            )
        return str(sent["id"])


@pytest.fixture
def row(house: House) -> Row:
    transport = Transport.TCP
    a, b, c = house.station("CA01"), house.station("CB01"), house.station("CA05")
    near, far, home = (house.wire(station.port(transport)) for station in (b, c, a))
    a.know(b.code, port=near.port, transport=transport, sub_stations=(c.code,))
    b.know(a.code, port=home.port, transport=transport, may_forward=True)
    b.know(c.code, port=far.port, transport=transport)
    c.know(b.code, port=b.port(transport), transport=transport, sub_stations=(a.code,))
    return Row(a, b, c, near, far, home)


def through_once(row: Row, dataset: str = "THROUGH", content: bytes = CONTENT) -> None:
    """Demand that the file is at C once and whole, that A knows it, and that nothing of it is left in the middle."""

    def acknowledged() -> bool:
        return [each.state for each in row.a.stored(Direction.OUT, dataset)] == [TransferState.ACKNOWLEDGED]

    wait_for("the end response to be back", acknowledged, told=row.told)
    row.c.delivered(dataset, content)
    assert len(row.c.inbox_files()) == 1

    def told() -> bool:
        receipt = row.b.receipt(row.b.stored(Direction.IN, dataset)[0].id)
        return receipt is not None and receipt.state is ReceiptState.SENT

    wait_for("the middle to owe nothing any more", told, told=row.told)
    (incoming,) = row.b.stored(Direction.IN, dataset)
    (outgoing,) = row.b.stored(Direction.OUT, dataset)
    (first,), (last,) = row.a.stored(Direction.OUT, dataset), row.c.stored(Direction.IN, dataset)
    assert (incoming.state, outgoing.state) == (TransferState.DELIVERED, TransferState.ACKNOWLEDGED)
    assert first.key == incoming.key == outgoing.key == last.key
    assert row.b.inbox_files() == []
    assert row.b.part_files() == []
    wait_for(
        "the file to be gone from the middle",
        lambda: not list((row.b.home / "spool" / "outgoing").iterdir()),
        told=row.told,
    )


def test_a_file_goes_through_the_middle_and_its_receipt_comes_back(house: House, row: Row) -> None:
    house.start()
    row.send(description="for the one behind")
    through_once(row)
    assert row.c.stored(Direction.IN)[0].description == "for the one behind"


def test_records_go_through_the_middle_as_they_are(house: House, row: Row) -> None:
    content = b"".join(length.to_bytes(2, "big") + noise(length, length) for length in (0, 1, 80, 0, 65_535, 0))
    house.start()
    row.a.reaches(row.send("RECORDS", content, format="V"), TransferState.ACKNOWLEDGED)
    arrived, found = row.c.arrived("RECORDS")
    assert found == content
    assert (arrived.format, arrived.records, arrived.record_length) == ("V", 6, 65_535)


def test_a_refusal_of_the_last_comes_back_to_the_first_as_nerp(house: House, row: Row) -> None:
    with row.c.ledger() as ledger:
        # C does not know any more that A is behind B.
        middle = ledger.partners.by_code(row.b.code)
        assert middle is not None
        ledger.partners.change(middle.id, sub_stations=())
    house.start()
    refused = row.a.reaches(row.send(), TransferState.REFUSED)
    assert refused["reason"] == "NERP 13"
    assert f"{row.a.code} is no station of {row.b.code}" in refused["text"]
    assert row.c.stored(Direction.IN) == []


LENGTH = len(CONTENT)
INSTANTS: dict[str, tuple[str, Way, int, int]] = {
    "a file half here": ("near", OUT, LENGTH // 3, LENGTH // 3),
    "the last data and EFID in": ("near", OUT, LENGTH - 500, 800),
    "EFPA in": ("near", BACK, 111, 8),
    "a file half there": ("far", OUT, LENGTH // 3, LENGTH // 3),
    "the last data and EFID out": ("far", OUT, LENGTH - 500, 800),
    "EFPA out": ("far", BACK, 111, 8),
    "the end response comes": ("far", BACK, 120, 90),
    "the end response goes": ("home", OUT, 70, 90),
    "its RTR comes": ("home", BACK, 89, 6),
}
"""Where to kill the one in the middle: wire, way, and between which octets on it."""


@pytest.mark.slow
@pytest.mark.parametrize("instant", INSTANTS)
def test_the_middle_may_be_killed_at_any_instant_and_the_file_arrives_exactly_once(
    house: House, row: Row, instant: str
) -> None:
    which, way, first, spread = INSTANTS[instant]
    octets = first + random.Random(f"{SEED} {instant}").randrange(spread)  # noqa: S311 - repeatable, not secret
    house.start()
    survive(house, getattr(row, which), [Kill(way, octets, (row.b,))], row.send)
    through_once(row)
