"""What was agreed with a partner about file security: which of it needs release level 5, and what is done to a file for it.

Pure but for the gaps, which ask the certificate store. RFC 5024 section 5.3.3 (SFIDSEC, SFIDCIPH, SFIDCOMP,
SFIDENV, SFIDSIGN). What of a partner's own files is accepted is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import datetime

from oftp2.certs import selection
from oftp2.certs.selection import Selection, Situation
from oftp2.certs.usages import Usage
from oftp2.cms.suites import SUITES, WEAK, CipherSuite, suite
from oftp2.values import Level, SecurityLevel
from oftp2d.certificates import Certificates
from oftp2d.errors import OperatorError
from oftp2d.ledger import Authentication, Demand, NewPartner, Partner, Transfer


def needs_level_5(partner: NewPartner) -> dict[str, str]:
    """What is agreed that no release level below 5 has, in words, and the option that ends it; empty if there is nothing."""
    agreed = {
        "session authentication": ("--authentication off", partner.authentication is not Authentication.OFF),
        "signed files": ("--no-sign-files", partner.sign_files),
        "compressed files": ("--no-compress-files", partner.compress_files),
        "encrypted files": ("--no-encrypt-files", partner.encrypt_files),
        "signed receipts": ("--no-signed-receipts", partner.signed_receipts),
        "signed files of the partner": ("--incoming-signed allowed", partner.incoming_signed is Demand.REQUIRED),
        "encrypted files of the partner": (
            "--incoming-encrypted allowed",
            partner.incoming_encrypted is Demand.REQUIRED,
        ),
    }
    return {what: option for what, (option, wanted) in agreed.items() if wanted}


def check_level(partner: NewPartner) -> None:
    """Raises OperatorError where the partner's level does not have what is agreed with it."""
    needed = needs_level_5(partner)
    if partner.level < Level.REVISION_2_0 and needed:
        raise OperatorError(
            f"release level {partner.level} has no {', no '.join(needed)}",
            f"give it up ({' '.join(needed.values())}), or let the level be 5 (--level 5)",
        )


def agreed_suite(transfer: Transfer, partner: Partner) -> CipherSuite:
    """The suite of a transfer; one that names none that there is, because it needs none, has that of the partner."""
    return SUITES.get(transfer.cipher) or suite(partner.cipher_suite)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted for one file; None where it is to be as it is agreed with the partner."""

    sign: bool | None = None
    compress: bool | None = None
    encrypt: bool | None = None
    suite: int | None = None
    signed_receipt: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What is done to a file before it goes, in the fields of SFID."""

    sign: bool
    compress: bool
    encrypt: bool
    signed_receipt: bool
    suite: int
    """The one to be used if one is needed."""

    @classmethod
    def agreed(cls, partner: Partner) -> Services:
        """What is done to every file for this partner."""
        return cls(
            sign=partner.sign_files,
            compress=partner.compress_files,
            encrypt=partner.encrypt_files,
            signed_receipt=partner.signed_receipts,
            suite=partner.cipher_suite,
        )

    @property
    def security(self) -> SecurityLevel:
        """SFIDSEC."""
        if self.sign:
            return SecurityLevel.ENCRYPTED_AND_SIGNED if self.encrypt else SecurityLevel.SIGNED
        return SecurityLevel.ENCRYPTED if self.encrypt else SecurityLevel.NONE

    @property
    def cipher(self) -> int:
        """SFIDCIPH; 0 where nothing needs a suite, as compression alone does not."""
        return self.suite if self.sign or self.encrypt or self.signed_receipt else 0

    @property
    def compression(self) -> int:
        """SFIDCOMP: 1 is zlib in CMS."""
        return int(self.compress)

    @property
    def envelope(self) -> int:
        """SFIDENV: 1 is CMS."""
        return int(self.sign or self.compress or self.encrypt)

    @property
    def fields(self) -> dict[str, int]:
        """All of it, under the names that the ledger has for it."""
        return {
            "security": int(self.security),
            "cipher": self.cipher,
            "compression": self.compression,
            "envelope": self.envelope,
            "signed_response": self.signed_receipt,
        }


