"""The test PKI is what Odette's list says: each certificate under its authority, with what publishes and revokes it."""

from __future__ import annotations

from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from signxml.verifier import XMLVerifier

from tests import pki
from tests.authority import serving
from tests.pki import DECLARATION, TSL

NAMES = [f"CA{number:02}" for number in range(1, 15)] + ["CB01", "CB04", "CB05", "CB06"]


def test_every_certificate_of_the_list_is_declared() -> None:
    assert list(DECLARATION["certificate"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_certificate_names_its_station_its_host_and_where_it_would_be_revoked(name: str) -> None:
    made = pki.certificate(name, "http://lists.test")
    declared = DECLARATION["certificate"][name]
    station = DECLARATION["station"][declared["station"]]
    found = made.certificate
    assert made.issuer is not None
    found.verify_directly_issued_by(made.issuer.certificate)
    (serial_number,) = found.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
    assert serial_number.value == station["code"]
    hosts = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == [station["host"]]
    ((point,),) = (found.extensions.get_extension_for_class(x509.CRLDistributionPoints).value,)
    assert point.full_name is not None
    path = pki.list_path(declared["hierarchy"], declared.get("issuer", "issuing"))
    assert [each.value for each in point.full_name] == [f"http://lists.test{path}"]


def test_where_lists_are_served_makes_no_other_names_and_no_other_keys() -> None:
    here, there = pki.certificate("CA01"), pki.certificate("CA01", "http://lists.test")
    assert here is pki.certificate("CA01", pki.NOWHERE)
    assert here.fingerprint != there.fingerprint
    assert (here.key, here.certificate.subject) == (there.key, there.certificate.subject)
    assert here.issuer is not None
    there.certificate.verify_directly_issued_by(here.issuer.certificate)


def test_the_revocation_list_of_a_names_ca12_alone_and_is_served() -> None:
    with serving() as authority:
        (revoked,) = pki.revoked("A", authority.url)
        assert revoked is pki.certificate("CA12", authority.url)
        url = authority.put(pki.list_path("A"), pki.crl(pki.issuing("A", authority.url), revoked=[revoked]))
        with urlopen(url, timeout=10) as answer:  # noqa: S310 - of our own server
            found = x509.load_der_x509_crl(answer.read())
        assert authority.requests == ["/a.crl"]
    assert [each.serial_number for each in found] == [revoked.certificate.serial_number]
    assert found.issuer == pki.issuing("A").certificate.subject
    assert found.is_signature_valid(pki.issuing("A").key.public_key())
    assert not found.is_signature_valid(pki.issuing("B").key.public_key())


def test_the_trust_list_is_signed_as_a_whole_and_names_both_hierarchies_but_not_the_one_outside() -> None:
    octets = pki.trust_list(sequence=7)
    signed = XMLVerifier().verify(octets, x509_cert=pki.list_signer().certificate)
    assert not isinstance(signed, list)
    assert signed.signed_xml is not None
    assert signed.signed_xml.tag == f"{{{TSL}}}TrustServiceStatusList"
    names = [each.text for each in signed.signed_xml.iterfind(f".//{{{TSL}}}ServiceName/{{{TSL}}}Name")]
    assert names == ["Hierarchy A", "Hierarchy B"]
    assert len(list(signed.signed_xml.iterfind(f".//{{{TSL}}}X509Certificate"))) == 4
    assert signed.signed_xml.findtext(f".//{{{TSL}}}TSLSequenceNumber") == "7"
