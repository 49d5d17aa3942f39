"""Signed end responses: over every field and the hash, attached or not, with OpenSSL on the other side."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from hypothesis import given, settings
from hypothesis import strategies as st

from oftp2.cms import signed
from oftp2.cms.attached import content_of, read_content
from oftp2.cms.ber import distinguished
from oftp2.cms.errors import SignatureError
from oftp2.cms.receipts import MAX_SIGNATURE, sign, signed_content, verify
from oftp2.cms.suites import SUITES
from oftp2.codec import decode, encode
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.errors import RemoteProtocolError
from oftp2.reasons import NegativeResponseReason
from tests import pki
from tests.oftp2.cms.layers import damaged, loosened

AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
OURS, OTHER = pki.certificate("CA10"), pki.certificate("CB01")
SIGNERS = [OURS.signer]
STAMP = {"dataset": "ORDERS", "date": "20260203", "time": "0405060001"}
EERP = Eerp(**STAMP, user="USER", destination="O0013000001A", originator="O0013000002B", hash=bytes(range(32)))
NERP = Nerp(
    **STAMP,
    destination="O0013000001A",
    originator="O0013000002B",
    creator="O0013000003C",
    reason=NegativeResponseReason.INVALID_SIGNATURE,
    text="no",
    hash=bytes(range(32)),
)
BOTH = st.sampled_from([EERP, NERP])


def signature(command: EndResponse, *, number: int = 4, **options: Any) -> bytes:
    return sign(command, SIGNERS, SUITES[number], at=AT, **options)


def with_signature(command: EndResponse, **options: Any) -> EndResponse:
    return replace(command, signature=signature(command, **options))


SIGNED = {Eerp: with_signature(EERP), Nerp: with_signature(NERP)}


def refused(command: EndResponse, text: str, *issued: pki.Issued, number: int = 4) -> None:
    with pytest.raises(SignatureError, match=text):
        verify(command, [each.certificate for each in issued or (OURS,)], SUITES[number])


@pytest.mark.rfc("5.3.13", "5.3.14")
def test_what_is_signed_are_the_fields_with_their_blanks_and_the_hash() -> None:
    fields = (
        b"ORDERS" + b" " * 20 + b"20260203" + b"0405060001" + b"O0013000001A" + b" " * 13 + b"O0013000002B" + b" " * 13
    )
    assert signed_content(EERP) == fields + bytes(range(32))
    assert signed_content(NERP) == fields + b"O0013000003C" + b" " * 13 + bytes(range(32))
    assert content_of(signature(EERP)) == signed_content(EERP)
    for command in (EERP, NERP):
        read = read_content(signed_content(command), hash_octets=32)
        assert signed_content(read) == signed_content(command)


@pytest.mark.rfc("5.3.13", "5.3.14")
@pytest.mark.parametrize("number", SUITES)
@pytest.mark.parametrize("command", [EERP, NERP], ids=["EERP", "NERP"])
def test_what_was_signed_is_verified_when_it_has_travelled(command: EndResponse, number: int) -> None:
    suite = SUITES[number]
    command = replace(command, hash=suite.digest.of(b"the file"))
    travelled = decode(encode(with_signature(command, number=number)))
    assert isinstance(travelled, Eerp | Nerp)
    found = verify(travelled, [OTHER.certificate, OURS.certificate], suite)
    assert found.content == signed_content(command)
    assert [(each.certificate, each.signing_time) for each in found.signatures] == [(OURS.certificate, AT)]


CHANGES = st.one_of(
    st.tuples(st.just("dataset"), st.text("ABC -.", max_size=26)),
    st.tuples(st.just("date"), st.text("0123456789", min_size=8, max_size=8)),
    st.tuples(st.just("time"), st.text("0123456789", min_size=10, max_size=10)),
    st.tuples(st.sampled_from(["destination", "originator"]), st.text("ABC0-. ", max_size=25)),
    st.tuples(st.just("hash"), st.binary(min_size=32, max_size=32)),
)


@given(BOTH, CHANGES)
def test_no_other_field_or_hash_is_ever_accepted(command: EndResponse, change: tuple[str, Any]) -> None:
    """The error names the field, as the RFC names it."""
    name, value = change
    labels = {"dataset": "DSN", "date": "DATE", "time": "TIME", "destination": "DEST", "originator": "ORIG"}
    changed = replace(SIGNED[type(command)], **{name: value})
    if signed_content(changed) == signed_content(command):  # blanks at the end of a field make no difference
        assert verify(changed, [OURS.certificate], SUITES[4]).signatures
    else:
        refused(changed, f"over another {type(command).__name__.upper()}{labels.get(name, 'HSH')} ")


def test_the_creator_is_signed_and_reason_and_text_are_not() -> None:
    refused(replace(SIGNED[Nerp], creator="O0013000009X"), "another NERPCREA")
    other = replace(SIGNED[Nerp], reason=NegativeResponseReason.UNSPECIFIED, text="else")
    assert verify(other, [OURS.certificate], SUITES[4]).signatures


@pytest.mark.interop(4)
def test_the_signature_may_come_detached_in_ber_and_with_its_certificate(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(signed_content(EERP))
    (tmp_path / "signer.pem").write_bytes(OURS.key_pem + OURS.pem)
    command = ["openssl", "cms", "-sign", "-binary", "-md", "sha256", "-in", "content", "-signer", "signer.pem"]
    for how in ([], ["-nodetach"], ["-nocerts"], ["-nodetach", "-stream"], ["-nodetach", "-noattr"], ["-keyid"]):
        made = subprocess.run([*command, "-outform", "DER", *how], cwd=tmp_path, check=True, capture_output=True).stdout
        assert verify(replace(EERP, signature=made), [OURS.certificate], SUITES[4]).content == signed_content(EERP)
        refused(replace(EERP, signature=made, date="20260204"), "another")
    der = distinguished(signature(EERP, certificates=True))
    assert verify(replace(EERP, signature=loosened(der)), [OURS.certificate], SUITES[4]).signatures


@pytest.mark.rfc("5.3.13")
def test_openssl_verifies_our_signature_and_takes_the_content_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "signer.pem").write_bytes(OURS.pem)
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-certfile", "signer.pem"]
    done = subprocess.run(command, input=signature(NERP), cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == signed_content(NERP)


def test_a_signature_of_somebody_else_or_none_is_refused() -> None:
    refused(SIGNED[Eerp], "made with a key whose certificate is not known here", OTHER)
    refused(EERP, "is not signed")
    refused(replace(EERP, signature=SIGNED[Nerp].signature), "another EERPHSH")
    refused(replace(SIGNED[Eerp], signature=b"?"), "cannot be read")
    refused(replace(SIGNED[Eerp], signature=SIGNED[Eerp].signature + b"\x00"), "follows its end")


def test_a_hash_has_to_be_there_and_of_the_suite() -> None:
    bare = replace(EERP, hash=b"")
    made = signed.sign(signed_content(bare), SIGNERS, SUITES[4], at=AT)
    refused(replace(bare, signature=made), "no hash of SHA-256")
    refused(SIGNED[Eerp], "no hash of SHA-512", number=6)
    refused(SIGNED[Eerp], "weaker than cipher suite 08", number=8)
    with pytest.raises(ValueError, match="has 32 octets, not 0"):
        signature(bare)


def test_more_than_the_end_response_is_refused() -> None:
    made = signed.sign(signed_content(EERP) + b"x", SIGNERS, SUITES[4], at=AT)
    refused(replace(EERP, signature=made), "more than the end response")


def test_what_does_not_fit_is_not_signed() -> None:
    with pytest.raises(ValueError, match="EERPDSN takes up to 26 octets, not 27"):
        signature(replace(EERP, dataset="X" * 27))
    with pytest.raises(ValueError, match="ascii"):
        signature(replace(EERP, originator="Ä"))
    many = SIGNERS * (MAX_SIGNATURE // 256)
    with pytest.raises(ValueError, match="does not fit an end response"):
        sign(EERP, many, SUITES[4], at=AT)


@settings(max_examples=300)
@given(BOTH, st.data())
def test_a_flipped_bit_in_the_signature_is_refused_or_changes_nothing_that_is_signed(
    command: EndResponse, data: st.DataObject
) -> None:
    """What CMS leaves unprotected is said in test_signed."""
    travelling = SIGNED[type(command)]
    changed = bytearray(travelling.signature)
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = verify(replace(travelling, signature=bytes(changed)), [OURS.certificate], SUITES[4])
    except SignatureError:
        return
    assert found.content == signed_content(command)
    assert [(each.certificate, each.signing_time) for each in found.signatures] == [(OURS.certificate, AT)]


@given(BOTH, st.data())
def test_a_flipped_bit_in_what_is_signed_is_always_refused(command: EndResponse, data: st.DataObject) -> None:
    travelling, content = SIGNED[type(command)], signed_content(command)
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    start = travelling.signature.index(content)
    changed = bytearray(travelling.signature)
    changed[start + bit // 8] ^= 1 << bit % 8
    refused(replace(travelling, signature=bytes(changed)), "over another")


@cache
def travelling(kind: type[EndResponse], number: int, form: str) -> EndResponse:
    """A signed end response in every form in which one may come."""
    command = replace(EERP if kind is Eerp else NERP, hash=SUITES[number].digest.of(b"the file"))
    octets = signature(command, number=number, certificates=form == "with certificate")
    if form == "detached":
        info = cms.ContentInfo.load(octets)
        info["content"]["encap_content_info"] = {"content_type": "data"}
        octets = info.dump(force=True)
    elif form == "BER":
        octets = loosened(octets)
    return replace(command, signature=octets)


TRAVELLING = st.builds(
    travelling,
    st.sampled_from([Eerp, Nerp]),
    st.sampled_from(list(SUITES)),
    st.sampled_from(["attached", "detached", "with certificate", "BER"]),
)


@settings(max_examples=400)
@given(TRAVELLING, st.data())
def test_an_end_response_that_was_changed_anyhow_proves_nothing_else(command: EndResponse, data: st.DataObject) -> None:
    """Its fields, its hash, its signature, and what says how long they are: all of the command as it travels."""
    number = {20: 2, 32: 4, 64: 6}[len(command.hash)]
    try:
        changed = decode(data.draw(damaged(encode(command))))
    except RemoteProtocolError:
        return
    if not isinstance(changed, Eerp | Nerp):
        return
    try:
        found = verify(changed, [OURS.certificate, OTHER.certificate], SUITES[number])
    except SignatureError:
        return
    assert found.content == signed_content(changed) == signed_content(command)
    assert [(each.certificate, each.signing_time) for each in found.signatures] == [(OURS.certificate, AT)]


def test_each_form_is_accepted_as_it_is() -> None:
    for kind in (Eerp, Nerp):
        for form in ("attached", "detached", "with certificate", "BER"):
            assert verify(travelling(kind, 6, form), [OURS.certificate], SUITES[6]).signatures
