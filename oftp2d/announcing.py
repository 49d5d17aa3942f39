"""The certificate exchange and the store: what a verdict needs of it, and what the verdict leads to (acx.md 4 and 5)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from oftp2.certs.acceptance import Announced, Verdict
from oftp2.certs.acceptance import Retirement as Displaced
from oftp2.certs.clid import Identification, Part
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Held, Place
from oftp2.certs.names import DistinguishedName
from oftp2.certs.usages import Usage
from oftp2d.entries import new_entry
from oftp2d.errors import OperatorError
from oftp2d.holdings import Holdings
from oftp2d.ledger import (
    Announcement,
    Holder,
    NewAnnouncement,
    NewCertificate,
    Origin,
    Retirement,
    Slot,
)

_PLACES = {Slot.CURRENT: Place.CURRENT, Slot.PREVIOUS: Place.PREVIOUS, Slot.WITHDRAWN: Place.WITHDRAWN}
_SLOTS = {place: slot for slot, place in _PLACES.items()}


class Announcing(Holdings):
    """The store as the certificate exchange sees it."""

    def held(self, *, partner_id: int, station: str) -> tuple[Held, ...]:
        """What is held of a partner for one of its stations, as the acceptance rules see it.

        One that an operator switched off counts as withdrawn: it must not come back by itself.
        """
        return tuple(
            Held(
                key=entry.id,
                facts=CertificateFacts.of(entry.der),
                usages=entry.usages,
                place=_PLACES[entry.slot] if entry.active else Place.WITHDRAWN,
            )
            for entry in self._entries(Holder.PARTNER, partner_id)
            if entry.station in {station, None} and entry.slot in _PLACES
        )

    def announce(
        self,
        *,
        partner_id: int,
        now: datetime,
        station: str | None = None,
        subject: str | None = None,
        common_name: str | None = None,
        host: str | None = None,
        issuer: str | None = None,
        key_usages: frozenset[str] = frozenset(),
        usages: frozenset[Usage] = frozenset(Usage),
    ) -> Announcement:
        """Enter identification data; ``issuer`` is an anchor by alias or fingerprint, or one of the trust list (acx.md 5.1)."""
        try:
            Identification(
                subject=DistinguishedName.parse(subject) if subject else None,
                common_name=common_name,
                host=host,
                key_usages=key_usages,
            )
        except ValueError as error:
            raise OperatorError(
                f"the identification data are not usable ({error})",
                "give a subject like 'CN=host.example,O=Company,C=DE' a common name or a host name",
            ) from None
        new = NewAnnouncement(
            partner_id=partner_id,
            station=station,
            subject=subject,
            common_name=common_name,
            host=host,
            issuer=None if issuer is None else self._issuer(issuer),
            key_usages=key_usages,
            usages=usages,
        )
        return self._ledger.certificates.announce(new, now)

    def _issuer(self, reference: str) -> str:
        """The fingerprint of an anchor of ours, or of an authority of the trust list."""
        try:
            return self.find(reference, Holder.ANCHOR).fingerprint
        except OperatorError:
            listed = self.authorities.find(reference)
            if listed is None:
                raise
            return listed.fingerprint

    def announced(self, *, partner_id: int, station: str, fulfilled: Collection[int] = ()) -> tuple[Announced, ...]:
        """The announcements for a partner's station that nothing has fulfilled yet, and those ``fulfilled`` by these ids."""
        open_ones = [
            entry
            for entry in self._ledger.certificates.announcements(partner_id)
            if (entry.fulfilled_by is None or entry.id in fulfilled) and entry.station in {station, None}
        ]
        return tuple(found for entry in open_ones if (found := self._announced(entry)) is not None)

    def identifications(self, *, partner_id: int) -> tuple[Identification, ...]:
        """All identification data entered for a partner, fulfilled or not: by these its TLS certificate is known too."""
        entries = self._ledger.certificates.announcements(partner_id)
        return tuple(found.identification for entry in entries if (found := self._announced(entry)) is not None)

    def compare(self, entry: Announcement, facts: CertificateFacts) -> tuple[Part, ...]:
        """What was announced beside what arrived; nothing where the anchor it names is gone."""
        found = self._announced(entry)
        return () if found is None else found.identification.compare(facts)

    def _announced(self, entry: Announcement) -> Announced | None:
        issuer = None
        if entry.issuer is not None:
            anchor = self._ledger.certificates.get(entry.issuer, holder=Holder.ANCHOR)
            authority = CertificateFacts.of(anchor.der) if anchor is not None else self.authorities.find(entry.issuer)
            if authority is None:
                # The anchor is gone, or the trust list names it no more: without it the announcement would match any
                # issuer, so it matches nothing.
                return None
            issuer = authority.subject
        return Announced(
            key=entry.id,
            identification=Identification(
                subject=DistinguishedName.parse(entry.subject) if entry.subject else None,
                common_name=entry.common_name,
                host=entry.host,
                issuer=issuer,
                key_usages=entry.key_usages,
            ),
            usages=entry.usages,
        )

    def accepted(
        self, verdict: Verdict, facts: CertificateFacts, *, partner_id: int, station: str
    ) -> NewCertificate | None:
        """The entry an accepting verdict stores, or ``None`` when there is nothing to add."""
        if not verdict.stores:
            return None
        return new_entry(
            facts,
            holder=Holder.PARTNER,
            partner_id=partner_id,
            alias=facts.subject.common_name or facts.fingerprint[:16],
            station=station,
            usages=verdict.usages,
            origin=Origin.DELIVERED,
        )

    def retirements(self, displaced: Iterable[Displaced], at: datetime | None = None) -> tuple[Retirement, ...]:
        """What a verdict displaces, as the ledger takes it; what is withdrawn counts for nothing that comes from ``at`` on."""
        return tuple(
            Retirement(certificate_id=item.key, slot=_SLOTS[item.place], usages=item.usages, at=at)
            for item in displaced
        )
