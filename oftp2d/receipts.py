"""Signed end responses (RFC 5024 sections 5.3.13 and 5.3.14): ours are made, and those of partners judged.

Ours are made before the transaction in which they are owed, so that what is owed is what was signed. Those of partners are
judged before they are noted: one that does not count changes nothing about its file but a note, and gets its RTR all the
same, since the protocol has no other answer to it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from oftp2.certs import selection
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Selection
from oftp2.certs.usages import Usage
from oftp2.cms.receipts import sign
from oftp2.cms.signed import Signature
from oftp2.cms.suites import SUITES, CipherSuite
from oftp2.commands import EndResponse, Nerp
from oftp2d.agreement import agreed_suite
from oftp2d.context import Context
from oftp2d.endresponses import as_came, command_for, kind_of
from oftp2d.errors import OperatorError
from oftp2d.holdings import Credential
from oftp2d.ledger import (
    LedgerUnavailableError,
    NewEvidence,
    NewReceipt,
    Partner,
    ReceiptKind,
    SignedResponse,
    Transfer,
)
from oftp2d.opinions import Opinion, Weight, judge, suite_of
from oftp2d.retries import OTHER_CONTENT

SKEW: Final = timedelta(hours=1)
"""How far the clock of a partner may be ahead of ours before it is told."""


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
        command = command_for(transfer, new.kind, creator=new.creator, hash_=virtual_hash)
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
                kind=kind_of(response).value,
                file=transfer.dataset,
                transfer=transfer.id,
                what=opinion.text,
            )
        elif transfer.signed_response:
            self.log.warn(
                "{partner}: the {kind} for {file} is not signed, which was asked for, and counts all the same, transfer"
                " {transfer}: so it is set for this partner (--unsigned-receipts accept)",
                partner=partner.code,
                kind=kind_of(response).value,
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
            used=suite_of(transfer, response.hash),
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
            kind=kind_of(response).value,
            file=transfer.dataset,
            signed_at=f"{at:%Y-%m-%d %H:%M:%SZ}",
            transfer=transfer.id,
        )

    def _of_other_content(self, partner: Partner, transfer: Transfer, judgement: Judgement) -> Judgement:
        advice = f"send it again, with 'oftp2d send' from the original, or with 'oftp2d transfer retry {transfer.id}'"
        self.log.error(
            "{partner}: the NERP for {file} is signed for another hash, transfer {transfer}: {what}, so it was damaged on"
            " the disk here or on its way; {advice}",
            partner=partner.code,
            file=transfer.dataset,
            transfer=transfer.id,
            what=OTHER_CONTENT,
            advice=advice,
        )
        return replace(judgement, remark=f"{OTHER_CONTENT}; {advice}")

    async def _evidence(self, response: EndResponse, signature: Signature) -> Judgement:
        signer = CertificateFacts.of(signature.certificate)
        chain = await self._context.workers.database(self._context.certificates.chain, signer)
        evidence = NewEvidence(
            **asdict(as_came(response)),
            certificate=signer.der,
            chain=b"".join(each.public_bytes(Encoding.DER) for each in chain),
            signed_at=signature.signing_time,
        )
        return Judgement(accepted=True, evidence=evidence, signer=str(signer.subject))

    async def _not_accepted(
        self, partner: Partner, transfer: Transfer, response: EndResponse, opinion: Opinion
    ) -> None:
        kind, text = kind_of(response).value, opinion.text
        if isinstance(response, Nerp):
            # Most likely it is so, and what is wrong with the file can be looked for.
            text += (
                f"; what it says is not proven: NERP {response.reason:02}, {response.text or response.reason.meaning}"
            )
        advice = opinion.weight.value.format(partner=partner.code, transfer=transfer.id)
        # Of a certificate that is not here yet both are said.
        may_count = bool(response.signature) and opinion.weight in {Weight.UNVERIFIED, Weight.FALSE}
        held = as_came(response) if may_count else None
        await self._context.workers.database(self._note, partner, transfer, kind, text, advice, held=held)
        self.log.error(
            "{partner}: the {kind} for {file} does not count, transfer {transfer}: {what}; {advice}",
            partner=partner.code,
            kind=kind,
            file=transfer.dataset,
            transfer=transfer.id,
            what=text,
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


def _told(chosen: Selection) -> str:
    """Why a selection came out as it did, on one line."""
    return "; ".join(chosen.text.splitlines())


def _sign(command: EndResponse, credential: Credential, used: CipherSuite, at: datetime, *, certificate: bool) -> bytes:
    """In the crypto worker. Raises :class:`OperatorError`."""
    try:
        return sign(command, [credential.signer], used, at=at, certificates=certificate)
    except ValueError as error:
        raise OperatorError(
            f"the key of {credential.stored.alias} cannot sign in cipher suite {used.number:02} ({error})",
            "make one of at least 2048 bits with 'oftp2d cert generate'",
        ) from None
