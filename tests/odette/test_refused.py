"""Chapter 7: certificates that are revoked (7.1), from outside the trust list (7.2), or of a root directly (7.3).

They are refused with their reason wherever they appear: brought by the exchange, shown in TLS by either end, under a file.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted

from oftp2.certs.usages import FILE_USAGES, Usage
from oftp2d.ledger import ExchangeState, Slot, TransferState
from tests.exchange.station import Log, eventually
from tests.odette.pair import UNAWARE, Pair, logged
from tests.odette.test_usages import A1, station_of_a


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_a_revoked_certificate_is_used_for_nothing_from_the_moment_its_list_says_so(two: Pair, log: Log) -> None:
    await station_of_a(two, A1, CA12=frozenset({Usage.ENCRYPTION}))
    before = await two.send(two.b, "--to", A1, "--no-signed-receipt")
    await two.settled()
    assert (await two.sent(two.b, before)).state is TransferState.ACKNOWLEDGED
    two.revoke("CA12")
    await two.refresh()
    await logged(log, "error", two.a.code, "revoked on", "exchange request")
    code, said = await two.b.run("send", two.a.code, str(two.b.home / before), "--to", A1, "--no-signed-receipt")
    assert code == 1
    assert "revoked on" in said
    assert "exchange request" in said


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_what_waits_under_a_certificate_that_is_revoked_does_not_go(two: Pair, log: Log) -> None:
    await station_of_a(
        two, A1, a={"wait_for_calls": True}, b={"wait_for_calls": True}, CA12=frozenset({Usage.ENCRYPTION})
    )
    waiting = await two.send(two.b, "--to", A1, "--no-signed-receipt")
    await two.secured(two.b, waiting)
    two.revoke("CA12")
    await two.refresh()

    async def stopped() -> bool:
        return bool(log.lines(waiting, "revoked on"))

    await eventually("a line that says why it waits", stopped)
    assert (await two.call()).last_error is None
    assert (await two.sent(two.b, waiting)).state is not TransferState.ACKNOWLEDGED
    assert not two.a.inbox()


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_a_revoked_certificate_that_is_delivered_is_refused_with_the_reason(make: Callable[..., Pair]) -> None:
    two = make(a_settings=UNAWARE)
    two.revoke("CA02")
    two.acquaint()
    await two.start()
    # For all but TLS: shown there, it would be refused before it could be delivered.
    await two.bring(two.a, two.certificate("CA02"), usages=FILE_USAGES)
    refused = await two.exchange(two.a, "deliver", two.certificate("CA02"))
    assert refused.state is ExchangeState.REFUSED
    assert "revoked on" in refused.text
    assert two.certificate("CA02").fingerprint not in {
        each.fingerprint for each in await two.b.certificates(two.a.code) if each.active
    }


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_a_revoked_certificate_proves_nobody_in_tls_at_either_end(make: Callable[..., Pair], log: Log) -> None:
    two = make(b_settings=UNAWARE)
    two.acquaint()
    await two.start()
    await two.files_both_ways()
    two.revoke("CB01")
    await two.refresh()
    partner = await two.call()
    assert partner.last_error
    if two.caller is two.a:
        assert "revoked on" in str(partner.last_error)
        await logged(log, "the call failed", "TLS failed", "revoked on")
        await logged(log, "came to nothing", "TLS failed")
    else:
        assert partner.last_reason == "ESID 12"
        await logged(log, two.b.code, "revoked on")


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_nobody_is_let_in_with_a_revoked_certificate_where_none_is_demanded(
    make: Callable[..., Pair], log: Log
) -> None:
    two = make(b_settings=UNAWARE)
    two.acquaint(client_certificate=False)
    two.revoke("CB01")
    await two.start()
    assert (await two.call()).last_error
    await logged(log, two.b.code, "revoked on")


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_a_file_that_was_signed_with_a_revoked_certificate_is_refused(make: Callable[..., Pair]) -> None:
    two = make(a_settings=UNAWARE)
    await station_of_a(two, A1, CA11=frozenset({Usage.SIGNATURE}))
    two.revoke("CA11")
    await two.refresh()
    name = await two.send(two.a, "--from", A1, "--no-signed-receipt")
    await two.settled()
    sent = await two.sent(two.a, name)
    assert sent.state is TransferState.REFUSED
    assert "NERP" in str(sent.reason)
    assert not two.b.inbox()


@pytest.mark.odette("7.1")
@pytest_twisted.ensureDeferred
async def test_a_file_for_a_revoked_certificate_of_ours_is_not_opened(make: Callable[..., Pair]) -> None:
    two = make(b_settings=UNAWARE)
    await station_of_a(two, A1, CA12=frozenset({Usage.ENCRYPTION}))
    two.revoke("CA12")
    await two.refresh()
    name = await two.send(two.b, "--to", A1, "--no-signed-receipt")
    await two.settled()
    sent = await two.sent(two.b, name)
    assert (sent.state, str(sent.reason)[:4]) == (TransferState.REFUSED, "NERP")
    assert not two.a.inbox()


# --- outside the trust list, and of a root ----------------------------------------------------------------------------

OUTSIDE = [
    pytest.param("CB06", "is not in the trust list, and no anchor of ours", marks=pytest.mark.odette("7.2"), id="7.2"),
    pytest.param(
        "CB05",
        "which the trust list names only to verify its issuing authorities",
        marks=pytest.mark.odette("7.3"),
        id="7.3",
    ),
]


@pytest.mark.parametrize(("name", "why"), OUTSIDE)
@pytest_twisted.ensureDeferred
async def test_one_that_is_delivered_is_refused_with_the_reason_and_the_old_one_stays(
    name: str, why: str, two: Pair
) -> None:
    two.acquaint()
    await two.start()
    await two.bring(two.b, two.certificate(name), usages=FILE_USAGES)
    refused = await two.exchange(two.b, "deliver", two.certificate(name))
    assert refused.state is ExchangeState.REFUSED
    assert why in refused.text
    assert await two.held(two.a) == {Slot.CURRENT: two.prints("CB01")}
    _, of_b = await two.files_both_ways()
    assert set(of_b.signers) == two.prints("CB01")


@pytest.mark.parametrize(("name", "why"), OUTSIDE)
@pytest_twisted.ensureDeferred
async def test_one_that_is_shown_in_tls_is_refused_with_the_reason(
    name: str, why: str, make: Callable[..., Pair], log: Log
) -> None:
    two = make(b=name)
    two.acquaint(of_b="CB01")
    await two.start()
    partner = await two.call()
    if two.caller is two.a:
        assert why in str(partner.last_error)
        await logged(log, "the call failed", why, "cert import FILE --anchor")
        await logged(log, "came to nothing", "TLS failed")
    else:
        assert partner.last_reason == "ESID 12"
        await logged(log, two.b.code, "a TLS certificate of this partner is required", why[:40])
