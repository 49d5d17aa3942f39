"""What is read out of a trust list, and which ones are refused: whatever is not signed as a whole, or costs too much."""

from __future__ import annotations

import base64
import copy
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from oftp2d.trustlist import (
    MAX_ATTRIBUTES,
    MAX_CERTIFICATE,
    MAX_DEPTH,
    MAX_IN_ENTRY,
    MAX_NAME,
    MAX_PARTS,
    MAX_SIGNERS,
    TrustList,
    TrustListError,
    UnknownSignerError,
    read,
)
from tests import pki
from tests.pki import Issued, Service

T = f"{{{pki.TSL}}}"
D = "{http://www.w3.org/2000/09/xmldsig#}"
ISSUING_A, ROOT_A, ISSUING_B, ROOT_B = pki.issuing("A"), pki.root("A"), pki.issuing("B"), pki.root("B")


@cache
def genuine() -> bytes:
    return pki.trust_list(sequence=7)


def signed_by_anyone(octets: bytes) -> TrustList:
    return read(octets, signers=None)


def entry(name: str, *certificates: Issued, status: str = pki.IN_ACCORD) -> Service:
    return Service(name=name, certificates=certificates, status=status)


def of(*services: Service, **more: Any) -> TrustList:
    return signed_by_anyone(pki.trust_list(services, **more))


def changed(octets: bytes, change: Callable[[Any], None]) -> bytes:
    root = etree.fromstring(octets)
    change(root)
    result: bytes = etree.tostring(root)
    return result


def resigned(change: Callable[[Any], None], **more: Any) -> bytes:
    """A list that was changed before it was signed."""
    return pki.sign_trust_list(changed(pki.unsigned_trust_list(pki.listed()), change), pki.list_signer(), **more)


def test_a_list_says_what_its_signer_signed() -> None:
    found = read(genuine(), signers={pki.list_signer().fingerprint})
    assert found.scheme == pki.DECLARATION["trust_list"]["scheme"]
    assert (found.sequence, found.issued_at, found.next_update) == (7, pki.NOW, pki.NOW + timedelta(days=30))
    assert found.signer.fingerprint == pki.list_signer().fingerprint
    assert [(each.provider, each.service, each.status) for each in found.entries] == [
        ("Hierarchy A", "Hierarchy A", pki.IN_ACCORD),
        ("Hierarchy B", "Hierarchy B", pki.IN_ACCORD),
    ]


def test_the_issuing_authority_of_an_entry_is_trusted_and_its_root_is_there_to_verify_it() -> None:
    found = signed_by_anyone(genuine())
    assert set(found.authorities) == {ISSUING_A.fingerprint, ISSUING_B.fingerprint}
    assert set(found.others) == {ROOT_A.fingerprint, ROOT_B.fingerprint}
    facts, what = found.others[ROOT_A.fingerprint]
    assert facts.fingerprint == ROOT_A.fingerprint
    assert what == "which the trust list names only to verify its issuing authorities (Hierarchy A)"


def test_a_root_that_has_an_entry_of_its_own_is_an_authority_too() -> None:
    found = of(entry("Issuing", ISSUING_A, ROOT_A), entry("Root", ROOT_A))
    assert set(found.authorities) == {ISSUING_A.fingerprint, ROOT_A.fingerprint}
    assert found.others == {}


def test_an_entry_beside_others_that_have_issued_nothing_in_it_is_one_of_its_own() -> None:
    found = of(entry("Issuing", ISSUING_A, ROOT_A), entry("Two", ROOT_A, ISSUING_B))
    assert set(found.authorities) == {ISSUING_A.fingerprint, ROOT_A.fingerprint, ISSUING_B.fingerprint}


