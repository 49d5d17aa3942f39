"""Signatures as other products make them, out of ours."""

from __future__ import annotations

from oftp2.cms.attached import content_of
from oftp2.cms.ber import element


def detached(signature: bytes) -> bytes:
    """The same without what is signed, as some send it."""
    content = content_of(signature)
    assert content is not None
    inner = element(0xA0, element(0x04, content))
    assert inner in signature
    at = signature.index(inner)
    begin = signature.index(b"\x02\x01\x01\x31")
    head = signature[begin : begin + 5 + signature[begin + 4]]
    signed = element(0x30, head, element(0x30, signature[at - 11 : at]), signature[at + len(inner) :])
    return element(0x30, bytes.fromhex("06092a864886f70d010702"), element(0xA0, signed))
