"""The session challenge: 20 random octets in a CMS envelope (RFC 5024 sections 4.2.3, 5.3.17 and 5.3.18).

The envelope of AUCH is made with AES-256-CBC and RSA PKCS#1 v1.5, which every cipher suite that names AES
knows. Read is every envelope that some suite would make, and AES with shorter keys. Only the owner of the private key
gets the octets back that AURP carries. Comparing them is the caller's duty, in constant time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from cryptography import x509

from oftp2.cms.enveloped import Enveloping, NoKeyError, Opening
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


def open_challenge(envelope: bytes, owners: Sequence[Owner]) -> bytes:
    """The 20 octets in a received AUCHCHAL, BER or DER, by the key of whichever owner opens it.

    The key that a recipient identifier names is tried first, then every other one. Raises
    :class:`ChallengeError`.
    """
    if len(envelope) > MAX_ENVELOPE:
        raise ChallengeError(f"the challenge has {len(envelope)} octets, at most {MAX_ENVELOPE} are possible")
    opening = Opening(owners, suite=None, limits=_LIMITS, proof=_is_secret)
    try:
        return opening.update(envelope) + opening.finish()
    except NoKeyError as error:
        raise ChallengeError("none of our keys opens the challenge") from error
    except CmsError as error:
        raise ChallengeError(f"the challenge is not a CMS envelope that can be read: {error}") from error


def _is_secret(content: bytes) -> bool:
    return len(content) == SECRET_OCTETS