def services(partner: Partner, wish: Wish) -> Services:
    """What is done to a file for this partner, where something else is wished for it than was agreed.

    Raises OperatorError where the partner's release level does not have it, for a suite with SHA-1 that was not agreed with
    this partner, and for a suite where nothing is done that would take one.
    """
    wished = {each.name: getattr(wish, each.name) for each in fields(wish)}
    chosen = replace(Services.agreed(partner), **{name: value for name, value in wished.items() if value is not None})
    if chosen.suite in WEAK and chosen.suite != partner.cipher_suite:
        raise OperatorError(
            f"cipher suite {chosen.suite:02} is not agreed with {partner.code}: its SHA-1 is broken",
            f"take 03 or more; where {partner.code} knows no other one, say 'oftp2d partner change {partner.code}"
            f" --cipher-suite {chosen.suite}'",
        )
    if wish.suite is not None and not chosen.cipher:
        raise OperatorError(
            f"a cipher suite ({chosen.suite:02}) is for files that are signed or encrypted, or whose receipt is to be signed,"
            " and this one is neither",
            "add --sign, --encrypt or --signed-receipt, or leave out --suite",
        )
    if (chosen.envelope or chosen.signed_receipt) and partner.level < Level.REVISION_2_0:
        raise OperatorError(
            f"file security and signed receipts came with release level 5, and {partner.code} is set to {partner.level}",
            f"say 'oftp2d partner change {partner.code} --level 5' if it speaks OFTP2, or send the file without",
        )
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A certificate that is missing for what is agreed, and how to come by it."""

    what: str
    advice: str


def sending_gaps(
    chosen: Services,
    partner: Partner,
    certificates: Certificates,
    *,
    originator: str,
    destination: str,
    now: datetime,
) -> Iterator[Gap]:
    """Which certificates are missing now for what is to be done to a file. Blocks."""
    if chosen.sign:
        yield from _own_gap(Usage.SIGNATURE, "sign files", partner, certificates, station=originator, now=now)
    if chosen.encrypt:
        yield from _their_gap(
            selection.ENCRYPTION, "encrypt files for it", partner, certificates, station=destination, now=now
        )


def receipt_gaps(
    chosen: Services, partner: Partner, certificates: Certificates, *, destination: str, now: datetime
) -> Iterator[Gap]:
    """Without which certificates no receipt for a file could count now. Blocks."""
    if chosen.signed_receipt and not partner.unsigned_receipts:
        verify = "verify its signed receipts"
        yield from _their_gap(selection.EERP_VERIFICATION, verify, partner, certificates, station=destination, now=now)


def standing_gaps(partner: Partner, certificates: Certificates, now: datetime) -> Iterator[Gap]:
    """Which certificates are missing now for anything that is agreed with a partner. Blocks."""
    agreed = Services.agreed(partner)
    yield from sending_gaps(
        agreed, partner, certificates, originator=partner.station, destination=partner.code, now=now
    )
    if partner.incoming_signed is Demand.REQUIRED:
        verify = "verify the signatures of its files"
        yield from _their_gap(selection.VERIFICATION, verify, partner, certificates, station=partner.code, now=now)
    if partner.signed_receipts:
        verify = "verify its signed receipts"
        yield from _their_gap(selection.EERP_VERIFICATION, verify, partner, certificates, station=partner.code, now=now)
        yield from _own_gap(
            Usage.EERP_SIGNATURE, "sign receipts", partner, certificates, station=partner.station, now=now
        )


def _own_gap(
    usage: Usage, to_do: str, partner: Partner, certificates: Certificates, *, station: str, now: datetime
) -> Iterator[Gap]:
    found = certificates.explain_own(usage, station=station, now=now, partner_id=partner.id)
    if found.taken is None:
        yield Gap(
            what=f"there is no certificate of {station} to {to_do}{_account(found)}",
            advice="make one with 'oftp2d cert generate' or import one with 'oftp2d cert import', and deliver it with"
            f" 'oftp2d exchange deliver {partner.code}'",
        )


def _their_gap(
    situation: Situation, to_do: str, partner: Partner, certificates: Certificates, *, station: str, now: datetime
) -> Iterator[Gap]:
    found = certificates.explain_partner(
        situation, partner_id=partner.id, station=station, now=now, least_bits=partner.least_rsa_bits
    )
    if found.taken is None:
        yield Gap(
            what=f"there is no certificate of {station} to {to_do}{_account(found)}",
            advice=f"say 'oftp2d exchange request {partner.code}', or import it with"
            f" 'oftp2d cert import FILE --partner {partner.code}'",
        )


def _account(looked_at: Selection) -> str:
    """Why none of those that are there will do."""
    return f" ({'; '.join(looked_at.text.splitlines())})" if looked_at.considered else ""
