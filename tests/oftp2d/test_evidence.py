"""The evidence file: what it proves, to us and to openssl, and that nothing in it can be changed unseen."""

from __future__ import annotations

import io
import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.certs.facts import CertificateFacts
from oftp2.cms import receipts
from oftp2.cms.attached import content_of
from oftp2.cms.keys import Signer, SoftwareKey
from oftp2.cms.suites import SUITES
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason
from oftp2d.errors import OperatorError
from oftp2d.evidence import LARGEST, Evidence, Verification, render, verify_evidence
from tests import pki
from tests.signatures import detached

CONTENT = b"the file as it was transmitted" * 100
SIGNED_AT = pki.NOW - timedelta(hours=1)
SIGNER = pki.certificate("CB01")
FACTS = CertificateFacts.of(SIGNER.der)
ANCHOR = CertificateFacts.of(pki.issuing("B").der)
STRANGER = CertificateFacts.of(pki.issuing("A").der)
EERP = Eerp(
    dataset="ORDERS.D96A",
    date="20261122",
    time="1426340001",
    user="ABC",
    destination="O0013000001TESTA0",
    originator="O0013000002TESTB",
    hash=sha512(CONTENT).digest(),
)
NERP = Nerp(
    dataset="ORDERS.D96A",
    date="20261122",
    time="1426340001",
    destination="O0013000001TESTA0",
    originator="O0013000002TESTB",
    creator="O0013000002TESTB",
    reason=NegativeResponseReason.PROCESSING_FAILED,
    text="no such\nSize:                    article",
    hash=sha512(CONTENT).digest(),
)


def evidence(command: EndResponse = EERP, suite: int = 6, **more: object) -> Evidence:
    used = SUITES[suite]
    digest = used.new_hash()
    digest.update(CONTENT)
    command = replace(command, hash=digest.digest())
    signature = receipts.sign(command, [SIGNER.signer], used, at=SIGNED_AT, **more)  # type: ignore[arg-type]
    return Evidence(
        command=replace(command, signature=signature),
        suite=used,
        octets=len(CONTENT),
        signer=FACTS,
        chain=(ANCHOR,),
        signed_at=SIGNED_AT,
        noted_at=pki.NOW,
    )


FILE = render(evidence())


def look(text: str | bytes, *, file: bytes | None = CONTENT, trust: CertificateFacts | None = ANCHOR) -> Verification:
    return verify_evidence(
        text.encode("utf-8") if isinstance(text, str) else text,
        virtual_file=None if file is None else io.BytesIO(file),
        anchors=None if trust is None else [trust],
    )


def holds(verification: Verification) -> dict[str, bool | None]:
    return {step.subject: step.holds for step in verification.steps}


def what(verification: Verification, subject: str) -> str:
    return next(step.what for step in verification.steps if step.subject == subject)


def openssl(folder: Path, text: str, *, anchor: bytes) -> subprocess.CompletedProcess[bytes]:
    """As the header says, with names of its own."""
    (folder / "FILE").write_text(text, "utf-8", newline="\n")
    (folder / "ANCHORS.pem").write_bytes(anchor)
    line = next(line for line in text.splitlines() if line.startswith("    openssl "))
    return subprocess.run(line.split(), cwd=folder, capture_output=True, check=False)


def pem(text: str, kind: str) -> tuple[int, int, bytes]:
    begin, end = f"-----BEGIN {kind}-----\n", f"-----END {kind}-----\n"
    at = text.index(begin) + len(begin)
    to = text.index(end)
    return at, to, b64decode(text[at:to])


def with_cms(text: str, octets: bytes) -> str:
    at, to, _ = pem(text, "CMS")
    return f"{text[:at]}{b64encode(octets).decode('ascii')}\n{text[to:]}"


# --- what it proves --------------------------------------------------------------------------------------------------


@pytest.mark.rfc("5.3.13", "5.3.14")
@pytest.mark.parametrize("suite", [2, 4, 6, 7, 8, 9])
@pytest.mark.parametrize("command", [EERP, NERP], ids=["EERP", "NERP"])
def test_everything_that_is_asked_is_proven(command: EndResponse, suite: int) -> None:
    found = look(render(evidence(command, suite)))
    assert holds(found) == {"signature": True, "signer": True, "header": True, "file": True, "trust": True}
    assert found.ok
    assert found.signed["File"] == "ORDERS.D96A"
    assert ("SHA-1 proves little" in what(found, "signature")) is (suite == 2)