def test_a_chain_of_three_has_one_authority_at_its_end() -> None:
    between = pki.make(subject="CN=Policy", issuer=ROOT_A, ca=True, key_usage=("keyCertSign",), extended=None)
    issuing = pki.make(subject="CN=Issuing", issuer=between, ca=True, key_usage=("keyCertSign",), extended=None)
    found = of(entry("Chain", ROOT_A, issuing, between))
    assert set(found.authorities) == {issuing.fingerprint}
    assert set(found.others) == {between.fingerprint, ROOT_A.fingerprint}


def test_a_root_is_no_authority_either_where_the_one_below_only_bears_its_name_as_issuer() -> None:
    other = pki.make(subject=ROOT_A.certificate.subject, ca=True, key_usage=("keyCertSign",), extended=None)
    found = of(entry("Names", ISSUING_A, other))
    assert set(found.authorities) == {ISSUING_A.fingerprint}


def test_two_keys_of_one_self_signed_authority_stand_beside_each_other() -> None:
    second = pki.make(subject=ROOT_A.certificate.subject, ca=True, key_usage=("keyCertSign",), extended=None)
    assert set(of(entry("Both", ROOT_A, second)).authorities) == {ROOT_A.fingerprint, second.fingerprint}


def test_an_entry_whose_status_is_not_in_accord_makes_nothing_trusted() -> None:
    found = of(entry("Ended", ISSUING_A, ROOT_A, status=pki.WITHDRAWN), pki.service("B"))
    assert set(found.authorities) == {ISSUING_B.fingerprint}
    _, what = found.others[ISSUING_A.fingerprint]
    assert what == "whose status in the trust list is 'expired' instead of 'inaccord' (Ended)"
    _, none = of(entry("None", ISSUING_A, status="")).others[ISSUING_A.fingerprint]
    assert "is 'missing' instead" in none


def test_an_accepted_entry_speaks_before_one_that_is_not() -> None:
    found = of(entry("Ended", ISSUING_A, ROOT_A, status=pki.WITHDRAWN), pki.service("A"))
    assert set(found.authorities) == {ISSUING_A.fingerprint}
    assert "only to verify" in found.others[ROOT_A.fingerprint][1]


def test_an_entry_of_which_a_certificate_cannot_be_read_makes_nothing_trusted() -> None:
    def damage(root: Any) -> None:
        # The first entry's: its issuing authority, without which its root would seem to be one.
        next(root.iter(f"{T}X509Certificate")).text = base64.b64encode(b"no certificate").decode()

    found = signed_by_anyone(resigned(damage))
    assert set(found.authorities) == {ISSUING_B.fingerprint}
    assert "cannot be read as a whole" in found.others[ROOT_A.fingerprint][1]


@pytest.mark.parametrize("text", ["!", "A" * (MAX_CERTIFICATE + 1), "", "\u00e4"])
def test_text_that_is_no_certificate_makes_its_entry_incomplete(text: str) -> None:
    def damage(root: Any) -> None:
        next(root.iter(f"{T}X509Certificate")).text = text

    assert [each.complete for each in signed_by_anyone(resigned(damage)).entries] == [False, True]


def test_certificates_of_the_history_of_a_service_are_not_its_own() -> None:
    def remember(root: Any) -> None:
        service = next(root.iter(f"{T}TSPService"))
        identity = copy.deepcopy(next(service.iter(f"{T}ServiceDigitalIdentity")))
        next(identity.iter(f"{T}X509Certificate")).text = base64.b64encode(pki.root("outside").der).decode()
        etree.SubElement(etree.SubElement(service, f"{T}ServiceHistory"), f"{T}ServiceHistoryInstance").append(identity)

    found = signed_by_anyone(resigned(remember))
    assert pki.root("outside").fingerprint not in {*found.authorities, *found.others}


def test_names_are_one_line_in_english_of_bounded_length() -> None:
    def rename(root: Any) -> None:
        first, second = list(root.iter(f"{T}TSPName"))
        first[0].text = "Anbieter"
        first[0].set("{http://www.w3.org/XML/1998/namespace}lang", "de")
        name = etree.SubElement(first, f"{T}Name")
        name.text = "Pro\n  vider \u202e\u0085x"
        name.set("{http://www.w3.org/XML/1998/namespace}lang", "EN")
        second[0].text = "x" * (10 * MAX_NAME)

    found = signed_by_anyone(resigned(rename))
    assert [each.provider for each in found.entries] == ["Pro vider ? x", "x" * MAX_NAME]


