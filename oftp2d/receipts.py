"""Signed end responses (RFC 5024 sections 5.3.13 and 5.3.14): ours are made, those of partners judged, and both are evidence.

Ours are made before the transaction in which they are owed, so that what is owed is what was signed. Those of partners are
judged before they are noted: one that does not count changes nothing about its file but a note, and gets its RTR all the
same, since the protocol has no other answer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from hmac import compare_digest
from typing import Final

from asn1crypto import parser
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from oftp2.certs import selection
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Selection
from oftp2.certs.usages import Usage
from oftp2.cms.errors import CmsError
from oftp2.cms.receipts import sign, verify
from oftp2.cms.signed import Signature
from oftp2.cms.suites import SUITES, CipherSuite
from oftp2.commands import Eerp, EndResponse, Nerp
from oftp2.reasons import NegativeResponseReason
from oftp2.values import clip
from oftp2d.agreement import agreed_suite
from oftp2d.certificates import Certificates
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.evidence import Evidence
from oftp2d.holdings import Credential
from oftp2d.ledger import (
    Direction,
    Ledger,
    LedgerUnavailableError,
    NewEvidence,
    NewReceipt,
    Partner,
    Receipt,
    ReceiptKind,
    SignedResponse,
    Transfer,
)

SKEW: Final = timedelta(hours=1)
"""How far the clock of a partner may be ahead of ours before it is told."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whether an end response counts, and what is kept of one that is signed."""

    accepted: bool
    evidence: NewEvidence | None = None
    signer: str = ""
    """Who signed it, for people."""
    remark: str = ""
    """What a refusal says beside its own text, for people."""

    def told(self, nerp: Nerp) -> str:
        """The text of the transfer that is refused by it."""
        return "; ".join(filter(None, (nerp.text or nerp.reason.meaning, self.remark)))


