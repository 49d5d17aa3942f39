"""RSAES-OAEP with digests that cryptography does not offer for it, which are those of SHA-3 (RFC 8017 section 7.1).

Cipher suite 10 asks for it. All other padding is left to cryptography. The private operation is blinded, so that its time
says nothing about what is decrypted, and every failure is the same error after the same work.
"""

from __future__ import annotations

import hmac
import os
import secrets

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from oftp2.cms.suites import Digest


def encrypt(key: RSAPublicKey, message: bytes, *, digest: Digest, mask: Digest) -> bytes:
    """The message, encrypted; the label is empty. Raises ``ValueError`` where it is too long for the key."""
    octets = (key.key_size + 7) // 8
    filling = octets - len(message) - 2 * digest.octets - 2
    if filling < 0:
        raise ValueError("the RSA key is too short for this padding")
    block = _label(digest) + bytes(filling) + b"\x01" + message
    seed = os.urandom(digest.octets)
    masked = _xor(block, _mgf1(seed, len(block), mask))
    encoded = b"\x00" + _xor(seed, _mgf1(masked, len(seed), mask)) + masked
    numbers = key.public_numbers()
    return pow(int.from_bytes(encoded, "big"), numbers.e, numbers.n).to_bytes(octets, "big")


def decrypt(key: RSAPrivateKey, ciphertext: bytes, *, digest: Digest, mask: Digest) -> bytes:
    """The message. Raises ``ValueError`` for whatever else it is, always the same one."""
    octets = (key.key_size + 7) // 8
    number = int.from_bytes(ciphertext, "big")
    if len(ciphertext) != octets or octets < 2 * digest.octets + 2 or number >= key.private_numbers().public_numbers.n:
        raise ValueError("decryption failed")
    encoded = _raw(key, number).to_bytes(octets, "big")
    seed, masked = encoded[1 : 1 + digest.octets], encoded[1 + digest.octets :]
    block = _xor(masked, _mgf1(_xor(seed, _mgf1(masked, len(seed), mask)), len(masked), mask))
    label, rest = block[: digest.octets], block[digest.octets :]
    filling, one, message = rest.partition(b"\x01")
    # All is looked at before anything is said, and all of it.
    faults = (
        encoded[0],
        not hmac.compare_digest(label, _label(digest)),
        not hmac.compare_digest(filling, bytes(len(filling))),
        not one,
    )
    if sum(faults):
        raise ValueError("decryption failed")
    return message


def _raw(key: RSAPrivateKey, number: int) -> int:
    """The RSA private operation by the Chinese remainders of a blinded number."""
    private = key.private_numbers()
    modulus, exponent = private.public_numbers.n, private.public_numbers.e
    blind = secrets.randbelow(modulus - 2) + 2
    blinded = number * pow(blind, exponent, modulus) % modulus
    p, q = private.p, private.q
    at_p, at_q = pow(blinded, private.dmp1, p), pow(blinded, private.dmq1, q)
    result = at_q + q * (private.iqmp * (at_p - at_q) % p)
    return result * pow(blind, -1, modulus) % modulus


def _label(digest: Digest) -> bytes:
    return digest.new().digest()


def _mgf1(seed: bytes, octets: int, digest: Digest) -> bytes:
    mask = b""
    counter = 0
    while len(mask) < octets:
        state = digest.new()
        state.update(seed + counter.to_bytes(4, "big"))
        mask += state.digest()
        counter += 1
    return mask[:octets]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")