def test_a_list_without_a_next_one_is_never_overdue() -> None:
    found = signed_by_anyone(genuine())
    assert not found.overdue(pki.NOW + timedelta(days=30))
    assert found.overdue(pki.NOW + timedelta(days=30, seconds=1))

    def end(root: Any) -> None:
        next(root.iter(f"{T}NextUpdate")).clear()

    last = signed_by_anyone(resigned(end))
    assert last.next_update is None
    assert not last.overdue(pki.NOW + timedelta(days=9999))


# --- who signed it, and what ------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_signatures_with_sha_2_hold(digest: str) -> None:
    assert signed_by_anyone(pki.trust_list(digest=digest)).sequence == 1


def test_another_signer_than_expected_is_named_before_anything_else_is_looked_at() -> None:
    other = pki.list_signer("other")
    octets = pki.trust_list(signer=other)
    with pytest.raises(UnknownSignerError, match=other.fingerprint) as caught:
        read(octets, signers={pki.list_signer().fingerprint})
    assert caught.value.fingerprint == other.fingerprint


def test_a_signature_of_a_list_that_was_changed_does_not_hold() -> None:
    with pytest.raises(TrustListError, match="its signature does not hold"):
        signed_by_anyone(genuine().replace(b"SequenceNumber>7<", b"SequenceNumber>8<"))
    with pytest.raises(TrustListError, match="its signature does not hold"):
        signed_by_anyone(changed(genuine(), lambda root: root.append(etree.Element(f"{T}TrustServiceProviderList"))))


def test_the_expected_signer_beside_a_signature_of_another_does_not_help() -> None:
    def add(root: Any) -> None:
        shown = next(root.iter(f"{D}X509Certificate"))
        more = copy.deepcopy(shown)
        more.text = base64.b64encode(pki.list_signer().der).decode()
        shown.addnext(more)

    octets = changed(pki.trust_list(signer=pki.list_signer("other")), add)
    with pytest.raises(TrustListError, match="its signature does not hold"):
        read(octets, signers={pki.list_signer().fingerprint})
    # And it is no harm: the one who signed is found among them.
    assert signed_by_anyone(octets).signer.fingerprint == pki.list_signer("other").fingerprint


