"""Files that we cannot send to their end: each of them fails alone, whatever waits behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import pytest
import pytest_twisted

import oftp2d.sending
from oftp2 import commands as c
from oftp2.reasons import EndSessionReason
from oftp2d.ledger import Transfer, TransferState, Transport
from oftp2d.spool import read_piece
from tests.exchange.peer import Peer, files, session
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually

BIG = os.urandom(3 << 20)
SMALL = {f"SMALL{number}": bytes([number]) * 100 for number in range(3)}

Damage = Callable[[Station, Transfer, pytest.MonkeyPatch], None]


def unreadable(_station: Station, _transfer: Transfer, patch: pytest.MonkeyPatch) -> None:
    """Its second piece cannot be read: the disk says so."""
    pieces = []

    class Failing:
        def read(self, _octets: int) -> bytes:
            raise OSError(5, "Input/output error")

    def read(file: BinaryIO, octets: int) -> bytes:
        pieces.append(octets)
        return read_piece(file if len(pieces) != 2 else Failing(), octets)  # type: ignore[arg-type]  # all that is asked of it

    patch.setattr(oftp2d.sending, "read_piece", read)


def cut_off(station: Station, transfer: Transfer, _patch: pytest.MonkeyPatch) -> None:
    """It is shorter than it was."""
    os.truncate(station.home / "spool" / "outgoing" / transfer.spool_name, 1 << 20)


async def waiting(a: Station) -> list[Transfer]:
    """A station that waits for a call, with a large file and small ones behind it."""
    a.add_partner(
        CODE_B, password_ours=PASSWORD_A, password_theirs=PASSWORD_B, transport=Transport.TCP, wait_for_calls=True
    )
    await a.start()
    return [await a.queue(CODE_B, content, dataset) for dataset, content in [("BIG", BIG), *SMALL.items()]]


async def refused_to_go_on(peer: Peer) -> c.Esid:
    """What the station says at last, having been given all the credit it wants."""
    while isinstance(command := await peer.command(), c.Data):
        peer.send(c.Cdt())
    assert isinstance(command, c.Esid), command
    peer.hang_up()
    await peer.gone()
    return command


@pytest.mark.parametrize("credit", [1, 999], ids=["waiting for credit", "with credit"])
@pytest.mark.parametrize("damage", [unreadable, cut_off])
@pytest_twisted.ensureDeferred
async def test_a_file_that_cannot_be_read_to_its_end_ends_the_session_and_fails_alone(
    a: Station, log: Log, monkeypatch: pytest.MonkeyPatch, damage: Damage, credit: int
) -> None:
    big, *_ = await waiting(a)
    damage(a, big, monkeypatch)
    async with session(a, credit=credit) as peer:
        peer.send(c.Cd())
        assert (await peer.expect(c.Sfid)).dataset == "BIG"
        peer.send(c.Sfpa())
        assert (await refused_to_go_on(peer)).reason is EndSessionReason.UNSPECIFIED
    await a.idle()
    failed, *others = await a.transfers()
    assert failed.state is TransferState.FAILED
    assert failed.text in {
        "the spool could not read a file (Input/output error); check its disk and its rights",
        "the staged file is 2097152 octets too short; send the file again",
    }
    assert [(other.state, other.attempts, other.text) for other in others] == [(TransferState.QUEUED, 0, None)] * 3
    assert len(log.lines("failed, transfer")) == 1
    async with session(a) as peer:
        assert {sfid.dataset: content for sfid, content in files(await peer.turn())} == SMALL


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_gone_before_it_is_begun_fails_and_the_session_goes_on(a: Station, log: Log) -> None:
    big, *_ = await waiting(a)
    (a.home / "spool" / "outgoing" / big.spool_name).unlink()
    async with session(a) as peer:
        assert {sfid.dataset: content for sfid, content in files(await peer.turn())} == SMALL

    async def noted() -> bool:
        return [each.state for each in await a.transfers()] == [TransferState.FAILED] + [TransferState.SENT] * 3

    await eventually("all to be noted", noted)
    assert log.lines("BIG failed", "could not")


@pytest_twisted.ensureDeferred
async def test_a_file_of_more_records_than_efid_can_say_ends_the_session_and_fails_alone(a: Station, log: Log) -> None:
    big, *_ = await waiting(a)
    with a.ledger.transfers._database.writing() as connection:
        connection.exec_driver_sql("update transfers set records = ? where id = ?", (10**17, big.id))
    async with session(a) as peer:
        peer.send(c.Cd())
        await peer.expect(c.Sfid)
        peer.send(c.Sfpa())
        assert (await refused_to_go_on(peer)).reason is EndSessionReason.UNSPECIFIED
    await a.idle()
    assert [each.state for each in await a.transfers()] == [TransferState.FAILED] + [TransferState.QUEUED] * 3
    assert log.lines("BIG failed", "EFIDRCNT")
