"""Certificate Logical Identification Data, as it travels and as it is entered."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.certs.clid import Clid, Identification, encode, key_usage_bits, key_usage_octets, parse
from oftp2.certs.facts import KEY_USAGE_BITS, CertificateFacts
from oftp2.certs.names import Attribute, DistinguishedName
from oftp2.certs.usages import SERVER_AUTH
from tests import pki

name = DistinguishedName.parse


def facts_of(label: str) -> CertificateFacts:
    return CertificateFacts.of(pki.certificate(label).der)


def vector() -> CertificateFacts:
    """The certificate of the test vector in acx.md 2.4."""
    authority = pki.make(subject=r"CN=OFTP2 Issuing CA,O=Test CA\, Inc.,C=DE", ca=True)
    issued = pki.make(
        subject="CN=oftp2.example.test,O=Station,C=DE",
        issuer=authority,
        serial=0x48C0CD7AF2111BD9459BD107C76C91943FBB084B,
        authority_key=bytes.fromhex("6c851802abe78078b3da157ce12017358af3db6d"),
    )
    return CertificateFacts.of(issued.der)


def test_the_test_vector_of_the_source_is_reproduced() -> None:
    text = encode(vector())
    assert text is not None
    *lines, subject = text.split("\n")
    assert lines == [
        "I=Q049T0ZUUDIgSXNzdWluZyBDQSxPPVRlc3QgQ0FcLCBJbmMuLEM9REU=",
        "N=48c0cd7af2111bd9459bd107c76c91943fbb084b",
        "A=6c851802abe78078b3da157ce12017358af3db6d",
        "B=a0",
        "E=1.3.6.1.5.5.7.3.1,1.3.6.1.5.5.7.3.2",
    ]
    assert b64decode(subject.removeprefix("S=")) == b"CN=oftp2.example.test,O=Station,C=DE"


def test_a_certificate_is_described_and_recognised() -> None:
    for label in pki.DECLARATION["certificate"]:
        facts = facts_of(label)
        text = encode(facts)
        assert text is not None
        clid = parse(text)
        assert clid == Clid.of(facts)
        assert clid.names(facts)
        assert not clid.differences(Clid.of(facts))


@pytest.mark.parametrize(
    ("bits", "octets"),
    [
        ({"digitalSignature"}, "80"),
        ({"keyEncipherment"}, "20"),
        ({"digitalSignature", "keyEncipherment"}, "a0"),
        ({"digitalSignature", "keyEncipherment", "nonRepudiation"}, "e0"),
        ({"digitalSignature", "keyEncipherment", "dataEncipherment"}, "b0"),
        ({"keyAgreement", "decipherOnly"}, "0880"),
    ],
)
def test_key_usages_are_written_as_the_source_lists_them(bits: set[str], octets: str) -> None:
    assert key_usage_octets(frozenset(bits)).hex() == octets
    assert key_usage_bits(bytes.fromhex(octets)) == frozenset(bits)


@given(st.frozensets(st.sampled_from(sorted(KEY_USAGE_BITS)), min_size=1))
def test_key_usages_survive_being_written_and_read(bits: frozenset[str]) -> None:
    assert key_usage_bits(key_usage_octets(bits)) == bits


def test_no_key_usage_extension_is_no_octet() -> None:
    assert key_usage_octets(None) == b""
    assert key_usage_bits(b"") is None


DNS = st.builds(
    lambda values: DistinguishedName(tuple((Attribute(oid="2.5.4.10", value=value),) for value in values)),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=3),
)


@given(
    st.fixed_dictionaries(
        {
            "issuer": DNS,
            "subject": DNS,
            "serial": st.integers(1, 2**159),
            "aki": st.none() | st.binary(min_size=1, max_size=20),
            "key_usage": st.none() | st.frozensets(st.sampled_from(sorted(KEY_USAGE_BITS)), min_size=1),
            "extended": st.none() | st.frozensets(st.sampled_from(["1.2.3", SERVER_AUTH]), min_size=1),
        }
    )
)
def test_identification_data_survive_the_journey(parts: dict[str, Any]) -> None:
    facts = replace(facts_of("CA01"), **parts)
    text = encode(facts)
    assert text is not None
    assert "\r" not in text
    assert not text.endswith("\n")
    assert parse(text) == Clid.of(facts)


@given(st.text(max_size=200))
def test_any_description_is_a_clid_or_free_text(text: str) -> None:
    assert parse(text) is None or "N" in text.upper()


def test_a_long_subject_is_dropped_first_then_the_extended_key_usage() -> None:
    facts = facts_of("CA01")
    long = DistinguishedName(((Attribute(oid="2.5.4.10", value="x" * 700),),))
    text = encode(replace(facts, subject=long))
    assert text is not None
    assert [line[0] for line in text.split("\n")] == list("INABE")
    text = encode(replace(facts, extended=frozenset(f"1.2.3.{number}" * 10 for number in range(20))))
    assert text is not None
    assert [line[0] for line in text.split("\n")] == list("INAB")
    assert encode(replace(facts, issuer=long)) is None


def test_without_an_authority_key_only_a_self_signed_certificate_gives_its_own() -> None:
    own = replace(CertificateFacts.of(pki.make().der), aki=None)
    assert Clid.of(own).aki == own.ski
    issued = replace(facts_of("CA01"), aki=None)
    assert "\nA=\n" in (encode(issued) or "")


def test_reading_is_lenient() -> None:
    facts = facts_of("CA01")
    text = (encode(facts) or "").replace("\n", " \r\n").replace("N=", "n = 00").replace("B=a0", "B=A0")
    clid = parse(f"see below\n{text}\nX=unknown\n")
    assert clid == Clid.of(facts)


def test_a_name_that_is_not_base64_is_taken_literally() -> None:
    clid = parse("I=CN=Authority,C=DE\nN=0A\nS=CN=me")
    assert clid is not None
    assert clid.issuer == name("CN=Authority,C=DE")
    assert clid.subject == name("CN=me")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "monthly report",
        "I=Q049eA==",
        "N=0a",
        "I=Q049eA==\nN=xyz",
        "I=no name\nN=0a",
        "I=Q049eA==\nN=0a\nB=z",
        f"I={b64encode(bytes([255])).decode()}\nN=1",
    ],
)
def test_what_lacks_issuer_or_serial_number_is_free_text(text: str) -> None:
    assert parse(text) is None


def test_logical_equality_ignores_serial_number_key_and_dates() -> None:
    assert not Clid.of(facts_of("CA01")).differences(Clid.of(facts_of("CA02")))


def test_each_part_that_differs_is_named() -> None:
    one = Clid.of(facts_of("CA01"))
    assert one.differences(Clid.of(facts_of("CA04"))) == ("subject",)
    assert one.differences(Clid.of(facts_of("CB01"))) == ("subject", "issuer")
    other = replace(one, key_usage=frozenset({"keyEncipherment"}), extended=frozenset({"1.2.3"}))
    assert one.differences(other) == ("key usage", "extended key usage")


def test_subject_and_extended_key_usage_of_one_side_only_count_as_equal() -> None:
    one = Clid.of(facts_of("CA01"))
    assert not one.differences(replace(one, subject=None, extended=None))
    assert not replace(one, subject=None, extended=None).differences(one)


# --- identification data as entered ----------------------------------------------------------------------


def test_a_common_name_alone_identifies() -> None:
    assert Identification(common_name="A0.TEST").matches(facts_of("CA01")).matches
    match = Identification(common_name="b.test").matches(facts_of("CA01"))
    assert not match.matches
    assert match.text == "common name is a0.test, announced is b.test"


def test_a_partial_subject_identifies() -> None:
    assert Identification(subject=name("O=Station A,C=DE")).matches(facts_of("CA01")).text == "as announced"


def test_another_issuer_is_named() -> None:
    entered = Identification(common_name="a0.test", issuer=name("CN=OFTP2 Test Issuing B"))
    assert entered.matches(facts_of("CA01")).text.startswith("issuer is CN=OFTP2 Test Issuing A")


def test_the_issuer_is_equal_or_another_one() -> None:
    facts = facts_of("CA01")
    assert len(facts.issuer.attributes) > 1
    backwards = DistinguishedName(tuple(reversed(facts.issuer.rdns)))
    assert Identification(common_name="a0.test", issuer=backwards).matches(facts).matches
    part = name("CN=OFTP2 Test Issuing A")
    assert facts.issuer.includes(part)
    match = Identification(common_name="a0.test", issuer=part).matches(facts)
    assert match.differences == (f"issuer is {facts.issuer}, announced is {part}",)


def test_key_usages_must_exist_and_others_may() -> None:
    entered = Identification(common_name="a0.test", key_usages=frozenset({"keyEncipherment"}))
    assert entered.matches(facts_of("CA01")).matches
    lacking = Identification(common_name="a3.test signing", key_usages=frozenset({"keyEncipherment"}))
    assert lacking.matches(facts_of("CA05")).text == ("key usage is digitalSignature, announced is keyEncipherment")
    bare = CertificateFacts.of(pki.make(key_usage=None).der)
    assert (
        "key usage is none, announced is keyEncipherment"
        in replace(entered, common_name="leaf.test").matches(bare).text
    )


def test_all_differences_are_told() -> None:
    entered = Identification(
        subject=name("O=X"), common_name="y", issuer=name("CN=z"), key_usages=frozenset({"cRLSign"})
    )
    assert len(entered.matches(facts_of("CA01")).differences) == 4


@pytest.mark.parametrize("subject", [None, name("")])
def test_identification_data_must_name_somebody(subject: DistinguishedName | None) -> None:
    with pytest.raises(ValueError, match="a subject, a common name or a host name"):
        Identification(subject=subject, common_name=" ", host=" ", issuer=name("CN=x"))


def test_an_unknown_key_usage_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown key usage 'signing'"):
        Identification(common_name="x", key_usages=frozenset({"signing"}))


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("oftp.test", True),
        ("OFTP.Test.", True),
        ("192.0.2.1", True),
        ("leaf.test", True),
        ("test", False),
        ("*.test", False),
    ],
)
def test_a_host_name_identifies_by_an_alternative_name_or_the_common_name(host: str, fits: bool) -> None:
    facts = CertificateFacts.of(pki.make(hosts=("oftp.test", "192.0.2.1")).der)
    match = Identification(host=host).matches(facts)
    assert match.matches is fits
    assert fits or match.text == f"host name is oftp.test, 192.0.2.1, leaf.test, announced is {host}"


def test_what_was_announced_and_what_arrived_stand_side_by_side() -> None:
    facts = facts_of("CA01")
    entered = Identification(common_name="b.test", issuer=facts.issuer, key_usages=frozenset({"digitalSignature"}))
    rows = [(part.name, part.announced, part.arrived, part.equal) for part in entered.compare(facts)]
    assert rows == [
        ("subject", "", str(facts.subject), True),
        ("common name", "b.test", "a0.test", False),
        ("host name", "", ", ".join(dict.fromkeys((*facts.hosts, "a0.test"))), True),
        ("issuer", str(facts.issuer), str(facts.issuer), True),
        ("key usage", "digitalSignature", "digitalSignature, keyEncipherment", True),
    ]


def test_a_certificate_without_a_common_name_is_compared_all_the_same() -> None:
    facts = replace(facts_of("CA01"), subject=name("O=Station A"), hosts=())
    rows = {part.name: part.arrived for part in Identification(host="a0.test").compare(facts)}
    assert (rows["common name"], rows["host name"]) == ("", "")
    assert Identification(host="a0.test").matches(facts).text == "host name is none, announced is a0.test"