def test_a_key_beside_the_certificate_of_the_signer_verifies_nothing() -> None:
    from signxml import XMLSigner

    how = XMLSigner(c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
    document = etree.fromstring(pki.unsigned_trust_list(pki.listed()))
    other = pki.list_signer("other")
    signed = how.sign(document, key=other.key, cert=[other.certificate], always_add_key_value=True)
    for element in signed.iter(f"{D}X509Certificate"):
        element.text = base64.b64encode(pki.list_signer().der).decode()
    with pytest.raises(TrustListError, match="its signature does not hold"):
        read(etree.tostring(signed), signers={pki.list_signer().fingerprint})


def unsign(root: Any) -> None:
    root.remove(root.find(f"{D}Signature"))


def sign_twice(root: Any) -> None:
    root.append(copy.deepcopy(root.find(f"{D}Signature")))


def bury(root: Any) -> None:
    """The signature where a verifier finds it that looks everywhere."""
    root[0].append(root.find(f"{D}Signature"))


def no_signer(root: Any) -> None:
    information = root.find(f"{D}Signature/{D}KeyInfo")
    information.getparent().remove(information)


def many_signers(root: Any) -> None:
    shown = next(root.iter(f"{D}X509Certificate"))
    for _ in range(MAX_SIGNERS):
        shown.addnext(copy.deepcopy(shown))


def unreadable_signer(root: Any) -> None:
    next(root.iter(f"{D}X509Certificate")).text = "AAAA"


def part_only(root: Any) -> None:
    root[0].set("Id", "part")
    next(root.iter(f"{D}Reference")).set("URI", "#part")


def elsewhere(root: Any) -> None:
    next(root.iter(f"{D}Reference")).set("URI", "http://127.0.0.1:1/x")


def no_uri(root: Any) -> None:
    del next(root.iter(f"{D}Reference")).attrib["URI"]


def two_references(root: Any) -> None:
    reference = next(root.iter(f"{D}Reference"))
    reference.addnext(copy.deepcopy(reference))


def two_informations(root: Any) -> None:
    information = next(root.iter(f"{D}SignedInfo"))
    information.addnext(copy.deepcopy(information))


def two_digests(root: Any) -> None:
    digest = next(root.iter(f"{D}DigestValue"))
    digest.addnext(copy.deepcopy(digest))


def transform(algorithm: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        list(root.iter(f"{D}Transform"))[-1].set("Algorithm", algorithm)

    return change


def not_enveloped(root: Any) -> None:
    transforms = next(root.iter(f"{D}Transforms"))
    transforms.remove(transforms[0])


def no_value(root: Any) -> None:
    next(root.iter(f"{D}SignatureValue")).text = None


def no_digest(root: Any) -> None:
    next(root.iter(f"{D}DigestValue")).text = None


def method(name: str) -> Callable[[Any], None]:
    return lambda root: next(root.iter(f"{D}SignatureMethod")).set("Algorithm", name)


def digest(name: str) -> Callable[[Any], None]:
    return lambda root: next(root.iter(f"{D}DigestMethod")).set("Algorithm", name)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (unsign, "it is not signed"),
        (sign_twice, "more than one signature"),
        (bury, "not of the whole document"),
        (no_signer, "does not come with the certificate"),
        (many_signers, "does not come with the certificate"),
        (unreadable_signer, "the certificate of its signer cannot be read"),
        (part_only, "not of the whole document"),
        (elsewhere, "not of the whole document"),
        (no_uri, "not of the whole document"),
        (two_references, "its signature has 2 Reference"),
        (two_informations, "its signature has 2 SignedInfo"),
        (two_digests, "its signature has 2 DigestValue"),
        (transform("http://www.w3.org/2000/09/xmldsig#base64"), "changes the document"),
        (transform("http://www.w3.org/TR/1999/REC-xslt-19991116"), "changes the document"),
        (transform("http://www.w3.org/TR/1999/REC-xpath-19991116"), "changes the document"),
        (transform("http://www.w3.org/2000/09/xmldsig#enveloped-signature"), "changes the document"),
        (not_enveloped, "changes the document"),
        (no_value, "does not hold"),
        (no_digest, "does not hold"),
        (method("http://www.w3.org/2000/09/xmldsig#rsa-sha1"), "does not hold"),
        (method("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"), "does not hold"),
        (method("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"), "does not hold"),
        (method("urn:none"), "does not hold"),
        (digest("http://www.w3.org/2000/09/xmldsig#sha1"), "does not hold"),
        (digest("urn:none"), "does not hold"),
    ],
)
def test_a_signature_that_is_not_simply_of_the_whole_list_is_refused(change: Callable[[Any], None], what: str) -> None:
    with pytest.raises(TrustListError, match=what):
        signed_by_anyone(changed(genuine(), change))


def test_a_list_that_wraps_a_signed_one_is_refused() -> None:
    """XML signature wrapping: the signed list is inside another that says something else."""
    inner = etree.fromstring(genuine())
    outer = etree.fromstring(pki.unsigned_trust_list([pki.service("outside")]))
    signature = inner.find(f"{D}Signature")
    outer.append(copy.deepcopy(signature))
    holder = etree.SubElement(outer.find(f"{D}Signature"), f"{D}Object")
    inner.remove(signature)
    inner.set("Id", "inner")
    holder.append(inner)
    for reference in outer.iter(f"{D}Reference"):
        reference.set("URI", "#inner")
    with pytest.raises(TrustListError, match="not of the whole document"):
        signed_by_anyone(etree.tostring(outer))
    for reference in outer.iter(f"{D}Reference"):
        reference.set("URI", "")
    with pytest.raises(TrustListError, match="its signature does not hold"):
        signed_by_anyone(etree.tostring(outer))


