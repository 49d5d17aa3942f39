"""What an end response of a partner proves by its signature, its fields and its hash (RFC 5024 sections 5.3.13 and 5.3.14).

Pure: the end response, what was sent, and certificates go in; an opinion comes out. What becomes of the file is not decided
here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest

from cryptography import x509

from oftp2.cms.errors import CmsError
from oftp2.cms.receipts import verify
from oftp2.cms.signed import Signature
from oftp2.cms.suites import SUITES, CipherSuite
from oftp2.commands import EndResponse, Nerp
from oftp2d.ledger import Transfer


class Weight(Enum):
    """What an end response proves; ``value`` is what to do about one that does not count for that reason."""

    SIGNED = ""
    UNSIGNED = (
        "ask the partner to sign its end responses and to send this one again, or say 'oftp2d partner change {partner}"
        " --unsigned-receipts accept' and have it sent again, if they are to count as they are"
    )
    UNVERIFIED = (
        "import the certificate with which the partner signs end responses, by 'oftp2d cert import FILE --partner"
        " {partner}': then this one is judged again"
    )
    OTHER_FILE = (
        "ask the partner what it has received; if that is not the file, say 'oftp2d transfer retry {transfer}' to send it"
        " again"
    )
    FALSE = (
        "ask the partner with which certificate it signs end responses, import that by 'oftp2d cert import FILE --partner"
        " {partner}' if it is not here: then this one is judged again; else ask it to send another one"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What an end response proves; ``text`` says what is missing for more."""

    weight: Weight
    text: str = ""
    signature: Signature | None = None
    """Who signed it, where that could be verified."""
    other_content: bool = False
    """Whether what is signed is that something else arrived than was sent: then it refuses that rightly."""

    def counts(self, *, asked: bool, unsigned: bool) -> bool:
        """Whether it counts where a signature was ``asked`` for, or was not; ``unsigned``: even without one."""
        match self.weight:
            case Weight.SIGNED:
                return True
            case Weight.UNSIGNED:
                return unsigned or not asked
            case Weight.UNVERIFIED:
                return not asked
            case Weight.OTHER_FILE | Weight.FALSE:
                return False


def judge(
    response: EndResponse,
    *,
    virtual_hash: bytes | None,
    used: CipherSuite,
    certificates: Sequence[x509.Certificate],
) -> Opinion:
    """What an end response for a file of ours proves; never raises, whatever it holds.

    ``virtual_hash``: of the file as it was transmitted, by the digest of the suite ``used``; None where nobody knows it.
    ``certificates``: those that may have signed it, best first. A NERP that is signed for another hash is a refusal all the
    same: it proves that what arrived was another content. An EERP for another hash is one for another file.
    """
    other = bool(response.hash) and virtual_hash is not None and not compare_digest(response.hash, virtual_hash)
    if other and not (isinstance(response, Nerp) and response.signature):
        return Opinion(weight=Weight.OTHER_FILE, text="its hash is that of another file")
    if not response.signature:
        return Opinion(weight=Weight.UNSIGNED, text="it is not signed, which was asked for")
    if not certificates:
        return Opinion(weight=Weight.UNVERIFIED)
    try:
        signature = verify(response, certificates, used).signatures[0]
        return Opinion(weight=Weight.SIGNED, signature=signature, other_content=other)
    except CmsError as error:
        return Opinion(weight=Weight.FALSE, text=str(error))


def to_be_judged(response: EndResponse, transfer: Transfer) -> bool:
    """Whether there is anything to be judged. What is only passed on is for its originator to judge."""
    asked = transfer.signed_response or response.hash or response.signature
    return bool(asked) and transfer.forwarded_from is None


def suite_of(transfer: Transfer, hash_: bytes) -> CipherSuite:
    """The suite of a file; where it went under none, the first one that has hashes of this length."""
    if transfer.cipher in SUITES:
        return SUITES[transfer.cipher]
    fit = (each for each in SUITES.values() if each.digest_octets == len(hash_))
    return next(fit, SUITES[4])
