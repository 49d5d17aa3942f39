"""Certificates for one purpose alone, and stations of their own: A0's session authentication, A1 and A3 beside A0."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from oftp2.certs.usages import Usage
from oftp2d.ledger import ExchangeState, Transfer, TransferState
from tests.odette.pair import Pair, at_rest
from tests.pki import DECLARATION

A1, A3 = (DECLARATION["station"][name]["code"] for name in ("A1", "A3"))


async def station_of_a(
    two: Pair,
    code: str,
    *,
    a: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    **certificates: frozenset[Usage],
) -> None:
    """Both run; A has one more station, whose certificates B expects, each with its usages, and gets by the exchange.

    ``a`` and ``b`` are further settings that the station has of the other.
    """
    two.acquaint(a=a, b={"sub_stations": (code,)} | (b or {}))
    with at_rest(two.b, two.a) as partner, two.b._closed() as (_, store):
        for name, usages in certificates.items():
            subject = two.certificate(name).certificate.subject.rfc4514_string()
            store.announce(partner_id=partner.id, now=datetime.now(UTC), station=code, subject=subject, usages=usages)
    await two.start()
    assert (await two.a.run("station", "add", code, "--name", "Plant"))[0] == 0
    for name, usages in certificates.items():
        await two.bring(two.a, two.certificate(name), usages=usages)
        record = await two.exchange(two.a, "deliver", two.certificate(name))
        assert record.state is ExchangeState.ACCEPTED, record.text
    held = {each.fingerprint: (each.station, each.usages) for each in await two.b.certificates(two.a.code)}
    for name, usages in certificates.items():
        assert held[two.certificate(name).fingerprint] == (code, usages)


async def files(two: Pair, code: str) -> tuple[Transfer, Transfer]:
    """One file from that station of A to B, and one from B to it."""
    from_it, to_it = await two.send(two.a, "--from", code), await two.send(two.b, "--to", code)
    await two.settled()
    sent, got = await two.sent(two.a, from_it), await two.sent(two.b, to_it)
    assert [sent.state, got.state] == [TransferState.ACKNOWLEDGED] * 2
    return sent, got


@pytest.mark.odette("usage CA05", "usage CA06")
@pytest_twisted.ensureDeferred
async def test_a3_signs_with_one_certificate_and_is_written_to_under_another(two: Pair) -> None:
    signing = frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE})
    await station_of_a(two, A3, CA05=signing, CA06=frozenset({Usage.ENCRYPTION}))
    sent, got = await files(two, A3)
    assert set(sent.signers) == two.prints("CA05")
    assert set(got.recipients) == two.prints("CA06")


@pytest.mark.odette("usage CA10", "usage CA11", "usage CA12")
@pytest_twisted.ensureDeferred
async def test_a1_has_a_certificate_each_for_files_receipts_and_encryption(two: Pair) -> None:
    await station_of_a(
        two,
        A1,
        CA10=frozenset({Usage.EERP_SIGNATURE}),
        CA11=frozenset({Usage.SIGNATURE}),
        CA12=frozenset({Usage.ENCRYPTION}),
    )
    sent, got = await files(two, A1)
    assert set(sent.signers) == two.prints("CA11")
    assert set(got.recipients) == two.prints("CA12")
    evidence = await two.b.db(two.b.ledger.evidence.get, got.id)
    assert evidence is not None
    signer = x509.load_der_x509_certificate(evidence.certificate)
    assert {signer.fingerprint(hashes.SHA256()).hex()} == two.prints("CA10")


@pytest.mark.odette("usage CA09")
@pytest_twisted.ensureDeferred
async def test_a0_is_authenticated_by_a_certificate_for_nothing_else(two: Pair) -> None:
    two.acquaint()
    with at_rest(two.b, two.a) as partner, two.b._closed() as (_, store):
        # B holds CA01 for all but session authentication, and CA09 for that alone.
        store.remove(store.find(two.a.certificate.fingerprint))
    for name, usages in (
        ("CA01", frozenset(Usage) - {Usage.AUTHENTICATION}),
        ("CA09", frozenset({Usage.AUTHENTICATION})),
    ):
        two.b.hold(partner, two.certificate(name), usages=usages)
    await two.start()
    assert (await two.call()).last_error
    await two.bring(two.a, two.certificate("CA09"), usages=frozenset({Usage.AUTHENTICATION}))
    assert (await two.call()).last_error is None
    await two.files_both_ways()