class Receipts:
    """Signs what we answer, and judges what partners answer."""

    log = Logger(namespace="receipts")

    def __init__(self, context: Context) -> None:
        self._context = context

    # --- ours ---------------------------------------------------------------------------------------------------

    async def signer(self, partner: Partner, transfer: Transfer) -> Credential | None:
        """Who signs the end response for a received file; None where no signature was asked for (SFIDSIGN).

        Raises :class:`OperatorError` where nobody can now.
        """
        if not transfer.signed_response:
            return None
        credential = await self._context.workers.database(
            self._context.certificates.own,
            Usage.EERP_SIGNATURE,
            station=transfer.destination,
            now=self._context.now(),
            partner_id=partner.id,
        )
        if credential is None:
            raise OperatorError(
                f"no certificate of {transfer.destination} may sign end responses now",
                f"make one with 'oftp2d cert generate', and say 'oftp2d exchange deliver {partner.code}'",
            )
        return credential

    async def make(
        self,
        partner: Partner,
        transfer: Transfer,
        new: NewReceipt,
        virtual_hash: bytes | None,
        *,
        signer: Credential | None,
    ) -> NewReceipt:
        """The end response for a received file, signed by ``signer`` if there is one.

        ``virtual_hash`` is that of the Virtual File as it came, by the digest of ``agreed_suite``; None where nobody asked.
        Raises :class:`OperatorError` for a key that cannot sign by that suite.
        """
        if signer is None or virtual_hash is None:
            return new
        command = _command(transfer, new.kind, creator=new.creator, hash_=virtual_hash)
        suite, now = agreed_suite(transfer, partner), self._context.now()
        signature = await self._context.workers.crypto(
            _sign, command, signer, suite, now, certificate=partner.signer_certificate
        )
        return replace(new, hash=virtual_hash, signature=signature)

    async def make_in_any_case(
        self, partner: Partner, transfer: Transfer, new: NewReceipt, virtual_hash: bytes | None
    ) -> NewReceipt:
        """The same for what must not wait for it: where nobody can sign, it stays unsigned, and the log says what to do."""
        try:
            signer = await self.signer(partner, transfer)
            return await self.make(partner, transfer, new, virtual_hash, signer=signer)
        except LedgerUnavailableError:
            raise
        except OperatorError as error:
            self.log.error(
                "{partner}: the {kind} for {file} goes without the signature that was asked for, transfer {transfer}:"
                " {what}; {advice}",
                partner=partner.code,
                kind=new.kind.value,
                file=transfer.dataset,
                transfer=transfer.id,
                what=error.what,
                advice=error.advice,
            )
            return new

    # --- those of partners --------------------------------------------------------------------------------------

    async def judge(self, partner: Partner, transfer: Transfer, response: EndResponse) -> Judgement:
        """Whether an end response for a file of ours counts; one that does not is noted with the file, and in the log."""
        opinion = await self._opinion(partner, transfer, response)
        if opinion.signature is not None:
            return await self._proven(partner, transfer, response, opinion.signature, other=opinion.other_content)
        if not opinion.counts(asked=transfer.signed_response, unsigned=partner.unsigned_receipts):
            await self._not_accepted(partner, transfer, response, opinion)
            return Judgement(accepted=False)
        if opinion.weight is Weight.UNVERIFIED:
            self.log.info(
                "{partner}: the {kind} for {file} counts as unsigned, transfer {transfer}: {what}",
                partner=partner.code,
                kind=_kind(response).value,
                file=transfer.dataset,
                transfer=transfer.id,
                what=opinion.text,
            )
        elif transfer.signed_response:
            self.log.warn(
                "{partner}: the {kind} for {file} is not signed, which was asked for, and counts all the same, transfer"
                " {transfer}: so it is set for this partner (--unsigned-receipts accept)",
                partner=partner.code,
                kind=_kind(response).value,
                file=transfer.dataset,
                transfer=transfer.id,
            )
        return Judgement(accepted=True)

    async def proven(self, partner: Partner, transfer: Transfer, response: EndResponse) -> Judgement | None:
        """What an end response for a file of ours proves that was judged before; None where it still does not count.

        It was held because it is signed, and so counts only for its signature.
        """
        opinion = await self._opinion(partner, transfer, response)
        if opinion.signature is None:
            return None
        return await self._proven(partner, transfer, response, opinion.signature, other=opinion.other_content)

    async def _opinion(self, partner: Partner, transfer: Transfer, response: EndResponse) -> Opinion:
        """What it proves, by the certificates that are there now."""
        station = response.station
        chosen = await self._context.workers.database(
            self._context.certificates.explain_partner,
            selection.EERP_VERIFICATION,
            partner_id=partner.id,
            station=station,
            now=self._context.now(),
            least_bits=partner.least_rsa_bits,
        )
        opinion = await self._context.workers.crypto(
            judge,
            response,
            # Of a file that went under no suite nobody knows which digest the partner would take.
            virtual_hash=transfer.virtual_hash if transfer.cipher in SUITES else None,
            used=_agreed(transfer, response.hash),
            certificates=[entry.facts.certificate for entry in chosen.entries],
        )
        if opinion.weight is Weight.UNVERIFIED:
            return replace(opinion, text=f"no certificate of {station} can verify its signature ({_told(chosen)})")
        return opinion

    async def _proven(
        self, partner: Partner, transfer: Transfer, response: EndResponse, signature: Signature, *, other: bool
    ) -> Judgement:
        judgement = await self._evidence(response, signature)
        self._look_at_moment(partner, transfer, response, signature)
        return self._of_other_content(partner, transfer, judgement) if other else judgement

    def _look_at_moment(
        self, partner: Partner, transfer: Transfer, response: EndResponse, signature: Signature
    ) -> None:
        """It counts whatever the signer's clock says, but who verifies the evidence has nothing else to go by."""
        at, facts = signature.signing_time, CertificateFacts.of(signature.certificate)
        if at is None or facts.not_before <= at <= min(facts.not_after, self._context.now() + SKEW):
            return
        self.log.warn(
            "{partner}: the {kind} for {file} says that it was signed at {signed_at}, which cannot be, transfer {transfer}: as"
            " evidence it may be doubted; ask the partner to set the clock of its system right",
            partner=partner.code,
            kind=_kind(response).value,
            file=transfer.dataset,
            signed_at=f"{at:%Y-%m-%d %H:%M:%SZ}",
            transfer=transfer.id,
        )

    def _of_other_content(self, partner: Partner, transfer: Transfer, judgement: Judgement) -> Judgement:
        what = "what arrived at the partner is another content than was sent"
        advice = f"send it again, with 'oftp2d send' from the original, or with 'oftp2d transfer retry {transfer.id}'"
        self.log.error(
            "{partner}: the NERP for {file} is signed for another hash, transfer {transfer}: {what}, so it was damaged on"
            " the disk here or on its way; {advice}",
            partner=partner.code,
            file=transfer.dataset,
            transfer=transfer.id,
            what=what,
            advice=advice,
        )
        return replace(judgement, remark=f"{what}; {advice}")

    async def _evidence(self, response: EndResponse, signature: Signature) -> Judgement:
        signer = CertificateFacts.of(signature.certificate)
        chain = await self._context.workers.database(self._context.certificates.chain, signer)
        evidence = NewEvidence(
            **asdict(_as_came(response)),
            certificate=signer.der,
            chain=b"".join(each.public_bytes(Encoding.DER) for each in chain),
            signed_at=signature.signing_time,
        )
        return Judgement(accepted=True, evidence=evidence, signer=str(signer.subject))

    async def _not_accepted(
        self, partner: Partner, transfer: Transfer, response: EndResponse, opinion: Opinion
    ) -> None:
        kind = _kind(response).value
        advice = opinion.weight.value.format(partner=partner.code, transfer=transfer.id)
        # Of a certificate that is not here yet both are said.
        may_count = bool(response.signature) and opinion.weight in {Weight.UNVERIFIED, Weight.FALSE}
        held = _as_came(response) if may_count else None
        await self._context.workers.database(self._note, partner, transfer, kind, opinion.text, advice, held=held)
        self.log.error(
            "{partner}: the {kind} for {file} does not count, transfer {transfer}: {what}; {advice}",
            partner=partner.code,
            kind=kind,
            file=transfer.dataset,
            transfer=transfer.id,
            what=opinion.text,
            advice=advice,
        )

    def _note(
        self,
        partner: Partner,
        transfer: Transfer,
        kind: str,
        text: str,
        advice: str,
        *,
        held: SignedResponse | None,
    ) -> None:
        ledger, now = self._context.ledger, self._context.now()
        told = f"{'an EERP' if kind == ReceiptKind.EERP else 'a NERP'} came that does not count: {text}; {advice}"
        ledger.transfers.not_accepted(transfer.id, now, told, held=held)
        ledger.audit.record(
            now, partner.code, "end response not accepted", {"transfer": transfer.id, "kind": kind, "text": text}
        )


