"""Two stations that know nothing of each other but identification data, over TLS."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import pytest_twisted

from oftp2d.cli import exchanges
from oftp2d.cli.terminal import Exit
from oftp2d.ledger import AcxMode, Authentication, ExchangeState, Slot, TransferState
from tests.exchange.station import CODE_A, CODE_B, Station, eventually, introduce, start


@pytest_twisted.ensureDeferred
async def test_a_request_brings_both_certificates_and_closes_the_latch_of_both(a: Station, b: Station) -> None:
    introduce(a, b, authentication=Authentication.PREPARED)
    await start(a, b)
    await a.running.exchange.request(await a.partner(CODE_B), None, None)
    a.running.dialler.nudge(1)

    async def latched() -> bool:
        return all(
            [
                (await station.partner(code)).authentication is Authentication.ON
                for station, code in ((a, CODE_B), (b, CODE_A))
            ]
        )

    await eventually("both latches", latched)
    for station, other in ((a, b), (b, a)):
        (held,) = await station.certificates(other.code)
        assert held.fingerprint == other.certificate.fingerprint
        assert held.slot is Slot.CURRENT
        assert held.usages
        assert [entry.state for entry in await station.exchanges()] == [ExchangeState.ACCEPTED] * 2
        assert len(await station.audit("authentication latched")) == 1


@pytest_twisted.ensureDeferred
async def test_who_waits_for_the_answer_of_a_partner_is_told_it(a: Station, b: Station) -> None:
    introduce(a, b)
    await start(a, b)
    code, out = await a.run("exchange", "request", CODE_B, "--wait", "--timeout", "20s")
    assert (code, f"accepted by {CODE_B}" in out) == (Exit.DONE, True), out
    await b.set(CODE_A, acx=AcxMode.OFF)
    code, out = await a.run("exchange", "deliver", CODE_B, "--wait", "--timeout", "20s")
    assert code == Exit.REFUSED
    assert f"refused by {CODE_B}: certificate exchange is switched off" in out


@pytest_twisted.ensureDeferred
async def test_who_does_not_wait_to_the_end_is_told_how_it_stands(
    a: Station, b: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    introduce(a, b)
    await a.start()
    code, out = await a.run("exchange", "recall", CODE_B, "--wait", "--timeout", "1s")
    assert (code, "no answer yet; see 'oftp2d exchange show 1'" in out) == (Exit.TIMEOUT, True), out

    def leave(_seconds: float) -> None:
        raise KeyboardInterrupt

    def cancel(_seconds: float) -> None:
        for transfer in a.ledger.transfers.list():
            if transfer.state is TransferState.QUEUED:
                a.ledger.transfers.cancel(transfer.id, datetime.now(UTC))

    for meanwhile, ends, told in (
        (leave, Exit.INTERRUPTED, "it goes on: see 'oftp2d exchange list'"),
        (cancel, Exit.REFUSED, "cancelled; see 'oftp2d transfer show"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(exchanges.time, "sleep", meanwhile)
            code, out = await a.run("exchange", "deliver", CODE_B, "--wait")
        assert (code, told in out) == (ends, True), out
