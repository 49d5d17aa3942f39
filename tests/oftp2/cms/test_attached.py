"""What stands inside a signature: taken out, put in, read as the end response it is."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms.attached import content_of, read_content, with_content
from oftp2.cms.ber import element
from oftp2.cms.errors import CmsError, SignatureError
from oftp2.commands import Eerp, Nerp
from oftp2.reasons import NegativeResponseReason
from tests import pki

HASH = bytes(range(32))
FIELDS = (
    b"ORDERS.D96A".ljust(26)
    + b"20261122"
    + b"1426340001"
    + b"O0013000001TESTA0".ljust(25)
    + b"O0013000002TESTB".ljust(25)
)
EERP = FIELDS + HASH
NERP = FIELDS + b"O0013000003TESTC".ljust(25) + HASH


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", "cms", *arguments], check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attached")
    signer = pki.certificate("CA10")
    (folder / "signer.pem").write_bytes(signer.key_pem + signer.pem)
    (folder / "anchor.pem").write_bytes(pki.issuing("A").pem)
    (folder / "content").write_bytes(EERP)
    return folder


@pytest.fixture(scope="module")
def streamed(folder: Path) -> bytes:
    return signed(folder, "-nodetach", "-stream")


def signed(folder: Path, *how: str) -> bytes:
    return openssl(
        "-sign", "-binary", *how, "-md", "sha256", "-signer", folder / "signer.pem", "-in", folder / "content",
        "-outform", "DER",
    )  # fmt: skip


@pytest.mark.rfc("5.3.13")
@pytest.mark.interop(4)
@pytest.mark.parametrize("how", [(), ("-nocerts",), ("-nosmimecap",), ("-noattr", "-nocerts")], ids=" ".join)
def test_a_signature_stays_valid_when_its_content_is_put_in(folder: Path, how: tuple[str, ...]) -> None:
    detached = signed(folder, *how)
    assert content_of(detached) is None
    attached = with_content(detached, EERP)
    assert content_of(attached) == EERP
    (folder / "attached").write_bytes(attached)
    verified = openssl(
        "-verify", "-binary", "-inform", "DER", "-in", folder / "attached", "-certfile", folder / "signer.pem",
        "-CAfile", folder / "anchor.pem", "-partial_chain", "-purpose", "any",
    )  # fmt: skip
    assert verified == EERP


@pytest.mark.interop(4)
@pytest.mark.parametrize("how", [(), ("-stream",), ("-stream", "-nocerts")], ids=" ".join)
def test_the_content_that_came_along_is_found(folder: Path, how: tuple[str, ...]) -> None:
    attached = signed(folder, "-nodetach", *how)
    assert content_of(attached) == EERP
    # Put in again it is the same, and the rest is in DER at the latest then.
    assert content_of(with_content(attached, EERP)) == EERP
    assert content_of(with_content(attached, NERP)) == NERP


@pytest.mark.rfc("5.3.13", "5.3.14")
def test_what_is_signed_is_read_as_fields_without_their_padding() -> None:
    common = {
        "dataset": "ORDERS.D96A",
        "date": "20261122",
        "time": "1426340001",
        "destination": "O0013000001TESTA0",
        "originator": "O0013000002TESTB",
        "hash": HASH,
    }
    assert read_content(EERP, hash_octets=32) == Eerp(**common)  # type: ignore[arg-type]
    assert read_content(NERP, hash_octets=32) == Nerp(
        **common,  # type: ignore[arg-type]
        creator="O0013000003TESTC",
        reason=NegativeResponseReason.UNSPECIFIED,
    )


@pytest.mark.parametrize(
    ("content", "hash_octets"),
    [(EERP, 20), (EERP, 64), (EERP[:-1], 32), (NERP + b"x", 32), (b"", 32), (b"\n" + EERP[1:], 32)],
)
def test_what_is_no_end_response_is_not_read_as_one(content: bytes, hash_octets: int) -> None:
    with pytest.raises(SignatureError, match="what is signed is no end response"):
        read_content(content, hash_octets=hash_octets)


def test_what_is_no_signature_is_refused(folder: Path) -> None:
    data = openssl("-data_create", "-in", folder / "content", "-outform", "DER")
    for octets in (b"", b"nonsense", data, element(0x30)):
        with pytest.raises(SignatureError, match="the signature cannot be read"):
            content_of(octets)
    whole = signed(folder)
    for octets in (whole[:-1], whole + b"\0"):
        with pytest.raises(SignatureError, match="the signature cannot be read"):
            with_content(octets, EERP)


@given(at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
def test_a_damaged_signature_is_read_or_refused_and_nothing_else(streamed: bytes, at: int, mask: int) -> None:
    octets = bytearray(streamed)
    octets[at % len(octets)] ^= mask
    with contextlib.suppress(CmsError):
        content_of(with_content(bytes(octets), EERP))