# --- what an end response proves -------------------------------------------------------------------------------------


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


def _agreed(transfer: Transfer, hash_: bytes) -> CipherSuite:
    """The suite of a file; where it went under none, the first one that has hashes of this length."""
    if transfer.cipher in SUITES:
        return SUITES[transfer.cipher]
    fit = (each for each in SUITES.values() if each.digest_octets == len(hash_))
    return next(fit, SUITES[4])


def _kind(response: EndResponse) -> ReceiptKind:
    return ReceiptKind.NERP if isinstance(response, Nerp) else ReceiptKind.EERP


def _as_came(response: EndResponse) -> SignedResponse:
    """A signed end response as the ledger keeps it."""
    nerp = response if isinstance(response, Nerp) else None
    return SignedResponse(
        kind=_kind(response),
        creator=nerp.creator if nerp else "",
        reason=int(nerp.reason) if nerp else None,
        text=nerp.text if nerp else "",
        user="" if isinstance(response, Nerp) else response.user,
        hash=response.hash,
        signature=response.signature,
    )


def _told(chosen: Selection) -> str:
    """Why a selection came out as it did, on one line."""
    return "; ".join(chosen.text.splitlines())


# --- evidence --------------------------------------------------------------------------------------------------------


def has_evidence(ledger: Ledger, transfer: Transfer) -> bool:
    """Whether there is a signed end response for a transfer. Blocks."""
    if transfer.direction is Direction.OUT:
        return ledger.evidence.get(transfer.id) is not None
    receipt = ledger.receipts.get(transfer.id)
    return receipt is not None and bool(receipt.signature)


