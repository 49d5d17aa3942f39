"""RC2 (RFC 2268) with 40-bit keys in CBC mode: dead, but the habit of old PKCS#12 writers. Only for making test containers."""

from __future__ import annotations

import struct

_PI = bytes.fromhex(
    "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2"
    "179a59f587b34f1361456d8d09817d32bd8f40eb86b77b0bf09521225c6b4e82"
    "54d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626"
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed7"
    "08e8eade8052eef784aa72ac354d6a2a961ad2715a1549744b9fd05e0418a4ec"
    "c2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731"
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a9"
    "0d38341bab33ffb0bb480c5fb9b1cd2ec5f3db47e5a59c770aa62068fe7fc1ad"
)
_BLOCK = 8


def encrypt(key: bytes, vector: bytes, content: bytes) -> bytes:
    """CBC with PKCS#7 padding; the effective length of the key is its own."""
    words = _expanded(key)
    pad = _BLOCK - len(content) % _BLOCK
    content += bytes([pad]) * pad
    out, before = bytearray(), vector
    for start in range(0, len(content), _BLOCK):
        mixed = bytes(a ^ b for a, b in zip(content[start : start + _BLOCK], before, strict=True))
        before = _block(words, mixed)
        out += before
    return bytes(out)


def _expanded(key: bytes) -> tuple[int, ...]:
    # RFC 2268 section 2.
    octets = bytearray(128)
    octets[: len(key)] = key
    for at in range(len(key), 128):
        octets[at] = _PI[(octets[at - 1] + octets[at - len(key)]) & 255]
    octets[128 - len(key)] = _PI[octets[128 - len(key)]]
    for at in range(127 - len(key), -1, -1):
        octets[at] = _PI[octets[at + 1] ^ octets[at + len(key)]]
    return struct.unpack("<64H", octets)


def _block(words: tuple[int, ...], block: bytes) -> bytes:
    # RFC 2268 section 3: sixteen mixing rounds, a mashing round behind the fifth and the eleventh.
    r = list(struct.unpack("<4H", block))
    for step in range(16):
        for at, left in enumerate((1, 2, 3, 5)):
            mixed = r[at] + words[4 * step + at] + (r[at - 1] & r[at - 2]) + (~r[at - 1] & r[at - 3])
            mixed &= 0xFFFF
            r[at] = (mixed << left | mixed >> (16 - left)) & 0xFFFF
        if step in {4, 10}:
            for at in range(4):
                r[at] = (r[at] + words[r[at - 1] & 63]) & 0xFFFF
    return struct.pack("<4H", *r)