def test_what_is_not_asked_is_not_looked_at() -> None:
    found = look(FILE, file=None, trust=None)
    assert holds(found) == {"signature": True, "signer": True, "header": True, "file": None, "trust": None}
    assert found.ok


def test_the_same_evidence_makes_the_same_file() -> None:
    assert render(evidence()) == FILE
    # Mail that turned its line ends does no harm.
    assert look(FILE.replace("\n", "\r\n")).ok


@pytest.mark.interop(4)
@pytest.mark.parametrize("certificates", [False, True])
def test_a_detached_signature_gets_what_is_signed(tmp_path: Path, certificates: bool) -> None:
    whole = evidence(certificates=certificates)
    bare = detached(whole.command.signature)
    assert content_of(bare) is None
    made = render(replace(whole, command=replace(whole.command, signature=bare)))
    assert look(made).ok
    assert openssl(tmp_path, made, anchor=pki.issuing("B").pem).returncode == 0


@pytest.mark.interop(4)
def test_a_signature_in_ber_stays_as_it_came(tmp_path: Path) -> None:
    whole = evidence()
    (tmp_path / "signer.pem").write_bytes(SIGNER.key_pem + SIGNER.pem)
    command = "openssl cms -sign -binary -nodetach -stream -md sha512 -outform DER -signer signer.pem"
    streamed = subprocess.run(
        command.split(),
        cwd=tmp_path,
        input=receipts.signed_content(whole.command),
        capture_output=True,
        check=True,
    ).stdout
    assert streamed[1] == 0x80
    response = replace(whole.command, signature=streamed)
    signed_at = receipts.verify(response, [SIGNER.certificate], SUITES[6]).signatures[0].signing_time
    made = render(replace(whole, command=response, signed_at=signed_at))
    assert pem(made, "CMS")[2] == streamed
    assert look(made).ok
    assert openssl(tmp_path, made, anchor=pki.issuing("B").pem).returncode == 0


def test_what_nothing_signed_is_said_to_be_noted_only() -> None:
    text = render(evidence(NERP))
    found = look(text)
    assert found.noted["Reason"] == "34, file processing failed"
    assert found.noted["Text"] == "no such\\nSize:                    article"
    assert "not signed is what was noted: Reason, Text, Size, Hash algorithm" in what(found, "header")
    # So it can be changed, and nobody can tell.
    assert look(text.replace("no such", "one such")).ok
    assert holds(look(text.replace("34, file", "34: file")))["header"]


@pytest.mark.parametrize("command", [EERP, NERP], ids=["EERP", "NERP"])
@pytest.mark.parametrize("suite", [4, 8])
def test_openssl_verifies_it_as_the_header_says(tmp_path: Path, command: EndResponse, suite: int) -> None:
    made = evidence(command, suite)
    done = openssl(tmp_path, render(made), anchor=pki.issuing("B").pem)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "SIGNED").read_bytes() == receipts.signed_content(made.command)
    assert openssl(tmp_path, render(made), anchor=pki.issuing("A").pem).returncode != 0


# --- what it does not ------------------------------------------------------------------------------------------------


def test_another_file_and_another_authority_are_told() -> None:
    found = look(FILE, file=CONTENT + b"x", trust=STRANGER)
    assert holds(found) == {"signature": True, "signer": True, "header": True, "file": False, "trust": False}
    assert not found.ok
    assert "is not the hash that is signed" in what(found, "file")
    assert "is no anchor" in what(found, "trust")


