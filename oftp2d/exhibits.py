"""The evidence for a transfer, out of the ledger: what the partner signed for a file of ours, or we for one of the partner's.

What is in an evidence file, and what it proves, is the business of ``evidence``.
"""

from __future__ import annotations

from collections.abc import Iterator

from asn1crypto import parser

from oftp2.certs.facts import CertificateFacts
from oftp2.cms.errors import CmsError
from oftp2.cms.receipts import verify
from oftp2.cms.suites import SUITES
from oftp2d.certificates import Certificates
from oftp2d.endresponses import as_it_came, end_response
from oftp2d.errors import OperatorError
from oftp2d.evidence import Evidence
from oftp2d.ledger import Direction, Ledger, Transfer
from oftp2d.opinions import suite_of


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
        used = suite_of(transfer, command.hash)
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
