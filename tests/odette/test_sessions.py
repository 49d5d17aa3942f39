"""Sessions: the first exchange, TLS 1.2 with forward secrecy, client certificates, equal authentication, no downgrade."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest
import pytest_twisted
from OpenSSL import SSL

from oftp2.certs.usages import Usage
from oftp2d import link, tls
from oftp2d.context import Context
from oftp2d.ledger import AcxMode, Authentication, Demand, ExchangeState, Slot, TransferState
from oftp2d.line import PeerTls
from tests.exchange.station import CODE_A, CODE_B, Log, Station, eventually
from tests.odette.pair import SECURE, Pair, logged

PLAIN = {
    **dict.fromkeys(("sign_files", "compress_files", "encrypt_files", "signed_receipts"), False),
    "incoming_signed": Demand.ALLOWED,
    "incoming_encrypted": Demand.ALLOWED,
    "authentication": Authentication.OFF,
    "acx": AcxMode.OFF,
    "level": 2,
}
"""A partner of OFTP 1.x."""


@pytest.mark.odette("base CA01", "base CB01")
@pytest_twisted.ensureDeferred
async def test_base_certificates_are_exchanged_and_then_used_for_everything(two: Pair) -> None:
    two.introduce(**(SECURE | {"authentication": Authentication.PREPARED, "client_certificate": False}))
    await two.start()
    assert (await two.exchange(two.a, "request", two.certificate("CA01"))).state is ExchangeState.ACCEPTED

    async def latched() -> bool:
        await two.settled()
        settings = [
            (await station.partner(code)).authentication for station, code in ((two.a, CODE_B), (two.b, CODE_A))
        ]
        return settings == [Authentication.ON] * 2

    await eventually("authentication to be on at both", latched)
    assert await two.held(two.a) == {Slot.CURRENT: two.prints("CB01")}
    assert await two.held(two.b) == {Slot.CURRENT: two.prints("CA01")}
    of_a, of_b = await two.files_both_ways()
    assert (set(of_a.signers), set(of_a.recipients)) == (two.prints("CA01"), two.prints("CB01"))
    assert (set(of_b.signers), set(of_b.recipients)) == (two.prints("CB01"), two.prints("CA01"))


# --- TLS ------------------------------------------------------------------------------------------------------------


def shape(monkeypatch: pytest.MonkeyPatch, station: Station, *shapes: tuple[str, object]) -> None:
    """Have the TLS of one station less to offer, as of an older product: calls of methods of its contexts."""
    made = tls._new_context

    def less(context: Context, *arguments: object) -> SSL.Context:
        offered = made(context, *arguments)  # type: ignore[arg-type]  # passed on as they are
        if context.config.home == station.home:
            for method, argument in shapes:
                getattr(offered, method)(argument)
        return offered

    monkeypatch.setattr(tls, "_new_context", less)


@pytest.mark.odette("TLS 1.2", "forward secrecy")
@pytest_twisted.ensureDeferred
async def test_with_a_partner_that_knows_tls_1_2_alone_sessions_have_forward_secrecy(
    two: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.acquaint()
    shape(monkeypatch, two.b, ("set_max_proto_version", SSL.TLS1_2_VERSION))
    await two.start()
    steps = await two.caller.test(two.other(two.caller).code)
    assert all(ok for ok, _ in steps.values()), steps
    assert steps["tls"][1].startswith("TLSv1.2 ECDHE-RSA-")
    await two.files_both_ways()


@pytest.mark.odette("forward secrecy")
@pytest_twisted.ensureDeferred
async def test_a_partner_without_forward_secrecy_is_refused_and_both_logs_say_why(
    two: Pair, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    two.acquaint()
    older = (("set_max_proto_version", SSL.TLS1_2_VERSION), ("set_cipher_list", b"AES256-GCM-SHA384:AES128-SHA"))
    shape(monkeypatch, two.b, *older)
    await two.start()
    assert "no common cipher suite" in str((await two.call()).last_error)
    await logged(log, "came to nothing", "offers no cipher suite that is taken here", "ECDHE")
    await logged(log, "the call failed", "no common cipher suite", "forward secrecy")


@pytest.mark.odette("TLS 1.2")
@pytest_twisted.ensureDeferred
async def test_a_partner_with_older_versions_of_tls_alone_is_refused_and_both_logs_say_why(
    two: Pair, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    two.acquaint()
    old = (
        ("set_cipher_list", b"ALL:@SECLEVEL=0"),
        ("set_min_proto_version", SSL.TLS1_VERSION),
        ("set_max_proto_version", SSL.TLS1_1_VERSION),
    )
    shape(monkeypatch, two.b, *old)
    await two.start()
    assert "none of the TLS versions" in str((await two.call()).last_error)
    await logged(log, "came to nothing", "none of the TLS versions that are allowed here", "TLS 1.2 and 1.3")


@pytest.mark.odette("client certificates")
@pytest_twisted.ensureDeferred
async def test_a_caller_that_shows_no_client_certificate_is_refused_where_one_is_agreed(two: Pair, log: Log) -> None:
    two.acquaint()
    caller = two.caller
    with caller._closed() as (_, store):
        store.remove(store.find(caller.certificate.fingerprint))
        ours = caller.certificate
        usages = frozenset(Usage) - {Usage.TLS_CLIENT}
        store.adopt(
            ours.key, ours.certificate, alias="station", now=datetime.now(UTC), station=caller.code, usages=usages
        )
    await two.start()
    partner = await two.call()
    assert partner.last_reason == "ESID 12"
    await logged(log, caller.code, "a TLS certificate of this partner is required: it showed none")


@pytest.mark.odette("client certificates")
@pytest_twisted.ensureDeferred
async def test_a_renewed_certificate_is_shown_in_tls_with_the_next_call_without_a_restart(
    two: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.acquaint()
    await two.start()
    await two.files_both_ways()
    await two.bring(two.a, two.certificate("CA02"))
    await two.bring(two.b, two.certificate("CB04"))
    for sender, name in ((two.a, "CA02"), (two.b, "CB04")):
        assert (await two.exchange(sender, "deliver", two.certificate(name))).state is ExchangeState.ACCEPTED
    shown: set[str] = set()
    look = link._peer_tls

    def seen(transport: object) -> PeerTls:
        told = look(transport)
        assert told.certificate is not None
        shown.add(sha256(told.certificate).hexdigest())
        return told

    monkeypatch.setattr(link, "_peer_tls", seen)
    await two.files_both_ways()
    assert shown == two.prints("CA02", "CB04")


# --- what both sides have to agree on ---------------------------------------------------------------------------------


@pytest.mark.odette("equal authentication")
@pytest.mark.parametrize("strict", ["a", "b"])
@pytest_twisted.ensureDeferred
async def test_unequal_authentication_settings_end_the_session_before_anything_is_sent(
    two: Pair, strict: str, log: Log
) -> None:
    two.acquaint(**{"b" if strict == "a" else "a": {"authentication": Authentication.OFF}})
    await two.start()
    names = [await two.send(station) for station in (two.a, two.b)]
    assert "12" in str((await two.call()).last_error)
    for station, name in zip((two.a, two.b), names, strict=True):
        assert (await two.sent(station, name)).state in {TransferState.QUEUED, TransferState.SECURING}
    await logged(log, two.caller.code, "uthentication")


@pytest.mark.odette("no downgrade")
@pytest.mark.parametrize("strict", ["a", "b"])
@pytest_twisted.ensureDeferred
async def test_no_session_of_an_older_level_comes_about_where_security_is_agreed(two: Pair, strict: str) -> None:
    two.acquaint(**{"b" if strict == "a" else "a": PLAIN})
    await two.start()
    names = [await two.send(station) for station in (two.a, two.b)]
    assert (await two.call()).last_error
    for station, name in zip((two.a, two.b), names, strict=True):
        assert (await two.sent(station, name)).state in {TransferState.QUEUED, TransferState.SECURING}
