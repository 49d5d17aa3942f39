"""What a new credential must be before it takes the place of the one in use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from oftp2d.renewal.material import Material
from oftp2d.renewal.rules import Demands, Identity, Problem, problems
from tests import pki

NOW = pki.NOW
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
DEMANDS = Demands(extended_usages=(CLIENT.dotted_string,))
SITE = "CN=site-1,O=Pharmacy"
KEYS = (pki.new_key(), pki.new_key())


def _material(issued: pki.Issued, *chain: pki.Issued) -> Material:
    above = chain or issued.chain
    return Material(certificate=issued.certificate, key=issued.key, chain=tuple(each.certificate for each in above))


def _old() -> Material:
    return _material(pki.make(subject=SITE, issuer=pki.issuing("A"), key=KEYS[0], days=(-700, 30), serial=7))


def _new(**changes: object) -> Material:
    values: dict[str, object] = {
        "subject": SITE,
        "issuer": pki.issuing("A"),
        "key": KEYS[1],
        "days": (-1, 729),
        "serial": 8,
    }
    return _material(pki.make(**(values | changes)))  # type: ignore[arg-type]


def _keys(found: object) -> list[str]:
    assert isinstance(found, list)
    assert all(isinstance(each, Problem) and each.text for each in found)
    return [each.key for each in found]


def test_a_successor_has_no_problem() -> None:
    assert problems(_old(), _new(), DEMANDS, NOW) == []


def test_nor_has_the_first_one_of_a_set() -> None:
    assert problems(None, _new(), DEMANDS, NOW) == []


Case = tuple[Callable[[], Material], list[str], bool]
WRONG: dict[str, Case] = {
    "it begins tomorrow": (lambda: _new(days=(1, 729)), ["not yet valid"], False),
    "it has ended": (lambda: _new(days=(-800, -1)), ["expired", "ends no later"], False),
    "it ends before the one in use": (lambda: _new(days=(-1, 29)), ["ends no later"], True),
    "it ends with the one in use": (lambda: _new(days=(-1, 30)), ["ends no later"], True),
    "its key is short": (lambda: _new(key=rsa.generate_private_key(65537, 1024)), ["weak key"], True),  # noqa: S505
    "its curve is small": (lambda: _new(key=ec.generate_private_key(ec.SECP192R1())), ["weak key"], True),
    "it is for servers": (lambda: _new(extended=[ExtendedKeyUsageOID.SERVER_AUTH]), ["usage"], True),
    "it is for another site": (lambda: _new(subject="CN=site-2,O=Pharmacy"), ["subject"], True),
    "it has the serial number of the one in use": (lambda: _new(serial=7), ["serial number"], True),
    "it has the key of the one in use": (lambda: _new(key=KEYS[0]), ["same key"], True),
    "it is the one in use": (_old, ["ends no later", "serial number", "same key"], True),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found_and_said_whether_it_may_be_overruled(what: str) -> None:
    make, keys, may_be_overruled = WRONG[what]
    found = problems(_old(), make(), DEMANDS, NOW)
    assert _keys(found) == keys
    assert found[0].may_be_overruled is may_be_overruled


def test_the_clock_of_a_source_may_be_a_little_ahead() -> None:
    new = _new(days=(0, 729))
    assert problems(_old(), new, DEMANDS, NOW - timedelta(minutes=5)) == []
    assert _keys(problems(_old(), new, DEMANDS, NOW - timedelta(minutes=5, seconds=1))) == ["not yet valid"]


def test_it_has_ended_at_its_end_and_not_a_second_before() -> None:
    new = _new(days=(-1, 100))
    assert problems(_old(), new, DEMANDS, NOW + timedelta(days=100, seconds=-1)) == []
    assert _keys(problems(_old(), new, DEMANDS, NOW + timedelta(days=100))) == ["expired"]


def test_a_curve_of_today_is_strong_and_a_certificate_without_extended_usages_is_good_for_all() -> None:
    assert problems(_old(), _new(key=ec.generate_private_key(ec.SECP256R1())), DEMANDS, NOW) == []
    assert problems(_old(), _new(extended=None), DEMANDS, NOW) == []


def test_a_private_key_of_another_certificate_cannot_be_overruled() -> None:
    for key in (pki.new_key(), ec.generate_private_key(ec.SECP256R1())):
        new = _new()
        (problem,) = problems(_old(), Material(certificate=new.certificate, key=key, chain=new.chain), DEMANDS, NOW)
        assert (problem.key, problem.may_be_overruled) == ("key of another", False)


def test_a_subject_may_be_demanded_by_a_pattern_or_not_at_all() -> None:
    other = _new(subject="CN=site-2,O=Pharmacy")
    assert problems(_old(), other, Demands(identity=Identity.IGNORE), NOW) == []
    subject = str(other.facts.subject)
    for pattern, keys in (
        (".*site-2.*", []),
        (subject.replace(".", r"\."), []),
        ("site-2", ["subject"]),
        ("", ["subject"]),
    ):
        assert _keys(problems(_old(), other, Demands(identity=Identity.PATTERN, pattern=pattern), NOW)) == keys
    assert _keys(problems(None, other, Demands(identity=Identity.PATTERN, pattern="x"), NOW)) == ["subject"]


def test_a_chain_must_reach_its_root_unless_that_is_not_demanded() -> None:
    site = pki.make(subject=SITE, issuer=pki.issuing("A"), key=KEYS[1], days=(-1, 729), serial=8)
    without_root = _material(site, pki.issuing("A"))
    alone = Material(certificate=site.certificate, key=site.key)
    for each, authority in ((without_root, pki.issuing("A")), (alone, site)):
        (problem,) = problems(_old(), each, DEMANDS, NOW)
        assert problem.key == "chain"
        assert str(_material(authority).facts.subject) in problem.text
        assert problems(_old(), each, Demands(chain=False), NOW) == []
    assert _keys(problems(None, _material(pki.make(subject=SITE, key=KEYS[1])), DEMANDS, NOW)) == []