def test_what_stands_in_the_signature_itself_is_not_read() -> None:
    def add(root: Any) -> None:
        holder = etree.SubElement(root.find(f"{D}Signature"), f"{D}Object")
        holder.extend(etree.fromstring(pki.unsigned_trust_list([pki.service("outside")])))

    found = signed_by_anyone(changed(genuine(), add))
    assert set(found.authorities) == {ISSUING_A.fingerprint, ISSUING_B.fingerprint}


def test_comments_put_into_a_signed_list_change_nothing() -> None:
    octets = genuine().replace(b"SequenceNumber>7<", b"SequenceNumber><!-- 9 -->7<!-- 8 --><")
    assert signed_by_anyone(octets).sequence == 7


def test_a_list_issued_when_its_signer_was_not_valid_is_refused() -> None:
    assert signed_by_anyone(pki.trust_list(issued=-100)).sequence == 1
    with pytest.raises(TrustListError, match="when the certificate of its signer was not valid"):
        signed_by_anyone(pki.trust_list(issued=-102))
    with pytest.raises(TrustListError, match="when the certificate of its signer was not valid"):
        signed_by_anyone(pki.trust_list(issued=1002))


def test_a_list_outlives_the_certificate_of_its_signer() -> None:
    ended = pki.make(subject="CN=Ended", extended=None, hosts=(), days=(-100, -50))
    assert signed_by_anyone(pki.trust_list(signer=ended, issued=-60)).signer.fingerprint == ended.fingerprint


# --- what it must say -------------------------------------------------------------------------------------------


def without(name: str) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        element = next(root.iter(f"{T}{name}"))
        element.getparent().remove(element)

    return change


def saying(name: str, text: str) -> Callable[[Any], None]:
    return lambda root: setattr(next(root.iter(f"{T}{name}")), "text", text)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (without("SchemeInformation"), "it has no SchemeInformation"),
        (lambda root: root.append(copy.deepcopy(root[0])), "it has 2 SchemeInformation"),
        (without("TSLSequenceNumber"), "no sequence number"),
        (saying("TSLSequenceNumber", "-1"), "no sequence number"),
        (saying("TSLSequenceNumber", "1" * 19), "no sequence number"),
        (saying("TSLSequenceNumber", "\u0661"), "no sequence number"),
        (without("SchemeName"), "of which scheme"),
        (without("ListIssueDateTime"), "when it was issued"),
        (saying("ListIssueDateTime", "yesterday"), "when it was issued"),
        (saying("ListIssueDateTime", "0001-01-01T00:00:00+14:00"), "when it was issued"),
        (lambda root: setattr(root, "tag", "{urn:x}TrustServiceStatusList"), "it is no trust list"),
    ],
)
def test_a_list_without_what_it_must_say_is_refused(change: Callable[[Any], None], what: str) -> None:
    with pytest.raises(TrustListError, match=what):
        signed_by_anyone(resigned(change))


def test_a_time_without_a_zone_is_utc() -> None:
    moment = (pki.NOW - timedelta(days=1)).replace(tzinfo=None)
    assert signed_by_anyone(resigned(saying("ListIssueDateTime", moment.isoformat()))).issued_at == pki.NOW - timedelta(
        days=1
    )


def test_an_entry_with_too_many_certificates_is_refused() -> None:
    def fill(root: Any) -> None:
        identity = next(root.iter(f"{T}ServiceDigitalIdentity"))
        for _ in range(MAX_IN_ENTRY):
            identity.append(copy.deepcopy(identity[0]))

    with pytest.raises(TrustListError, match=f"more than {MAX_IN_ENTRY} certificates"):
        signed_by_anyone(resigned(fill))


