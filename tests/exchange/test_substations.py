"""Several stations on our side and several codes of a partner: whose a file is, and for whom, over real sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from oftp2.reasons import AnswerReason
from oftp2d.ledger import AcxMode, Direction, Transfer, TransferState, Transport
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, introduce, start

pytestmark = pytest.mark.rfc("5.3.3", "5.4")

PLANT_A = "O0013000001TESTPLANTA"
PLANT_B = "O0013000002TESTPLANTB"


async def plants(a: Station, b: Station) -> None:
    """Both stations, running, each with a plant that the other knows as a further code of its partner."""
    introduce(
        a,
        b,
        transport=Transport.TCP,
        acx=AcxMode.OFF,
        a_sub_stations=(PLANT_B,),
        b_sub_stations=(PLANT_A,),
    )
    await start(a, b)
    for station, plant in ((a, PLANT_A), (b, PLANT_B)):
        assert (await station.run("station", "add", plant, "--name", "Plant"))[0] == 0


async def sent(a: Station, folder: Path, *options: str) -> Transfer:
    """Send a file from the command line, and wait until it is settled."""
    file = folder / "orders.txt"
    file.write_bytes(b"content")
    code, told = await a.run("send", CODE_B, str(file), *options)
    assert code == 0, told

    async def settled() -> Transfer | None:
        transfer = (await a.transfers())[-1]
        ends = {TransferState.ACKNOWLEDGED, TransferState.FAILED}
        return transfer if transfer.state in ends else None

    transfer = await eventually("the end of it", settled)
    assert transfer is not None
    return transfer


@pytest.mark.parametrize("originator", [CODE_A, PLANT_A])
@pytest.mark.parametrize("destination", [CODE_B, PLANT_B])
@pytest_twisted.ensureDeferred
async def test_a_file_goes_from_any_of_our_stations_to_any_of_the_partners(
    a: Station, b: Station, tmp_path: Path, originator: str, destination: str
) -> None:
    await plants(a, b)
    transfer = await sent(a, tmp_path, "--from", originator, "--to", destination)
    assert transfer.state is TransferState.ACKNOWLEDGED
    (received,) = await b.transfers()
    assert (received.originator, received.destination) == (originator, destination)
    assert b.inbox() == [b"content"]


@pytest_twisted.ensureDeferred
async def test_what_is_no_station_on_either_side_is_not_even_queued(a: Station, b: Station, tmp_path: Path) -> None:
    await plants(a, b)
    file = tmp_path / "orders.txt"
    file.write_bytes(b"content")
    for options, told in (
        (("--from", PLANT_B), f"{PLANT_B} is no station of ours"),
        (("--to", PLANT_A), f"{PLANT_A} is no code of {CODE_B}"),
    ):
        code, said = await a.run("send", CODE_B, str(file), *options)
        assert (code, told in said) == (1, True)
    assert await a.transfers() == []


@pytest_twisted.ensureDeferred
async def test_a_station_that_was_removed_takes_no_more_files(a: Station, b: Station, tmp_path: Path) -> None:
    await plants(a, b)
    assert (await b.run("station", "remove", PLANT_B, "--yes"))[0] == 0
    transfer = await sent(a, tmp_path, "--to", PLANT_B)
    assert (transfer.state, transfer.reason) == (
        TransferState.FAILED,
        f"SFNA {AnswerReason.INVALID_DESTINATION:02}",
    )
    assert [each for each in await b.transfers() if each.direction is Direction.IN] == []


@pytest_twisted.ensureDeferred
async def test_a_sub_station_the_partner_is_not_known_to_have_is_refused(
    a: Station, b: Station, tmp_path: Path
) -> None:
    await plants(a, b)
    await b.set(CODE_A, sub_stations=())
    transfer = await sent(a, tmp_path, "--from", PLANT_A)
    assert (transfer.state, transfer.reason) == (TransferState.FAILED, f"SFNA {AnswerReason.INVALID_ORIGIN:02}")
