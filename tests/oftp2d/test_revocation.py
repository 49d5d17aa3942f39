"""What revocation lists say: read, refused, and asked about the certificates of a proven way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding

from oftp2.certs.facts import CertificateFacts
from oftp2d.config import RevocationMode as Mode
from oftp2d.revocation import (
    Lists,
    Question,
    Reading,
    UnusableListError,
    distribution_points,
    questions,
    read_list,
    stored_list,
)
from oftp2d.trust import Path, Trust
from tests import pki
from tests.pki import Issued

NOW = pki.NOW
DAY = timedelta(days=1)
STATIONS = "http://lists.test/stations.crl"
AUTHORITIES = "http://lists.test/authorities.crl"

ROOT = pki.make(subject="CN=Root", ca=True, key_usage=("keyCertSign", "cRLSign"), extended=None, hosts=())
ISSUING = pki.make(
    subject="CN=Issuing",
    issuer=ROOT,
    ca=True,
    key_usage=("keyCertSign", "cRLSign"),
    extended=None,
    hosts=(),
    points=(AUTHORITIES,),
)
LEAF = pki.make(subject="CN=leaf.test", issuer=ISSUING, points=(STATIONS,))
TRUST = Trust.of([ISSUING.der], [ROOT.der])


def facts(issued: Issued) -> CertificateFacts:
    return CertificateFacts.of(issued.der)


def path_of(leaf: Issued = LEAF, trust: Trust = TRUST) -> Path:
    found = trust.path(facts(leaf), (), NOW)
    assert isinstance(found, Path)
    return found


def lists(mode: Mode = Mode.TOLERATE, max_age: timedelta = 15 * DAY) -> Lists:
    return Lists(mode, max_age)


def put(into: Lists, url: str, octets: bytes, issuer: Issued, *, read_at: datetime = NOW, error: str = "") -> None:
    into.put(Reading(url=url, list=read_list(octets, facts(issuer), NOW), read_at=read_at, tried_at=NOW, error=error))


def refusal(octets: bytes, issuer: Issued = ISSUING) -> str:
    with pytest.raises(UnusableListError) as error:
        read_list(octets, facts(issuer), NOW)
    assert str(error.value).isprintable()
    return str(error.value)


# --- one list --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_a_list_tells_who_was_revoked_when_and_why(encoding: Encoding) -> None:
    other = pki.make(subject="CN=other.test", issuer=ISSUING)
    found = read_list(
        pki.crl(ISSUING, revoked=[LEAF, 1, 2**158 + 7], number=12, encoding=encoding), facts(ISSUING), NOW
    )

    revoked = found.revoked(LEAF.certificate.serial_number)

    assert revoked is not None
    assert revoked.at == NOW - DAY
    assert str(revoked) == f"{NOW - DAY:%Y-%m-%d} (key compromise)"
    assert found.revoked(1) is not None
    assert found.revoked(2**158 + 7) is not None
    assert found.revoked(2**158 + 8) is None
    assert found.revoked(other.certificate.serial_number) is None
    assert (found.entries, found.number, found.this_update) == (3, 12, NOW)


def test_a_list_may_be_empty() -> None:
    found = read_list(pki.crl(ISSUING), facts(ISSUING), NOW)

    assert found.entries == 0
    assert found.revoked(1) is None


def test_every_number_is_found_among_very_many_and_costs_thirteen_octets() -> None:
    numbers = [7**n % 2**150 + n for n in range(1, 2000)]
    found = read_list(pki.crl(ISSUING, revoked=numbers), facts(ISSUING), NOW)

    assert all(found.revoked(number) for number in numbers)
    assert not any(found.revoked(number + 2**151) for number in numbers)
    assert found._serials.nbytes + found._dates.nbytes + found._reasons.nbytes == 13 * len(numbers)


def test_a_list_of_the_ledger_says_the_same_again() -> None:
    octets = pki.crl(ISSUING, revoked=[LEAF])
    again = stored_list(octets, facts(ISSUING).key_fingerprint)

    assert again.of_key(facts(ISSUING))
    assert again.revoked(LEAF.certificate.serial_number) is not None


@pytest.mark.parametrize("octets", [b"", b"\x30\x80rubbish", b"-----BEGIN X509 CRL-----\nAA\n", bytes(5000)])
def test_what_is_no_list_is_refused(octets: bytes) -> None:
    assert refusal(octets) == "what came is no revocation list"


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (b"\x02\x01\x01", b"\x02\x01\x11"),
        (b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\xff"),
        (b"\x55\x04\x03\x0c", b"\x55\x04\x03\x03"),
    ],
    ids=["version", "name", "kind of a name"],
)
def test_a_list_that_breaks_behind_its_beginning_is_refused_as_well(found: bytes, broken: bytes) -> None:
    octets = pki.crl(ISSUING)
    assert found in octets
    assert refusal(octets.replace(found, broken, 1)) == "what came is no revocation list"


def test_a_certificate_is_no_list() -> None:
    assert refusal(ISSUING.der) == "what came is no revocation list"


def test_a_list_of_another_authority_is_refused() -> None:
    assert "is by CN=Root, and not by CN=Issuing" in refusal(pki.crl(ROOT))


def test_a_list_that_somebody_else_signed_is_refused() -> None:
    assert refusal(pki.crl(ISSUING, signer=ROOT)) == "CN=Issuing did not sign the list"


def test_a_list_that_was_changed_is_refused() -> None:
    octets = pki.crl(ISSUING, revoked=[LEAF])
    serial = LEAF.certificate.serial_number.to_bytes(8, "big")[-6:]
    assert octets.count(serial) == 1

    assert refusal(octets.replace(serial, b"\x01" * 6)) == "CN=Issuing did not sign the list"


def test_a_list_signed_with_a_weak_hash_is_refused() -> None:
    rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01"
    octets = pki.crl(ISSUING)
    assert octets.count(rsa + b"\x0b") == 2

    assert "signed with sha1" in refusal(octets.replace(rsa + b"\x0b", rsa + b"\x05"))


def test_an_authority_that_may_not_sign_lists_signs_none() -> None:
    unfit = pki.make(subject="CN=Unfit", ca=True, key_usage=("keyCertSign",), extended=None, hosts=())

    assert "does not allow it to sign" in refusal(pki.crl(unfit), unfit)


def test_a_list_from_the_future_is_refused() -> None:
    assert "from the future" in refusal(pki.crl(ISSUING, issued=1, next_update=2))


@pytest.mark.parametrize(
    ("extension", "critical", "why"),
    [
        (x509.DeltaCRLIndicator(1), True, "delta"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True, "critical extension"),
    ],
)
def test_a_list_that_tells_something_else_is_not_used(extension: x509.ExtensionType, critical: bool, why: str) -> None:
    assert why in refusal(pki.crl(ISSUING, extensions=[(extension, critical)]))


def point(urls: Iterable[str] = (), **only: Any) -> tuple[x509.ExtensionType, bool]:
    usual = {
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    names = [x509.UniformResourceIdentifier(url) for url in urls] or None
    return x509.IssuingDistributionPoint(full_name=names, relative_name=None, **{**usual, **only}), True


@pytest.mark.parametrize(
    "only",
    [
        {"indirect_crl": True},
        {"only_contains_attribute_certs": True},
        {"only_some_reasons": frozenset({x509.ReasonFlags.key_compromise})},
    ],
)
def test_a_list_that_speaks_of_others_or_of_some_reasons_only_is_not_used(only: dict[str, Any]) -> None:
    assert "are not used" in refusal(pki.crl(ISSUING, extensions=[point(**only)]))


def test_an_entry_that_is_about_another_authority_makes_the_list_unusable() -> None:
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(1)
        .revocation_date(NOW)
        .add_extension(x509.CertificateIssuer([x509.DirectoryName(ROOT.certificate.subject)]), critical=True)
        .build()
    )
    builder = x509.CertificateRevocationListBuilder().issuer_name(ISSUING.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + DAY).add_revoked_certificate(entry)
    octets = builder.sign(ISSUING.key, hashes.SHA256()).public_bytes(Encoding.DER)

    assert "critical extension" in refusal(octets)


def signed(authority: Issued, **options: Any) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + DAY)
    return builder.sign(authority.key, **options).public_bytes(Encoding.DER)


def authority(key: Any) -> Issued:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        name = x509.Name.from_rfc4514_string("CN=Edwards")
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(5).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
        return Issued(builder.sign(key, None), key)
    return pki.make(subject="CN=Curve", ca=True, key_usage=("cRLSign",), extended=None, hosts=(), key=key)


def test_lists_may_be_signed_by_pss_and_by_elliptic_curves() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)
    curve = authority(ec.generate_private_key(ec.SECP256R1()))

    assert read_list(signed(ISSUING, algorithm=hashes.SHA384(), rsa_padding=pss), facts(ISSUING), NOW).entries == 0
    assert read_list(signed(curve, algorithm=hashes.SHA512()), facts(curve), NOW).entries == 0


def test_a_list_signed_in_a_way_that_is_not_known_here_is_refused() -> None:
    edwards = authority(ed25519.Ed25519PrivateKey.generate())

    assert "not accepted" in refusal(signed(edwards, algorithm=None), edwards)


def test_an_older_list_does_not_follow_a_newer_one() -> None:
    first, second = (
        read_list(pki.crl(ISSUING, number=number, issued=issued), facts(ISSUING), NOW)
        for number, issued in ((1, -2), (2, -1))
    )
    renumbered = read_list(pki.crl(ISSUING, number=1, issued=0), facts(ISSUING), NOW)
    unnumbered = read_list(pki.crl(ISSUING, number=None, issued=0), facts(ISSUING), NOW)

    assert second.follows(first)
    assert second.follows(second)
    assert unnumbered.follows(second)
    assert not first.follows(second)
    assert not renumbered.follows(second)
    assert not second.follows(unnumbered)


# --- what is asked of them -------------------------------------------------------------------------------------------


def test_asked_are_the_certificate_and_its_authorities_of_their_issuers() -> None:
    assert [(str(asked.subject.subject), str(asked.issuer.subject), asked.urls) for asked in questions(path_of())] == [
        ("CN=leaf.test", "CN=Issuing", (STATIONS,)),
        ("CN=Issuing", "CN=Root", (AUTHORITIES,)),
    ]


def test_without_a_distribution_point_nothing_is_asked() -> None:
    plain = pki.make(subject="CN=plain.test", issuer=ISSUING, points=())

    assert [asked.subject for asked in questions(path_of(plain))] == [facts(ISSUING)]
    assert distribution_points(facts(plain)) is None


def test_only_a_few_addresses_of_the_web_are_taken_of_one_certificate() -> None:
    odd = ("ldap://lists.test/cn=ca", "file:///etc/passwd", "http://[", STATIONS, STATIONS)
    many = tuple(f"http://lists.test/{n}.crl" for n in range(50))

    assert distribution_points(facts(pki.make(issuer=ISSUING, points=odd))) == (STATIONS,)
    assert distribution_points(facts(pki.make(issuer=ISSUING, points=many))) == many[:4]


# --- all lists -------------------------------------------------------------------------------------------------------


def test_who_was_revoked_is_barred_and_the_text_says_by_whom() -> None:
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, revoked=[LEAF]), ISSUING)

    found = known.finding(questions(path_of()), NOW)

    assert found is not None
    assert found.revoked
    assert str(found) == f"revoked on {NOW - DAY:%Y-%m-%d} (key compromise) by CN=Issuing"


def test_what_a_revoked_authority_issued_is_barred() -> None:
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING), ISSUING)
    put(known, AUTHORITIES, pki.crl(ROOT, revoked=[ISSUING]), ROOT)

    assert str(known.finding(questions(path_of()), NOW)).startswith("its authority CN=Issuing was revoked on ")


def test_who_is_in_no_list_is_not_barred() -> None:
    known = lists(Mode.STRICT)
    put(known, STATIONS, pki.crl(ISSUING, revoked=[5]), ISSUING)
    put(known, AUTHORITIES, pki.crl(ROOT), ROOT)

    assert known.finding(questions(path_of()), NOW) is None
    assert known.unread(questions(path_of())) == ()


def test_a_judgement_on_a_chain_takes_the_lists_into_account() -> None:
    known = lists()
    trust = replace(TRUST, barred=known.barred)
    assert trust.judge(facts(LEAF), (), NOW).trusted

    put(known, STATIONS, pki.crl(ISSUING, revoked=[LEAF]), ISSUING)

    verdict = trust.judge(facts(LEAF), (), NOW)
    assert not verdict.trusted
    assert verdict.text.startswith("revoked on ")


def test_a_list_that_was_never_read_is_tolerated_or_not_and_asked_for_once() -> None:
    asked: list[str] = []
    for mode, text in ((Mode.TOLERATE, None), (Mode.STRICT, "CN=Issuing was not read yet: it is being fetched")):
        known = lists(mode)
        known.asked = lambda: asked.append("asked")
        found = known.barred(path_of(), NOW)
        known.barred(path_of(), NOW)
        assert found is None if text is None else text in str(found)
        assert known.wanted() == {STATIONS: facts(ISSUING), AUTHORITIES: facts(ROOT)}
        assert known.wanted() == {}
    assert len(asked) == 4


def test_a_list_that_is_there_is_wanted_for_as_long_as_it_is_asked() -> None:
    asked: list[str] = []
    known = lists(Mode.TOLERATE)
    known.asked = lambda: asked.append("asked")
    put(known, STATIONS, pki.crl(ISSUING), ISSUING)
    put(known, AUTHORITIES, pki.crl(ROOT), ROOT)

    assert known.barred(path_of(), NOW) is None
    assert known.wanted() == {STATIONS: facts(ISSUING), AUTHORITIES: facts(ROOT)}
    assert known.wanted() == {}
    assert asked == []


def test_strict_says_why_a_list_could_not_be_read() -> None:
    known = lists(Mode.STRICT)
    known.put(Reading(url=STATIONS, tried_at=NOW, error="http://lists.test/stations.crl was answered with 404"))

    assert "answered with 404" in str(known.barred(path_of(), NOW))
    assert known.unread(questions(path_of())) != ()


def test_strict_does_not_take_a_certificate_whose_list_nobody_can_fetch() -> None:
    known = lists(Mode.STRICT)
    leaf = pki.make(issuer=ISSUING, points=("ldap://lists.test/cn=ca",))

    assert "no address of http" in str(known.barred(path_of(leaf), NOW))
    assert lists().barred(path_of(leaf), NOW) is None


def test_switched_off_nothing_is_asked_and_nothing_barred() -> None:
    known = lists(Mode.OFF)
    put(known, STATIONS, pki.crl(ISSUING, revoked=[LEAF]), ISSUING)

    assert known.finding(questions(path_of()), NOW) is None
    assert known.unread(questions(path_of())) == ()
    assert known.wanted() == {}


@pytest.mark.parametrize("mode", [Mode.TOLERATE, Mode.STRICT])
def test_a_list_that_was_once_read_must_stay_young(mode: Mode) -> None:
    known = lists(mode)
    put(known, AUTHORITIES, pki.crl(ROOT, next_update=100), ROOT)
    put(known, STATIONS, pki.crl(ISSUING, next_update=100), ISSUING, read_at=NOW - 15 * DAY, error="it is gone")
    assert known.barred(path_of(), NOW) is None

    found = known.finding(questions(path_of()), NOW + timedelta(minutes=1))

    assert found is not None
    assert not found.revoked
    assert found.text == "the revocation list of CN=Issuing is 15 days old, it could not be renewed (it is gone)"


def test_a_list_whose_successor_is_long_overdue_is_old_however_often_it_is_read() -> None:
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, issued=-30, next_update=-20), ISSUING)

    assert "20 days old" in str(known.barred(path_of(), NOW))


def test_a_list_that_tells_of_no_successor_grows_old_from_its_issue_however_often_it_is_read() -> None:
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, issued=-15, next_update=None), ISSUING)
    assert known.readings[STATIONS].list.next_update is None  # type: ignore[union-attr]
    assert known.barred(path_of(), NOW) is None

    assert "15 days old" in str(known.barred(path_of(), NOW + timedelta(minutes=1)))


def test_one_young_list_of_several_addresses_is_enough_and_revoked_by_one_is_revoked() -> None:
    other = "http://mirror.test/stations.crl"
    leaf = pki.make(issuer=ISSUING, points=(STATIONS, other))
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, issued=-40, next_update=-30), ISSUING)
    put(known, other, pki.crl(ISSUING), ISSUING)
    assert known.barred(path_of(leaf), NOW) is None

    put(known, STATIONS, pki.crl(ISSUING, issued=-40, next_update=-30, revoked=[leaf]), ISSUING)

    assert "revoked on" in str(known.barred(path_of(leaf), NOW))


def test_a_list_of_another_authority_at_the_same_address_tells_nothing() -> None:
    known = lists(Mode.STRICT)
    put(known, STATIONS, pki.crl(ROOT, revoked=[LEAF]), ROOT)

    assert "was not read yet" in str(known.barred(path_of(), NOW))


@pytest.mark.parametrize(
    ("scope", "tells"),
    [
        (point((STATIONS,)), True),
        (point(("http://elsewhere.test/",)), False),
        (point(only_contains_user_certs=True), True),
        (point(only_contains_ca_certs=True), False),
    ],
)
def test_a_list_tells_of_those_only_that_it_is_for(scope: tuple[x509.ExtensionType, bool], tells: bool) -> None:
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, revoked=[LEAF], extensions=[scope]), ISSUING)

    assert (known.barred(path_of(), NOW) is not None) is tells


def test_an_authority_that_was_certified_anew_with_its_key_is_the_same_to_its_list() -> None:
    again = pki.make(
        subject="CN=Issuing", issuer=ROOT, ca=True, key_usage=("keyCertSign", "cRLSign"), key=ISSUING.key, hosts=()
    )
    known = lists()
    put(known, STATIONS, pki.crl(ISSUING, revoked=[LEAF]), ISSUING)

    assert "revoked on" in str(known.barred(path_of(trust=Trust.of([again.der])), NOW))


def test_no_more_is_asked_for_than_can_be_kept() -> None:
    known = lists()
    for n in range(30):
        known._ask(
            Question(subject=facts(LEAF), issuer=facts(ISSUING), urls=tuple(f"http://t/{n}/{m}" for m in range(100)))
        )

    assert len(known.wanted()) < 1200
