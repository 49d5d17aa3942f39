"""Files as ``oftp2.cms`` secures them for others, and as it opens those that others secured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from oftp2.cms.errors import SignatureError
from oftp2.cms.package import Services, pack, unpack
from oftp2.cms.receipts import signed_content, verify
from oftp2.cms.suites import CipherSuite
from oftp2.commands import Eerp, EndResponse
from tests import pki
from tests.oftp2.cms.layers import cut, run
from tests.pki import Issued

_USAGES = (*pki.TLS, ExtendedKeyUsageOID.EMAIL_PROTECTION)
OURS, THEIRS, OTHER = (
    pki.make(subject=f"CN={name},O=Test,C=DE", issuer=pki.issuing(hierarchy), extended=_USAGES)
    for name, hierarchy in (("ours", "A"), ("theirs", "B"), ("other", "A"))
)
"""Good for files and for mail, which some know CMS by."""

CONTENT = b"UNB+UNOA:1+THEIRS+OURS+260101:1200+1'\r\nUNH+1+ORDERS:D:95B:UN'\x00\xff\x1a" * 60
SECURED = [Services(*flags) for flags in product([False, True], repeat=3)][1:]
SIGNED, ENCRYPTED, ALL = Services(sign=True), Services(encrypt=True), Services(sign=True, compress=True, encrypt=True)
PIECES = (1, 4096, 7)
"""Octets of the pieces in which files are read, over and over."""

EERP = Eerp(
    dataset="ORDERS",
    date="20260203",
    time="0405060001",
    user="USER",
    destination="O0013000001A",
    originator="O0013000002B",
    hash=bytes(range(64)),
)
"""With a hash as suite 06 has it."""


def secure(
    content: bytes,
    services: Services,
    suite: CipherSuite,
    *,
    signers: Sequence[Issued] = (OURS,),
    recipients: Sequence[Issued] = (THEIRS,),
    known: bool = True,
    named: str = "by issuer",
    certificates: bool = False,
) -> bytes:
    """A file of ours: DER as far as may be where its length is ``known``, BER otherwise."""
    stages = pack(
        suite=suite,
        signers=[each.signer for each in signers] if services.sign else [],
        compress=services.compress,
        recipients=[each.certificate for each in recipients] if services.encrypt else [],
        octets=len(content) if known else None,
        at=pki.NOW,
        certificates=certificates,
        by_key_identifier=named == "by key",
    )
    return run(stages, content)


def open_(
    octets: bytes,
    services: Services,
    suite: CipherSuite,
    *,
    signers: Sequence[Issued] = (THEIRS,),
    owners: Sequence[Issued] = (OURS,),
) -> tuple[bytes, list[str]]:
    """The content of a file of theirs, and the fingerprints of those whose valid signatures stand there."""
    unpacking = unpack(
        services,
        suite=suite,
        owners=[each.owner for each in owners],
        certificates=[each.certificate for each in signers],
    )
    content = run(unpacking.stages, cut(octets, PIECES))
    return content, sorted(each.fingerprint for each in unpacking.opened.signatures)


def count(response: EndResponse, suite: CipherSuite) -> None:
    """See that an end response that they have signed counts, and no other with its signature."""
    found = verify(response, [OTHER.certificate, THEIRS.certificate], suite)
    assert found.content == signed_content(response)
    assert [each.fingerprint for each in found.signatures] == [THEIRS.fingerprint]
    other = bytes(octet ^ 1 for octet in response.hash)
    for changed in (replace(response, time="0405060002"), replace(response, hash=other)):
        with pytest.raises(SignatureError, match="is over another"):
            verify(changed, [THEIRS.certificate], suite)
