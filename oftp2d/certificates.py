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

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from oftp2.certs import selection
from oftp2.certs.acceptance import Limits
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import Entry, Selection, Situation
from oftp2.certs.usages import TLS_USAGES, Usage
from oftp2.cms.keys import Owner, Signer
from oftp2d.announcing import Announcing
from oftp2d.entries import PARTY, issued_first, selectable
from oftp2d.errors import OperatorError
from oftp2d.holdings import Credential
from oftp2d.importing import Importing
from oftp2d.ledger import (
    Holder,
    Ledger,
    Partner,
    Slot,
    StoredCertificate,
)
from oftp2d.revocation import Finding, Lists, Question, questions
from oftp2d.trust import Path, Trust
from oftp2d.vault import Vault

_SITUATIONS: dict[Usage, Situation] = {
    Usage.SIGNATURE: selection.SIGNING,
    Usage.ENCRYPTION: selection.ENCRYPTION,
    Usage.EERP_SIGNATURE: selection.EERP_SIGNING,
    Usage.AUTHENTICATION: selection.CHALLENGE,
    Usage.TLS_SERVER: selection.TLS_SERVER,
    Usage.TLS_CLIENT: selection.TLS_CLIENT,
}

LAST_DAY: Final = timedelta(days=1)
"""How long before its end a certificate that every caller sees gives way to the next one, whoever is without that."""


class Purpose(StrEnum):
    """What a certificate is looked for, in the words of the command line."""

    ENCRYPTION = "encryption"
    SIGNATURE = "signature"
    VERIFICATION = "verification"
    EERP_SIGNATURE = "eerp-signature"
    EERP_VERIFICATION = "eerp-verification"
    CHALLENGE = "challenge"
    DECRYPTION = "decryption"
    TLS_SERVER = "tls-server"
    TLS_CLIENT = "tls-client"


_THEIRS: Final[Mapping[Purpose, Situation]] = {
    Purpose.ENCRYPTION: selection.ENCRYPTION,
    Purpose.VERIFICATION: selection.VERIFICATION,
    Purpose.EERP_VERIFICATION: selection.EERP_VERIFICATION,
    Purpose.CHALLENGE: selection.CHALLENGE,
}
_OURS: Final[Mapping[Purpose, Usage]] = {
    Purpose.SIGNATURE: Usage.SIGNATURE,
    Purpose.EERP_SIGNATURE: Usage.EERP_SIGNATURE,
    Purpose.TLS_SERVER: Usage.TLS_SERVER,
    Purpose.TLS_CLIENT: Usage.TLS_CLIENT,
}

SIGNERS: Final = 2
"""The most certificates of ours that sign one file."""


