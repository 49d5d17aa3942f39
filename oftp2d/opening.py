"""A received file that was secured, opened into its stored form (RFC 5024 sections 6.1 to 6.5).

Decrypted, decompressed, verified, and looked at whether its records are whole, in this order and in constant memory; nothing
of it counts before all of that is done. What it is opened and verified with are the keys and certificates that were valid when
it was received (certificate-selection.md). Blocks; ``open_received`` belongs in a worker for security.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from cryptography import x509

from oftp2.certs import selection
from oftp2.cms.errors import CmsError
from oftp2.cms.keys import Owner
from oftp2.cms.limits import Limits
from oftp2.cms.package import Services, unpack
from oftp2.cms.stage import Stage
from oftp2.cms.suites import Digest
from oftp2.reasons import NegativeResponseReason
from oftp2.records import LONGEST_VARIABLE, FixedReader, RecordError, VariableReader
from oftp2.values import FileFormat, SecurityLevel, clip
from oftp2d.agreement import agreed_suite
from oftp2d.certificates import Certificates
from oftp2d.config import Config
from oftp2d.digests import virtual_hash
from oftp2d.ledger import Partner, Transfer
from oftp2d.pipeline import Hashing, Work, make
from oftp2d.spool import Spool, Staged

_OF_KEYS: Final = frozenset({NegativeResponseReason.INVALID_SIGNATURE, NegativeResponseReason.DECRYPTION_FAILED})
"""The reasons behind which may be that a certificate counts for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What a file is opened with."""

    owners: Sequence[Owner] = field(repr=False)
    certificates: Sequence[x509.Certificate]
    choice: str
    """How they were chosen, for people."""
    withdrawn: Mapping[str, datetime] = field(default_factory=dict)
    """Which were withdrawn behind it, by fingerprint, and when."""
    barred: str = ""
    """Which might have done, but count for nothing, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a received file tells as it came, for the ledger."""

    virtual_hash: bytes | None = None
    """Of the Virtual File, where a signed end response is asked for."""
    signers: tuple[str, ...] = ()
    """Fingerprints of the partner's certificates that verified it."""
    recipients: tuple[str, ...] = ()
    """That of ours which opened it."""
    choice: str = ""


class UnopenedError(Exception):
    """The file is not what it was said to be. ``str`` is what was found, for our people; a NERP says ``reason`` and ``told``."""

    def __init__(self, reason: NegativeResponseReason, told: str, findings: Findings, found: str) -> None:
        super().__init__(found)
        self.reason = reason
        self.told = told
        self.findings = findings


def is_secured(transfer: Transfer) -> bool:
    """Whether a file must be opened."""
    return bool(transfer.security or transfer.compression or transfer.envelope)


def services_of(transfer: Transfer) -> Services:
    """What is done to a file, as its SFID says."""
    return Services.of(SecurityLevel(transfer.security), transfer.compression)


def keys_for(store: Certificates, partner: Partner, transfer: Transfer) -> Keys:
    """What to open a received file with. In the database worker."""
    received_at = transfer.updated_at
    services = services_of(transfer)
    owners: tuple[Owner, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    withdrawn: dict[str, datetime] = {}
    accounts = []
    if services.encrypt:
        owners = store.owners(received_at)
        accounts.append(store.explain_decryption(received_at))
    if services.sign:
        chosen = store.explain_partner(
            selection.VERIFICATION,
            partner_id=partner.id,
            station=transfer.originator,
            now=received_at,
            least_bits=partner.least_rsa_bits,
        )
        certificates = tuple(entry.facts.certificate for entry in chosen.entries)
        withdrawn = {each.facts.fingerprint: each.withdrawn_at for each in chosen.entries if each.withdrawn_at}
        accounts.append(chosen)
    choice = "\n".join(account.line for account in accounts)
    barred = "; ".join(account.barred for account in accounts if account.barred)
    return Keys(owners=owners, certificates=certificates, choice=choice, withdrawn=withdrawn, barred=barred)


def hash_received(spool: Spool, partner: Partner, transfer: Transfer, work: Work) -> bytes | None:
    """The hash for the end response of a received file, where a signed one is asked for."""
    if not transfer.signed_response:
        return None
    return virtual_hash(
        lambda: spool.open_received(transfer.spool_name),
        form=transfer.transferred_format,
        sha256=transfer.sha256,
        suite=agreed_suite(transfer, partner),
        work=work,
    )


def open_received(
    spool: Spool, config: Config, partner: Partner, transfer: Transfer, *, keys: Keys, work: Work
) -> tuple[Staged, Findings]:
    """Open a received file into ``Spool.opening``. Raises UnopenedError, SpoolError and AbandonedError, and leaves nothing."""
    agreed, services = agreed_suite(transfer, partner), services_of(transfer)
    unpacking = unpack(
        services,
        suite=agreed,
        owners=keys.owners,
        certificates=keys.certificates,
        octets=transfer.octets,
        limits=Limits(octets=config.limits.max_file_octets, ratio=config.limits.max_expansion),
    )
    raw = agreed.new_hash()
    hashed = transfer.signed_response and agreed.digest is not Digest.SHA256
    hashing: list[Stage] = [Hashing(raw)] if hashed else []
    content = hashlib.sha256()
    known = services.sign and agreed.digest is Digest.SHA256
    looking = _looking(transfer) if known else [*_looking(transfer), Hashing(content)]

    reserve = config.spool.free_octets_reserved
    with spool.open_received(transfer.spool_name) as source:
        try:
            stages = [*hashing, *unpacking.stages, *looking]
            staged = make(source, stages, spool.opening(transfer.id), spool=spool, reserve=reserve, work=work)
        except (CmsError, RecordError) as error:
            told = unpacking.told(error)
            reason = told.reason if isinstance(told, CmsError) else NegativeResponseReason.PROCESSING_FAILED
            findings = Findings(virtual_hash=hash_received(spool, partner, transfer, work), choice=keys.choice)
            barred = f" ({keys.barred})" if keys.barred and reason in _OF_KEYS else ""
            raise UnopenedError(reason, clip(f"{told}{barred}"), findings, clip(f"{error}{barred}")) from None
    found = unpacking.opened
    findings = Findings(
        virtual_hash=raw.digest() if hashed else hash_received(spool, partner, transfer, work),
        signers=tuple(signature.fingerprint for signature in found.signatures),
        recipients=() if found.recipient is None else (found.recipient,),
        choice=keys.choice,
    )
    sha256 = found.digest if known and found.digest else content.digest()
    return replace(staged, sha256=sha256.hex()), findings


def _looking(transfer: Transfer) -> list[Stage]:
    """What looks at the records that are in a secured file (section 6.5)."""
    if transfer.format == FileFormat.VARIABLE:
        return [_Records(VariableReader(min(transfer.record_length or LONGEST_VARIABLE, LONGEST_VARIABLE)))]
    if transfer.format == FileFormat.FIXED and transfer.record_length:
        return [_Records(FixedReader(transfer.record_length))]
    return []


class _Records:
    """A stage that changes nothing, and looks whether the records are whole.

    It tells only at the end, behind the signature: what is wrong with a file that was changed on its way is not its records.
    """

    def __init__(self, reader: FixedReader | VariableReader) -> None:
        self._reader = reader
        self._error: RecordError | None = None

    def update(self, octets: bytes) -> bytes:
        if self._error is None:
            try:
                self._reader.take(octets)
            except RecordError as error:
                self._error = error
        return octets

    def finish(self) -> bytes:
        if self._error is not None:
            raise self._error
        self._reader.finish()
        return b""
