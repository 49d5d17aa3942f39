"""Which chains end at an anchor of ours."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from oftp2.certs.facts import CertificateFacts
from oftp2d.credentials import issued
from oftp2d.trust import Anchor, Path, Source, Trust, Unproven, _finish
from tests import pki
from tests.pki import Issued

ISSUING_A, ROOT_A, ROOT_B = pki.issuing("A"), pki.root("A"), pki.root("B")
ANCHORS = Trust.of([ISSUING_A.der, pki.issuing("B").der])


def facts(issued: Issued) -> CertificateFacts:
    return CertificateFacts.of(issued.der)


@pytest.mark.parametrize("label", ["CA01", "CA09", "CB01"])
def test_a_certificate_of_an_issuing_authority_is_trusted_without_its_root(label: str) -> None:
    verdict = ANCHORS.judge(facts(pki.certificate(label)), (), pki.NOW)
    assert verdict.trusted
    assert verdict.anchor == pki.issuer(label).fingerprint
    assert "OFTP2 Test Issuing" in verdict.text


@pytest.mark.parametrize("label", ["CB05", "CB06"])
def test_root_issued_and_unlisted_certificates_are_not_trusted(label: str) -> None:
    issued = pki.certificate(label)
    chain = tuple(facts(above) for above in issued.chain)
    verdict = ANCHORS.judge(facts(issued), chain, pki.NOW)
    assert not verdict.trusted
    assert verdict.anchor is None
    assert str(facts(issued).issuer) in verdict.text


def test_a_root_as_anchor_needs_the_authority_between() -> None:
    leaf = facts(pki.certificate("CA01"))
    assert not Trust.of([ROOT_A.der]).judge(leaf, (), pki.NOW).trusted
    assert Trust.of([ROOT_A.der], [ISSUING_A.der]).judge(leaf, (), pki.NOW).trusted
    verdict = Trust.of([ROOT_B.der, ROOT_A.der]).judge(leaf, [facts(ISSUING_A)], pki.NOW)
    assert verdict.anchor == ROOT_A.fingerprint


def test_what_came_along_is_not_trusted_for_itself() -> None:
    impostor = pki.make(subject=ISSUING_A.certificate.subject, ca=True, key_usage=("keyCertSign",))
    leaf = pki.make(issuer=impostor)
    verdict = ANCHORS.judge(facts(leaf), [facts(impostor)], pki.NOW)
    assert not verdict.trusted
    assert "its chain is not valid" in verdict.text


def test_a_station_certificate_issues_nothing() -> None:
    station = pki.certificate("CA01")
    assert not ANCHORS.judge(facts(pki.make(issuer=station)), [facts(station)], pki.NOW).trusted


def test_a_self_signed_certificate_is_trusted_only_as_its_own_anchor() -> None:
    own = pki.make()
    assert not ANCHORS.judge(facts(own), (), pki.NOW).trusted
    assert Trust.of([own.der]).judge(facts(own), (), pki.NOW).trusted


def test_an_expired_certificate_is_not_trusted() -> None:
    expired = pki.make(issuer=ISSUING_A, days=(-20, -1))
    verdict = ANCHORS.judge(facts(expired), (), pki.NOW)
    assert not verdict.trusted
    assert "outside its period" in verdict.text


def test_a_clock_five_minutes_apart_is_tolerated() -> None:
    soon = pki.make(issuer=ISSUING_A, days=(1, 30))
    begins = facts(soon).not_before
    assert ANCHORS.judge(facts(soon), (), begins - timedelta(minutes=5)).trusted
    assert not ANCHORS.judge(facts(soon), (), begins - timedelta(minutes=6)).trusted


def test_an_anchor_that_has_expired_is_none() -> None:
    old = pki.make(subject="CN=Old Authority", ca=True, key_usage=("keyCertSign",), days=(-900, -1))
    leaf = pki.make(issuer=old, days=(-10, 10))
    verdict = Trust.of([old.der]).judge(facts(leaf), (), pki.NOW)
    assert not verdict.trusted
    assert "itself not valid" in verdict.text


def test_without_anchors_nothing_is_trusted() -> None:
    verdict = Trust.of([]).judge(facts(pki.certificate("CA01")), (), pki.NOW)
    assert (verdict.trusted, verdict.text) == (False, "no trust anchor is configured")


def path(trust: Trust, label: str, *chain: Issued) -> Path:
    found = trust.path(facts(pki.certificate(label)), [facts(each) for each in chain], pki.NOW)
    assert isinstance(found, Path)
    return found


def test_the_way_that_was_found_goes_from_the_certificate_to_the_anchor_and_on_to_the_root_as_far_as_known() -> None:
    leaf = pki.certificate("CA01")
    short = path(ANCHORS, "CA01", ROOT_A)
    assert [each.fingerprint for each in short.certificates] == [leaf.fingerprint, ISSUING_A.fingerprint]
    assert short.above == ()
    known = path(Trust.of([ISSUING_A.der], [ROOT_A.der]), "CA01")
    assert [each.fingerprint for each in known.above] == [ROOT_A.fingerprint]
    assert [(below.fingerprint, above.fingerprint) for below, above in known.links] == [
        (leaf.fingerprint, ISSUING_A.fingerprint),
        (ISSUING_A.fingerprint, ROOT_A.fingerprint),
    ]
    long = path(Trust.of([ROOT_A.der]), "CA01", ISSUING_A)
    assert [each.fingerprint for each in long.certificates] == [
        leaf.fingerprint,
        ISSUING_A.fingerprint,
        ROOT_A.fingerprint,
    ]


def test_a_certificate_that_is_an_anchor_itself_has_a_way_of_its_own_alone() -> None:
    own = pki.certificate("CA01")
    found = path(Trust.of([own.der, ISSUING_A.der]), "CA01")
    assert found.certificates == (facts(own),)
    assert list(found.links) == []


@pytest.mark.parametrize("source", Source)
def test_a_verdict_names_why_the_authority_is_trusted(source: Source) -> None:
    trust = Trust((Anchor(facts(ISSUING_A), source),))
    verdict = trust.judge(facts(pki.certificate("CA01")), (), pki.NOW)
    assert verdict.text == f"issued under {facts(ISSUING_A).subject}, {source.value}"


def test_an_authority_of_the_trust_list_is_no_station() -> None:
    listed = Trust((Anchor(facts(ISSUING_A), Source.LIST),))
    assert isinstance(listed.path(facts(ISSUING_A), (), pki.NOW), Unproven)
    assert isinstance(Trust.of([ISSUING_A.der]).path(facts(ISSUING_A), (), pki.NOW), Path)


def test_what_the_trust_list_names_to_verify_only_is_said_in_the_refusal() -> None:
    trust = Trust(
        (Anchor(facts(ISSUING_A), Source.LIST),),
        (facts(ROOT_A),),
        outside="is not in the trust list",
        verifying={ROOT_A.fingerprint: "which is there to verify"},
    )
    assert trust.judge(facts(pki.certificate("CA01")), (), pki.NOW).trusted
    direct = pki.make(issuer=ROOT_A)
    verdict = trust.judge(facts(direct), (), pki.NOW)
    assert (verdict.trusted, verdict.text) == (
        False,
        f"issued directly by {facts(ROOT_A).subject}, which is there to verify",
    )
    between = pki.make(subject="CN=Between", issuer=ROOT_A, ca=True, key_usage=("keyCertSign",), extended=None)
    verdict = trust.judge(facts(pki.make(issuer=between)), [facts(between)], pki.NOW)
    assert verdict.text == f"its chain leads to {facts(ROOT_A).subject}, which is there to verify"
    outside = trust.judge(facts(pki.certificate("CB06")), (), pki.NOW)
    assert outside.text == f"its authority {facts(pki.issuing('outside')).subject} is not in the trust list"


def test_a_way_that_is_barred_is_found_and_not_trusted() -> None:
    trust = Trust(
        ANCHORS.anchors, barred=lambda found, _now: f"{found.certificates[0].subject} was revoked on a sunny day"
    )
    leaf = facts(pki.certificate("CA01"))
    assert isinstance(trust.path(leaf, (), pki.NOW), Path)
    verdict = trust.judge(leaf, (), pki.NOW)
    assert (verdict.trusted, verdict.text) == (False, f"{leaf.subject} was revoked on a sunny day")


def test_importing_it_warns_of_nothing_and_loads_no_fetcher() -> None:
    code = "import oftp2d.trust, sys; sys.exit(any(m in sys.modules for m in ('aiohttp', 'requests')))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_validation_that_would_wait_is_a_mistake_of_ours() -> None:
    class Endless:
        def __await__(self) -> object:
            yield

    async def waiting() -> None:
        await Endless()  # type: ignore[misc]

    with pytest.raises(RuntimeError, match="waited"):
        _finish(waiting())


def test_an_authority_whose_key_is_made_to_keep_us_busy_issues_nothing() -> None:
    """With a public exponent as long as the key a verification takes a hundred times as long, and a chain has hundreds."""
    numbers = pki.new_key().private_numbers()
    p, q, secret = numbers.p, numbers.q, 65537
    public = rsa.RSAPublicNumbers(pow(secret, -1, math.lcm(p - 1, q - 1)), p * q)
    key = rsa.RSAPrivateNumbers(p, q, secret, secret % (p - 1), secret % (q - 1), numbers.iqmp, public).private_key(
        unsafe_skip_rsa_key_validation=True
    )
    authority = pki.make(subject="CN=Busy", key=key, ca=True, key_usage=("keyCertSign",), extended=None, hosts=())
    leaf = pki.make(issuer=authority)
    leaf.certificate.verify_directly_issued_by(authority.certificate)
    assert not issued(facts(authority), facts(leaf))
    assert not Trust.of([authority.der]).judge(facts(leaf), (), pki.NOW).trusted