class Certificates(Importing, Announcing):
    """The store of one station."""

    def __init__(
        self,
        ledger: Ledger,
        vault: Vault,
        limits: Limits | None = None,
        lists: Lists | None = None,
        *,
        oldest: bool = False,
    ) -> None:
        super().__init__(ledger, vault, limits)
        self._oldest = oldest
        self._lists = lists or Lists()
        self._asked: dict[tuple[int | None, str], tuple[Trust, tuple[Question, ...]]] = {}
        self.authorities.bar(self._lists.barred)

    def trust(self, partner_id: int | None = None) -> Trust:
        """What to judge chains with, of everyone or of a partner."""
        return self.authorities.trust(partner_id)

    # --- what is barred ------------------------------------------------------------------------------------

    def barred(self, stored: Sequence[StoredCertificate], now: datetime) -> Mapping[int, Finding]:
        """Which of these, by the ids of their entries, are used for nothing although an anchor leads to them, and why.

        One of ours only where it was revoked: that a list cannot be read here is nothing to the partners that use it.
        """
        found = ((entry, self._lists.finding(asked, now)) for entry, asked in self.asked(stored, now))
        return {
            entry.id: finding
            for entry, finding in found
            if finding is not None and (finding.revoked or entry.holder is not Holder.OWN)
        }

    def asked(
        self, stored: Sequence[StoredCertificate], now: datetime
    ) -> Iterator[tuple[StoredCertificate, Sequence[Question]]]:
        """What revocation lists are asked about each; nothing where no anchor leads to it, for then none speaks of it."""
        if not self._lists.read:
            return
        trusts: dict[int | None, Trust] = {}
        for entry in stored:
            if entry.partner_id not in trusts:
                trusts[entry.partner_id] = self.trust(entry.partner_id)
            trust, key = trusts[entry.partner_id], (entry.partner_id, entry.fingerprint)
            known = self._asked.get(key)
            if known is None or known[0] is not trust:
                path = trust.path(CertificateFacts.of(entry.der), (), now)
                known = self._asked[key] = trust, questions(path) if isinstance(path, Path) else ()
            yield entry, known[1]

    def prune(self) -> None:
        """Forget what was made of certificates that are not in the store any more."""
        there = {(entry.partner_id, entry.fingerprint) for entry in (*self._owned(), *self._entries(Holder.PARTNER))}
        self._asked = {key: asked for key, asked in self._asked.items() if key in there}
        self.authorities.prune()

    def in_use(self) -> Sequence[StoredCertificate]:
        """Ours and those of partners that may be used for something, but for what bars them."""
        entries = (*self._owned(), *self._entries(Holder.PARTNER))
        return [entry for entry in entries if entry.active and entry.slot in {Slot.CURRENT, Slot.PREVIOUS}]

    def _selectable(
        self, stored: Sequence[StoredCertificate], now: datetime, *, if_revoked: bool = False
    ) -> list[Entry]:
        """With what bars each; ``if_revoked``: only that it was revoked."""
        barred = self.barred(stored, now)
        if if_revoked:
            barred = {number: finding for number, finding in barred.items() if finding.revoked}
        return [selectable(entry, str(barred[entry.id]) if entry.id in barred else None) for entry in stored]

    # --- what is used --------------------------------------------------------------------------------------

    def own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Credential | None:
        """Our certificate for a usage, towards a partner: the newest that it has confirmed, else the newest.

        One under renewal is not used towards a partner before it has confirmed it, nor shown to callers before all have;
        where nothing else would do it is.
        """
        taken = self.explain_own(usage, station=station, now=now, partner_id=partner_id).taken
        return None if taken is None else self._credential(self._stored_own(taken))

    def explain_own(self, usage: Usage, *, station: str, now: datetime, partner_id: int | None = None) -> Selection:
        """The same choice with the account of every certificate that was looked at."""
        pending = self._ledger.renewals.pending()
        chosen = self._chosen(usage, pending, station=station, now=now, partner_id=partner_id)
        shown = chosen.taken if usage is Usage.TLS_SERVER else None
        if shown is not None and shown.facts.not_after - now < LAST_DAY:
            # Those who have not confirmed the next one would not know it; but with an expired one nobody could call.
            return self._chosen(usage, frozenset(), station=station, now=now, partner_id=partner_id)
        return chosen

    def _chosen(
        self, usage: Usage, pending: frozenset[str], *, station: str, now: datetime, partner_id: int | None
    ) -> Selection:
        confirmed = None if partner_id is None else self._ledger.certificates.confirmed(partner_id)
        shown = usage in TLS_USAGES
        # What is shown in TLS is for the peer to judge, so one that was revoked is barred from it, and no other: a list that
        # cannot be read, or was not read yet, must not keep a station from being called.
        owned = [entry for entry in self._owned() if entry.slot is Slot.CURRENT]
        entries = self._selectable(owned, now, if_revoked=shown)
        if shown:
            settled = [entry for entry in entries if entry.facts.fingerprint not in pending]
            under_way = [entry for entry in entries if entry.facts.fingerprint in pending]
            entries = [*issued_first(settled, now), *issued_first(under_way, now)]
        return selection.select(
            _SITUATIONS[usage],
            entries,
            station=station,
            party=PARTY,
            now=now,
            confirmed=confirmed,
            pending=pending,
            oldest=self._oldest,
        )

    def signers(self, *, station: str, now: datetime, partner_id: int) -> tuple[tuple[Signer, ...], Selection]:
        """Who signs a file of a station of ours for a partner: one, or in a roll-over the two newest.

        Two where the partner has confirmed none of several: one of them it should know. None where there is none.
        """
        entries = self._selectable([entry for entry in self._owned() if entry.slot is Slot.CURRENT], now)
        chosen = selection.select(
            selection.SIGNING,
            entries,
            station=station,
            party=PARTY,
            now=now,
            confirmed=self._ledger.certificates.confirmed(partner_id),
            pending=self._ledger.renewals.pending(),
            unsure=SIGNERS,
            oldest=self._oldest,
        )
        return tuple(self._credential(self._stored_own(entry)).signer for entry in chosen.entries), chosen

    def explain_decryption(self, now: datetime, named: str | None = None) -> Selection:
        """Every certificate of ours whose key opens challenges and files, the ``named`` one first, with the account of all."""
        entries = self._selectable(self._owned(), now)
        return selection.select(selection.DECRYPTION, entries, station="", now=now, named=named)

    def owners(self, now: datetime, named: str | None = None) -> tuple[Owner, ...]:
        """Everything of ours that opens challenges and files, the one ``named`` by fingerprint first."""
        chosen = self.explain_decryption(now, named)
        return tuple(self._credential(self._stored_own(entry)).owner for entry in chosen.entries)

    def to_deliver(self, *, station: str, now: datetime, sessions: bool = True) -> tuple[StoredCertificate, ...]:
        """The certificates that answer a REQUEST to one of our stations, each once; ``sessions``: it opens them (acx.md 4.5)."""
        entries = self._selectable([entry for entry in self._owned() if entry.slot is Slot.CURRENT], now)
        chosen = selection.to_deliver(entries, station=station, party=PARTY, now=now, sessions=sessions)
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
        now: what they signed may be under way; and of what came before they were withdrawn, the withdrawn ones.
        ``station`` is the partner's.
        """
        slots = {Slot.CURRENT} if situation.one else {Slot.CURRENT, Slot.PREVIOUS}
        found = [
            entry
            for entry in self._entries(Holder.PARTNER, partner_id)
            if entry.slot in slots or (entry.withdrawn_at is not None and not situation.one)
        ]
        entries = self._selectable(found, now)
        return selection.select(
            situation,
            entries,
            station=station,
            party=PARTY,
            now=now,
            least_bits=least_bits,
            oldest=self._oldest and situation.one,
        )

    def explain(
        self, purpose: Purpose, *, now: datetime, partner: Partner | None = None, station: str | None = None
    ) -> Selection:
        """What would be chosen for a purpose at a time, as those who choose do it, with the account of all.

        ``station`` is the partner's where it is its certificate, by default its main code; else ours. Raises OperatorError
        where partner or station is missing.
        """
        if purpose in _THEIRS:
            if partner is None:
                raise OperatorError(f"for {purpose} a certificate of a partner is used", "name the partner")
            return self.explain_partner(
                _THEIRS[purpose],
                partner_id=partner.id,
                station=station or partner.code,
                now=now,
                least_bits=partner.least_rsa_bits,
            )
        if purpose is Purpose.DECRYPTION:
            return self.explain_decryption(now)
        ours = station or (partner.station if partner else None)
        if ours is None:
            raise OperatorError(
                f"for {purpose} a certificate of ours is used", "name one of our stations, or a partner"
            )
        if purpose is Purpose.SIGNATURE and partner is not None:
            return self.signers(station=ours, now=now, partner_id=partner.id)[1]
        # The server certificate is shown before we know who calls.
        towards = None if partner is None or purpose is Purpose.TLS_SERVER else partner.id
        return self.explain_own(_OURS[purpose], station=ours, now=now, partner_id=towards)

    def partner_certificates(self, *, partner_id: int, station: str | None = None) -> tuple[StoredCertificate, ...]:
        """All entries of a partner, withdrawn ones too."""
        return tuple(self._entries(Holder.PARTNER, partner_id, station))

    def authentication_ready(self, *, partner_id: int, code: str, now: datetime) -> tuple[bool, bool]:
        """The two halves of the latch (acx.md 5.2): their certificate is active here; they confirmed ours."""
        theirs = self.partner_certificate(Usage.AUTHENTICATION, partner_id=partner_id, station=code, now=now)
        confirmed = self._ledger.certificates.confirmed(partner_id)
        owned = self._owned()
        barred = self.barred(owned, now)
        ours = any(
            entry.fingerprint in confirmed and Usage.AUTHENTICATION in entry.usages and entry.active
            for entry in owned
            if entry.valid_from <= now <= entry.valid_until and entry.id not in barred
        )
        return theirs is not None, ours