def evidence_of(ledger: Ledger, certificates: Certificates, transfer_id: str) -> Evidence:
    """The signed end response of a transfer: the partner's for a file of ours, ours for one of the partner's.

    Blocks; belongs in the database worker. Raises :class:`OperatorError` where there is none.
    """
    transfer = ledger.transfers.get(transfer_id)
    if transfer.direction is Direction.OUT:
        kept = ledger.evidence.get(transfer_id)
        if kept is None:
            raise _nothing(transfer)
        command = as_it_came(transfer, kept)
        signers, noted_at = [CertificateFacts.of(kept.certificate)], kept.received_at
        chain = tuple(map(CertificateFacts.of, _apart(kept.chain)))
    else:
        receipt = ledger.receipts.get(transfer_id)
        if receipt is None or not receipt.signature:
            raise _nothing(transfer)
        command, noted_at = end_response(receipt), receipt.created_at
        # With which of them is in the signature.
        signers, chain = [CertificateFacts.of(entry.der) for entry in certificates.own_entries()], None
    try:
        used = _agreed(transfer, command.hash)
        signature = verify(command, [each.certificate for each in signers], used).signatures[0]
    except CmsError as error:
        raise OperatorError(
            f"no certificate here verifies the end response for {transfer_id} ({error})",
            "it was signed where the file was forwarded to, or our certificate was removed: import that again",
        ) from None
    signer = CertificateFacts.of(signature.certificate)
    if transfer.cipher not in SUITES:
        used = next((each for each in SUITES.values() if each.digest is signature.digest), used)
    return Evidence(
        command=command,
        suite=used,
        octets=transfer.octets,
        signer=signer,
        chain=tuple(map(CertificateFacts.of, certificates.chain(signer))) if chain is None else chain,
        signed_at=signature.signing_time,
        noted_at=noted_at,
    )


def _nothing(transfer: Transfer) -> OperatorError:
    what = f"there is no signed end response for {transfer.id}, and nothing else is evidence"
    if transfer.direction is Direction.IN:
        return OperatorError(what, "a partner gets one where it asks for it (SFIDSIGN)")
    if transfer.signed_response:
        return OperatorError(what, f"see 'oftp2d transfer show {transfer.id}' for what came")
    return OperatorError(
        what, "ask for them with 'oftp2d partner change PARTNER --signed-receipts' before the next file goes"
    )


def _apart(chain: bytes) -> Iterator[bytes]:
    """The certificates that stand one behind the other."""
    while chain:
        octets = parser.peek(chain)
        yield chain[:octets]
        chain = chain[octets:]


# --- commands --------------------------------------------------------------------------------------------------------


def end_response(receipt: Receipt) -> EndResponse:
    """An end response of ours as it goes over the wire."""
    return _command(
        receipt,
        receipt.kind,
        user=receipt.user,
        creator=receipt.creator,
        reason=receipt.reason,
        text=receipt.text,
        hash_=receipt.hash or b"",
        signature=receipt.signature or b"",
    )


def as_it_came(transfer: Transfer, kept: SignedResponse) -> EndResponse:
    """The partner's end response for a file of ours, which the ledger has kept."""
    return _command(
        transfer,
        kept.kind,
        user=kept.user,
        creator=kept.creator,
        reason=kept.reason,
        text=kept.text,
        hash_=kept.hash,
        signature=kept.signature,
    )


def _command(
    of: Transfer | Receipt,
    kind: ReceiptKind,
    *,
    user: str = "",
    creator: str | None = None,
    reason: int | None = None,
    text: str = "",
    hash_: bytes,
    signature: bytes = b"",
) -> EndResponse:
    """An end response; that for a transfer travels the other way than its file did."""
    if isinstance(of, Receipt):
        destination, originator = of.destination, of.originator
    else:
        destination, originator = of.originator, of.destination
    if kind is ReceiptKind.EERP:
        return Eerp(
            dataset=of.dataset,
            date=of.date,
            time=of.time,
            user=user,
            destination=destination,
            originator=originator,
            hash=hash_,
            signature=signature,
        )
    given = (each for each in NegativeResponseReason if each == reason)
    return Nerp(
        dataset=of.dataset,
        date=of.date,
        time=of.time,
        destination=destination,
        originator=originator,
        creator=originator if creator is None else creator,
        reason=next(given, NegativeResponseReason.UNSPECIFIED),
        text=clip(text),
        hash=hash_,
        signature=signature,
    )


def _sign(command: EndResponse, credential: Credential, used: CipherSuite, at: datetime, *, certificate: bool) -> bytes:
    """In the crypto worker. Raises :class:`OperatorError`."""
    try:
        return sign(command, [credential.signer], used, at=at, certificates=certificate)
    except ValueError as error:
        raise OperatorError(
            f"the key of {credential.stored.alias} cannot sign in cipher suite {used.number:02} ({error})",
            "make one of at least 2048 bits with 'oftp2d cert generate'",
        ) from None