def test_a_list_with_too_many_certificates_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oftp2d.trustlist.MAX_CERTIFICATES", 3)
    with pytest.raises(TrustListError, match="more than 3 certificates"):
        signed_by_anyone(genuine())


# --- what costs too much ----------------------------------------------------------------------------------------

BOMB = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><a>&c;</a>"""
SECRET = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>"""


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"", "not well-formed"),
        (b"\x00" * 5000, "not well-formed"),
        (b"<a>", "not well-formed"),
        (b"<a/>", "no trust list"),
        (b"<a>&b;</a>", "not well-formed"),
        (BOMB, "document type"),
        (SECRET, "document type"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "document type"),
        (b'<?xml version="1.0" encoding="UTF-7"?><a/>', "its encoding is UTF-7"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "its encoding is ISO-8859-1"),
        ("<?xml version='1.0' encoding='UTF-16'?><a/>".encode("utf-16"), "its encoding is UTF-16"),
        ("<a/>".encode("utf-16"), "not well-formed"),
        (b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1), "nested deeper"),
        (b"<a>" + b"<b/>" * MAX_PARTS + b"</a>", "more than 200000 elements"),
        (b"<a>" + b"<b c='' d=''/>" * (MAX_PARTS // 2) + b"</a>", "more than 200000 elements"),
        (b"<a>" + b"<!---->" * MAX_PARTS + b"</a>", "more than 200000 elements"),
        (b"<a>" + b"<?b?>" * MAX_PARTS + b"</a>", "more than 200000 elements"),
        (b"<a " + b" ".join(b"xmlns:x%d='x'" % n for n in range(MAX_ATTRIBUTES + 1)) + b"/>", "attributes"),
        (b"<a " + b" ".join(b"x%d=''" % n for n in range(MAX_ATTRIBUTES + 1)) + b"/>", "attributes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_documents_made_to_hurt_are_refused_before_a_tree_is_made_of_them(octets: bytes, what: str) -> None:
    with pytest.raises(TrustListError, match=what):
        signed_by_anyone(octets)


def test_a_list_larger_than_allowed_is_not_looked_at() -> None:
    octets = genuine()
    assert read(octets, signers=None, max_octets=len(octets)).sequence == 7
    with pytest.raises(TrustListError, match="more than"):
        read(octets, signers=None, max_octets=len(octets) - 1)


@given(st.data())
def test_a_damaged_list_is_refused_or_says_the_same(data: st.DataObject) -> None:
    octets = bytearray(genuine())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets)))
        octets[at : at + data.draw(st.integers(0, 40))] = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"<", b"&lt;", b"</", b"<!--", b"]]>", b'"', b"<?x y?>"]))
        )
    try:
        found = read(bytes(octets), signers={pki.list_signer().fingerprint})
    except TrustListError:
        return
    assert found == read(genuine(), signers=None)


@given(st.data())
def test_elements_of_a_list_that_change_places_are_refused_or_say_the_same(data: st.DataObject) -> None:
    """Wrapping by chance: elements are moved, doubled and removed."""
    root = etree.fromstring(genuine())
    elements = list(root.iter())
    for _ in range(data.draw(st.integers(1, 3))):
        moved = data.draw(st.sampled_from(elements))
        place = data.draw(st.sampled_from(elements))
        if data.draw(st.booleans()):
            moved = copy.deepcopy(moved)
        elif moved is root or any(above is moved for above in (place, *place.iterancestors())):
            continue
        place.insert(data.draw(st.integers(0, 3)), moved)
    try:
        found = read(etree.tostring(root), signers={pki.list_signer().fingerprint})
    except TrustListError:
        return
    assert found == read(genuine(), signers=None)


def test_importing_it_loads_no_xml() -> None:
    code = "import oftp2d.trustlist, sys; sys.exit(any(m in sys.modules for m in ('lxml', 'signxml', 'pyexpat')))"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