@pytest.mark.parametrize("command", [EERP, replace(NERP, originator="O0013000002OTHER")], ids=["EERP", "NERP"])
@pytest.mark.parametrize(
    ("station", "held", "told"),
    [
        ("O0013000002TESTB", True, "O0013000002TESTB answered, and that is the station its certificate names"),
        (
            "O0013000009TESTX",
            False,
            "its certificate names another station, O0013000009TESTX: O0013000002TESTB answered",
        ),
        ("HRB 12345", None, "O0013000002TESTB answered, and the certificate is that of serialNumber=HRB 12345,CN=leaf"),
        (
            None,
            None,
            "whose it is remains for you to compare: O0013000002TESTB answered, and the certificate is that of CN=",
        ),
    ],
)
def test_a_certificate_of_another_station_under_the_same_authority_is_told(
    command: EndResponse, station: str | None, held: bool | None, told: str
) -> None:
    """Of a NERP it is the station that refused, wherever the file was to go."""
    issued = pki.make(issuer=pki.issuing("B"), station=station, key=SIGNER.key)
    facts = CertificateFacts.of(issued.der)
    signature = receipts.sign(command, [Signer(facts.certificate, SoftwareKey(issued.key))], SUITES[6], at=SIGNED_AT)
    made = replace(evidence(), command=replace(command, signature=signature), signer=facts)
    found = look(render(made))
    assert holds(found)["signer"] is held
    assert told in what(found, "signer")
    assert found.ok is (held is not False)
    assert holds(found)["trust"]


@pytest.mark.parametrize(("last", "held"), [("MAIN", None), ("OTHER", False)])
def test_another_station_of_the_same_organisation_is_for_the_reader_to_compare(last: str, held: bool | None) -> None:
    prefix = "O001300000000000002"
    station = f"{prefix}{last}" if held is None else f"{prefix[:-1]}3{last}"
    facts = CertificateFacts.of(pki.make(issuer=pki.issuing("B"), station=station, key=SIGNER.key).der)
    command = replace(EERP, originator=f"{prefix}SUB")
    signature = receipts.sign(command, [Signer(facts.certificate, SoftwareKey(SIGNER.key))], SUITES[6], at=SIGNED_AT)
    found = look(render(replace(evidence(), command=replace(command, signature=signature), signer=facts)))
    assert holds(found)["signer"] is held
    assert f"{prefix}SUB answered, and the certificate is that of serialNumber={station}" in what(found, "signer")


def test_the_moment_of_signing_is_what_counts_for_certificates() -> None:
    early = replace(evidence(), signed_at=None)
    assert holds(look(render(early)))["header"] is False
    old = pki.make(issuer=pki.issuing("B"), days=(-30, -1))
    command = evidence().command
    for signed_at, trusted in ((pki.NOW - timedelta(days=10), True), (pki.NOW, False)):
        signature = receipts.sign(command, [old.signer], SUITES[6], at=signed_at)
        made = replace(
            evidence(),
            command=replace(command, signature=signature),
            signer=CertificateFacts.of(old.der),
            signed_at=signed_at,
        )
        assert holds(look(render(made)))["trust"] is trusted


def test_a_signer_may_say_any_moment_and_no_certificate_is_valid_so_far_off() -> None:
    assert "Signed at:               0999-01-01T00:00:00Z\n" in render(
        replace(evidence(), signed_at=datetime(999, 1, 1, tzinfo=UTC))
    )
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    command = evidence().command
    signature = receipts.sign(command, [SIGNER.signer], SUITES[6], at=last)
    made = replace(evidence(), command=replace(command, signature=signature), signed_at=last)
    assert holds(look(render(made))) == {
        "signature": True,
        "signer": True,
        "header": True,
        "file": True,
        "trust": False,
    }


@pytest.mark.parametrize(
    "command",
    [replace(NERP, text=text) for text in ("  indented", "   ", "behind  ")]
    + [replace(EERP, user=" AB"), replace(EERP, dataset=" ORDERS")],
    ids=str,
)
def test_blanks_that_lead_what_a_partner_says_are_its_own(command: EndResponse) -> None:
    assert look(render(evidence(command))).ok


@pytest.mark.parametrize(
    ("line", "other", "told"),
    [
        ("ORDERS.D96A", "ORDERS.D96B", "File is 'ORDERS.D96A', not 'ORDERS.D96B'"),
        ("1426340001", "1426340002", "Date and time is"),
        ("EERP, the file was taken over", "NERP, the file was refused", "End response is"),
        ("Serial number:", "Serial nvmber:", "Serial number is missing; Serial nvmber is no line of it"),
        ("SHA-256 fingerprint:     ", "SHA-256 fingerprint:     0", "SHA-256 fingerprint is"),
        ("Signed at:               2", "Signed at:               3", "Signed at is"),
        ("Hash algorithm:          SHA-512", "Hash algorithm:          SHA3-512", "Hash algorithm is"),
        ("What is signed:", "What nobody signed:", "its text was changed"),
        ("Evidence of", "No evidence of", "its text was changed"),
        ("  Size", "  Judge:                   us\n  Size", "Judge is no line of it"),
    ],
)
def test_a_header_that_says_something_else_is_told(line: str, other: str, told: str) -> None:
    assert line in FILE
    found = look(FILE.replace(line, other, 1))
    assert holds(found)["header"] is False
    assert told in what(found, "header")
    assert not found.ok
    assert found.signed["File"] == "ORDERS.D96A"


