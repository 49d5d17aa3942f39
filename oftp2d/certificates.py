"""The certificate store: the ledger's entries, opened with the vault, chosen by ``oftp2.certs`` (acx.md 3 and 4).

Our own certificates stand side by side. A new one decrypts and answers challenges at once; towards a
partner it signs from the moment the partner confirmed it. A partner's certificates stand in slots: current,
and previous for files under way. Anchors are trusted, for every partner or for the one they are entered for;
intermediates, and roots that came in one file with an authority they issued, only build chains.

Here is what is used; how an entry is found lies in ``holdings``, how it comes in and goes out in ``importing``, what the
certificate exchange asks of the store in ``announcing``, and what is to come in ``planning``. Everything blocks and belongs
in the database worker.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from oftp2.certs import selection
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Selection, Situation
from oftp2.certs.usages import TLS_USAGES, Usage
from oftp2d.announcing import Announcing
from oftp2d.entries import PARTY, issued_first, selectable
from oftp2d.holdings import Credential
from oftp2d.importing import Importing
from oftp2d.ledger import (
    Holder,
    Slot,
    StoredCertificate,
)
from oftp2d.trust import Trust

_SITUATIONS: dict[Usage, Situation] = {
    Usage.SIGNATURE: selection.SIGNING,
    Usage.ENCRYPTION: selection.ENCRYPTION,
    Usage.EERP_SIGNATURE: selection.EERP_SIGNING,
    Usage.AUTHENTICATION: selection.CHALLENGE,
    Usage.TLS_SERVER: selection.TLS_SERVER,
    Usage.TLS_CLIENT: selection.TLS_CLIENT,
}

SIGNERS: Final = 2
"""The most certificates of ours that sign one file."""


class Certificates(Importing, Announcing):
    """The store of one station."""

    def trust(self, partner_id: int | None = None) -> Trust:
        """What to judge chains with, of everyone or of a partner."""
        return self.authorities.trust(partner_id)

    # --- what is used --------------------------------------------------------------------------------------

    def own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Credential | None:
        """Our certificate for a usage, towards a partner: the newest that it has confirmed, else the newest."""
        taken = self.explain_own(usage, station=station, now=now, partner_id=partner_id).taken
        return None if taken is None else self._credential(self._stored_own(taken))

    def explain_own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Selection:
        """The same choice with the account of every certificate that was looked at."""
        confirmed = None if partner_id is None else self._ledger.certificates.confirmed(partner_id)
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        if usage in TLS_USAGES:
            entries = issued_first(entries, now)
        return selection.select(_SITUATIONS[usage], entries, station=station, party=PARTY, now=now, confirmed=confirmed)

    def signers(self, *, station: str, now: datetime, partner_id: int) -> tuple[tuple[Credential, ...], Selection]:
        """Who signs a file of a station of ours for a partner: one, or in a roll-over the two newest.

        Two where the partner has confirmed none of several: one of them it should know. None where there is none.
        """
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        chosen = selection.select(
            selection.SIGNING,
            entries,
            station=station,
            party=PARTY,
            now=now,
            confirmed=self._ledger.certificates.confirmed(partner_id),
            unsure=SIGNERS,
        )
        return tuple(self._credential(self._stored_own(entry)) for entry in chosen.entries), chosen

    def explain_decryption(self, now: datetime, named: str | None = None) -> Selection:
        """Every certificate of ours whose key opens challenges and files, the ``named`` one first, with the account of all."""
        return selection.select(selection.DECRYPTION, map(selectable, self._owned()), station="", now=now, named=named)

    def decryption_keys(
        self, now: datetime, named: str | None = None
    ) -> tuple[tuple[x509.Certificate, RSAPrivateKey], ...]:
        """Every key of ours that opens challenges and files, the one ``named`` by fingerprint first."""
        chosen = self.explain_decryption(now, named)
        credentials_ = (self._credential(self._stored_own(entry)) for entry in chosen.entries)
        return tuple((item.certificate, item.key) for item in credentials_)

    def to_deliver(self, *, station: str, now: datetime) -> tuple[StoredCertificate, ...]:
        """The certificates that answer a REQUEST to one of our stations, each once (acx.md 4.5)."""
        entries = [selectable(entry) for entry in self._owned() if entry.slot is Slot.CURRENT]
        chosen = selection.to_deliver(entries, station=station, party=PARTY, now=now)
        return tuple(self._stored_own(entry) for entry in chosen)

    def partner_certificate(
        self, usage: Usage, *, partner_id: int, station: str, now: datetime
    ) -> CertificateFacts | None:
        """The partner's certificate we use towards it: to encrypt a file or to make a challenge."""
        found = self.explain_partner(_SITUATIONS[usage], partner_id=partner_id, station=station, now=now).taken
        return None if found is None else found.facts

    def explain_partner(
        self, situation: Situation, *, partner_id: int, station: str, now: datetime, least_bits: int = 0
    ) -> Selection:
        """The certificates of a partner for a situation, best first, with the account of all that were looked at.

        Outbound, to encrypt or to challenge, only current ones; inbound, to verify, those too that are previous ones by
        now: what they signed may be under way. ``station`` is the partner's.
        """
        slots = {Slot.CURRENT} if situation.one else {Slot.CURRENT, Slot.PREVIOUS}
        entries = [selectable(entry) for entry in self._entries(Holder.PARTNER, partner_id) if entry.slot in slots]
        return selection.select(situation, entries, station=station, party=PARTY, now=now, least_bits=least_bits)

    def partner_certificates(self, *, partner_id: int, station: str | None = None) -> tuple[StoredCertificate, ...]:
        """All entries of a partner, withdrawn ones too."""
        return tuple(self._entries(Holder.PARTNER, partner_id, station))

    def authentication_ready(self, *, partner_id: int, code: str, now: datetime) -> tuple[bool, bool]:
        """The two halves of the latch (acx.md 5.2): their certificate is active here; they confirmed ours."""
        theirs = self.partner_certificate(Usage.AUTHENTICATION, partner_id=partner_id, station=code, now=now)
        confirmed = self._ledger.certificates.confirmed(partner_id)
        ours = any(
            entry.fingerprint in confirmed and Usage.AUTHENTICATION in entry.usages and entry.active
            for entry in self._owned()
            if entry.valid_from <= now <= entry.valid_until
        )
        return theirs is not None, ours
