"""What may come: whether a file is taken as it is secured, before a single octet of it is here (SFNA 15 to 20).

Pure: an SFID, what was set for the partner, and the keys we have go in; a refusal comes out, or none. RFC 5024 sections 5.3.3
and 5.3.5, acx.md sections 4.1 and 9. The text of a refusal names the setting that made it, as 'oftp2d partner change' knows it,
so that both sides know what to talk about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oftp2.cms.suites import SUITES, WEAK
from oftp2.commands import Sfid
from oftp2.reasons import AnswerReason
from oftp2d.ledger import Demand, Partner


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a file is not taken: SFNA before its data, EFNA behind."""

    reason: AnswerReason
    text: str
    retry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Whether we have what a file would need."""

    decryption: bool
    """A key that opens what is encrypted for us."""
    receipts: bool
    """A key that signs end responses of the station the file is for."""


_ENCRYPTION = AnswerReason.ENCRYPTED_NOT_ALLOWED, AnswerReason.UNENCRYPTED_NOT_ALLOWED
_SIGNATURE = AnswerReason.SIGNED_NOT_ALLOWED, AnswerReason.UNSIGNED_NOT_ALLOWED
"""For each service the reasons where it must not be used, and where it must."""


def judge(offer: Sfid, partner: Partner, keys: Keys) -> Refusal | None:
    """What speaks against a file of this partner, which is for a station of ours."""
    return next(_objections(offer, partner, keys), None)


def judge_message(offer: Sfid) -> Refusal | None:
    """The same for a message of the certificate exchange, of which no security is demanded (acx.md 4.1).

    A signature is let pass: the certificate is judged on its own. A signed end response is given where that is possible.
    """
    if offer.security.encrypted:
        return Refusal(reason=AnswerReason.ENCRYPTED_NOT_ALLOWED, text="certificates are exchanged unencrypted")
    if offer.compression:
        return Refusal(reason=AnswerReason.COMPRESSION_NOT_ALLOWED, text="certificates are exchanged uncompressed")
    if (offer.security.signed or offer.signed_response) and offer.cipher and offer.cipher not in SUITES:
        return Refusal(reason=AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, text=f"there is no suite {offer.cipher:02}")
    return None


def _objections(offer: Sfid, partner: Partner, keys: Keys) -> Iterator[Refusal]:
    """All of them, the simplest first."""
    yield from _form(offer)
    yield from _demands(offer, partner)
    yield from _suite(offer, partner)
    yield from _keys(offer, keys)


def _form(offer: Sfid) -> Iterator[Refusal]:
    if offer.compression not in {0, 1}:
        text = f"SFIDCOMP is {offer.compression}, known is 1 (zlib)"
        yield Refusal(reason=AnswerReason.COMPRESSION_NOT_ALLOWED, text=text)
    if offer.envelope not in {0, 1}:
        yield Refusal(reason=AnswerReason.UNSPECIFIED, text=f"SFIDENV is {offer.envelope}, known is 1 (CMS)")


def _demands(offer: Sfid, partner: Partner) -> Iterator[Refusal]:
    services = (
        ("encrypted", offer.security.encrypted, partner.incoming_encrypted, *_ENCRYPTION),
        ("signed", offer.security.signed, partner.incoming_signed, *_SIGNATURE),
    )
    for service, used, demand, not_allowed, required in services:
        if used and demand is Demand.REFUSED:
            yield _not_taken(not_allowed, service)
        if not used and demand is Demand.REQUIRED:
            yield Refusal(reason=required, text=f"files must be {service} here (incoming-{service} required)")
    if offer.compression and partner.incoming_compressed is Demand.REFUSED:
        yield _not_taken(AnswerReason.COMPRESSION_NOT_ALLOWED, "compressed")


def _not_taken(reason: AnswerReason, service: str) -> Refusal:
    return Refusal(reason=reason, text=f"{service} files are not taken here (incoming-{service} refused)")


def _suite(offer: Sfid, partner: Partner) -> Iterator[Refusal]:
    reason = AnswerReason.CIPHER_SUITE_NOT_SUPPORTED
    if not (offer.security or offer.signed_response):
        return
    if offer.cipher not in SUITES:
        used_for = "the file is secured" if offer.security else "a signed end response is asked for"
        text = f"SFIDCIPH is {offer.cipher:02} and {used_for}, known are 01 to {max(SUITES):02}"
        yield Refusal(reason=reason, text=text)
    if offer.cipher in WEAK and offer.cipher != partner.cipher_suite:
        text = (
            f"suite {offer.cipher:02} is weak (SHA-1) and not agreed, suite {partner.cipher_suite:02} is (cipher-suite)"
        )
        yield Refusal(reason=reason, text=text)


def _keys(offer: Sfid, keys: Keys) -> Iterator[Refusal]:
    """What is missing here may be there at another try."""
    if offer.security.encrypted and not keys.decryption:
        yield Refusal(reason=AnswerReason.UNSPECIFIED, text="there is no key to decrypt with here now", retry=True)
    if offer.signed_response and not keys.receipts:
        text = "there is no certificate to sign end responses with here now"
        yield Refusal(reason=AnswerReason.UNSPECIFIED, text=text, retry=True)