def test_a_certificate_of_somebody_else_proves_nothing() -> None:
    at, to, _ = pem(FILE, "CERTIFICATE")
    other = b64encode(pki.certificate("CA01").der).decode("ascii")
    found = look(f"{FILE[:at]}{other}\n{FILE[to:]}")
    assert holds(found) == {"signature": False, "signer": None, "header": None, "file": None, "trust": None}
    assert not found.ok
    assert not found.signed


def test_a_signature_without_what_is_signed_proves_nothing() -> None:
    _, _, cms = pem(FILE, "CMS")
    assert holds(look(with_cms(FILE, detached(cms))))["signature"] is False


def test_another_suite_than_that_of_the_hash_is_told() -> None:
    found = look(FILE.replace(str(SUITES[6]), str(SUITES[4])))
    assert holds(found)["signature"] is False


@given(at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_no_changed_signature_proves_anything_else(at: int, mask: int) -> None:
    """Some octets mean nothing, such as the parameters of a digest: then it is still this end response."""
    _, _, cms = pem(FILE, "CMS")
    octets = bytearray(cms)
    octets[at % len(octets)] ^= mask
    found = look(with_cms(FILE, bytes(octets)), file=None, trust=None)
    assert found.signed in ({}, look(FILE).signed)
    assert found.ok is bool(found.signed)


@pytest.mark.parametrize("at", [60, 90, 200, 350, -1])
def test_openssl_refuses_it_changed_too(tmp_path: Path, at: int) -> None:
    _, _, cms = pem(FILE, "CMS")
    octets = bytearray(cms)
    octets[at] ^= 0x01
    assert holds(look(with_cms(FILE, bytes(octets))))["signature"] is False
    assert openssl(tmp_path, with_cms(FILE, bytes(octets)), anchor=pki.issuing("B").pem).returncode != 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "it does not hold one signature"),
        (b"\xff", "it is no text"),
        (b"x" * (LARGEST + 1), "more than 1048576 octets"),
        (FILE + FILE, "it does not hold one signature"),
        (FILE + "more", "between or behind"),
        (FILE.replace("BEGIN CMS", "BEGIN PKCS7").replace("END CMS", "END PKCS7"), "it does not hold one signature"),
        (FILE[: FILE.index("-----BEGIN CERT")], "it does not hold one signature"),
        (FILE.replace("  File:", "  Size:"), "a line of its header is there twice"),
        (FILE.replace("Cipher suite", "Cipher suit"), "no line 'Cipher suite'"),
        (FILE.replace("Noted at", "Noted"), "no line 'Noted at'"),
        (FILE.replace(str(SUITES[6]), "99"), "not written as it has to be"),
        (FILE.replace(str(SUITES[6]), "six"), "not written as it has to be"),
        (with_cms(FILE, b"x").replace("eA==", "eA=A"), "not written as it has to be"),
        (FILE[: pem(FILE, "CERTIFICATE")[0]] + "eA==\n" + FILE[pem(FILE, "CERTIFICATE")[1] :], "cannot be read"),
    ],
)
def test_what_is_no_evidence_file_is_refused(text: str | bytes, told: str) -> None:
    with pytest.raises(OperatorError, match="this is no evidence file") as refused:
        look(text)
    assert told in refused.value.what


@given(at=st.integers(min_value=0, max_value=len(FILE) - 1), octet=st.characters(max_codepoint=126))
def test_no_other_text_says_anything_false(at: int, octet: str) -> None:
    try:
        found = look(FILE[:at] + octet + FILE[at + 1 :], file=None, trust=None)
    except OperatorError:
        return
    assert found.signed in ({}, look(FILE).signed)
