"""The session challenge: 20 random octets in a CMS envelope (RFC 5024 sections 4.2.3, 5.3.17 and 5.3.18).

The envelope of AUCH is made with AES-256-CBC and RSA PKCS#1 v1.5, which every cipher suite that names AES
knows. Read is every envelope that some suite would make, and AES with shorter keys. Only the owner of the private key
gets the octets back that AURP carries. Comparing them is the caller's duty, in constant time.

**What an answer gives away.** The key of a file is wrapped as that of a challenge is. Whoever has intercepted a file for us that
is encrypted with 3DES can make challenges of its key and its blocks, and each answer would hold 8 octets of it (with AES the
20 octets leave 12 of padding, which nobody hits). So no wrapped key is answered twice: see :class:`Answered`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from threading import Lock
from typing import Final

from cryptography import x509

from oftp2.cms.decryption import NoKeyError
from oftp2.cms.enveloped import Enveloping, Opening
from oftp2.cms.errors import CmsError
from oftp2.cms.keys import Owner
from oftp2.cms.limits import Limits
from oftp2.cms.suites import suite

SECRET_OCTETS = 20
MAX_ENVELOPE = 65_535
"""Octets that AUCHCHLL can say."""

_SUITE: Final = suite(4)
_LIMITS: Final = Limits(held=MAX_ENVELOPE)


class ChallengeError(ValueError):
    """The challenge cannot be made or opened. The message never says how far opening it came."""


class RepeatedError(ChallengeError):
    """The challenge is none of this session: it was answered before."""


class Answered:
    """Which challenges were answered, by their wrapped keys: each has one of its own (RFC 5024 section 5.3.17).

    The last ``most`` are known. For several threads.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._keys: dict[bytes, None] = {}
        self._lock = Lock()

    def add(self, wrapped: bytes) -> bool:
        """Whether this one is new, which it is no more then."""
        key = sha256(wrapped).digest()
        with self._lock:
            if key in self._keys:
                return False
            self._keys[key] = None
            if len(self._keys) > self._most:
                del self._keys[next(iter(self._keys))]
            return True


def make_challenge(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    """The envelope for AUCHCHAL in DER and the 20 octets that AURPRSP must repeat.

    Raises :class:`ChallengeError` for a certificate whose key is not RSA.
    """
    secret = os.urandom(SECRET_OCTETS)
    try:
        enveloping = Enveloping(suite=_SUITE, recipients=[certificate], octets=SECRET_OCTETS)
    except ValueError as error:
        raise ChallengeError(f"the certificate cannot be challenged: {error}") from error
    return enveloping.update(secret) + enveloping.finish(), secret


def open_challenge(envelope: bytes, owners: Sequence[Owner], answered: Answered | None = None) -> bytes:
    """The 20 octets in a received AUCHCHAL, BER or DER, by the key of whichever owner opens it.

    The key that a recipient identifier names is tried first, then every other one. Raises
    :class:`ChallengeError`, also for a challenge with the key of one that is among ``answered``.
    """
    if len(envelope) > MAX_ENVELOPE:
        raise ChallengeError(f"the challenge has {len(envelope)} octets, at most {MAX_ENVELOPE} are possible")
    opening = Opening(owners, suite=None, limits=_LIMITS, proof=_is_secret)
    try:
        secret = opening.update(envelope) + opening.finish()
    except NoKeyError as error:
        raise ChallengeError("none of our keys opens the challenge") from error
    except CmsError as error:
        raise ChallengeError(f"the challenge is not a CMS envelope that can be read: {error}") from error
    if answered is not None and not answered.add(opening.wrapped):
        raise RepeatedError("the challenge is not new: its key is that of one that was answered before")
    return secret


def _is_secret(content: bytes) -> bool:
    return len(content) == SECRET_OCTETS
