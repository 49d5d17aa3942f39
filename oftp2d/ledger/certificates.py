"""The rows of the certificate store: entries in their slots, pending keys, announcements and confirmations.

An entry is one certificate in one slot, for one holder and station. A usage of a certificate stands in one slot at a
time: putting it into another takes it out of the first, so a successor that took only some usages leaves the rest
where they were. What belongs together, such as a successor and the retirement of its predecessor, is one transaction.
Choosing between entries is not done here but in ``oftp2.certs.selection``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from oftp2.certs.usages import Usage
from oftp2d.errors import OperatorError
from oftp2d.ledger.audit import write
from oftp2d.ledger.certified import (
    Announcement,
    Confirmation,
    Holder,
    NewAnnouncement,
    NewCertificate,
    NewPendingKey,
    PendingKey,
    Retirement,
    Slot,
    StoredCertificate,
)
from oftp2d.ledger.database import Database
from oftp2d.ledger.errors import UnknownError
from oftp2d.ledger.records import NewAuditEntry
from oftp2d.ledger.schema import announcements, certificates, confirmations, partners, pending_keys

_NEW_FIELDS: Final = tuple(item.name for item in fields(NewCertificate))


MOST_PREVIOUS: Final = 5
"""Previous certificates that are kept of each usage of a partner's station (acx.md 12.11)."""


class Certificates:
    """The certificates of the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- entries -----------------------------------------------------------------------------------------------

    def add(self, new: NewCertificate, now: datetime, *, pending_key_id: int | None = None) -> StoredCertificate:
        """Add a certificate, or its usages to the entry that is there already.

        With ``pending_key_id`` that pending key ends in the same transaction: the key moves into the entry.
        """
        with self._database.writing() as connection:
            if pending_key_id is not None:
                connection.execute(sa.delete(pending_keys).where(pending_keys.c.id == pending_key_id))
            return place(connection, new, now)

    def get(
        self, fingerprint: str, *, holder: Holder | None = None, partner_id: int | None = None
    ) -> StoredCertificate | None:
        """The oldest entry of a certificate, of this holder and partner if given."""
        found = _chosen(holder=holder, partner_id=partner_id).where(certificates.c.fingerprint == fingerprint)
        with self._database.reading() as connection:
            row = connection.execute(found.order_by(certificates.c.id).limit(1)).one_or_none()
            return None if row is None else _to_certificate(row)

    def list(
        self,
        holder: Holder | None = None,
        partner_id: int | None = None,
        station: str | None = None,
        *,
        limit: int = 1000,
        after: int = 0,
    ) -> Sequence[StoredCertificate]:
        """The entries in the order they were added; ``after`` is the last id of the page before."""
        found = _chosen(holder=holder, partner_id=partner_id, station=station).where(certificates.c.id > after)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(certificates.c.id).limit(limit))
            return [_to_certificate(row) for row in rows]

    def every(
        self, holder: Holder | None = None, partner_id: int | None = None, station: str | None = None
    ) -> Sequence[StoredCertificate]:
        """All entries, however many, in the order they were added."""
        found = _chosen(holder=holder, partner_id=partner_id, station=station)
        with self._database.reading() as connection:
            return [_to_certificate(row) for row in connection.execute(found.order_by(certificates.c.id))]

    def authorities(self, partner_id: int | None, *, alone: bool = False) -> Sequence[StoredCertificate]:
        """Anchors of everyone and of a partner, or of that ``alone``, and all intermediates, in the order they were added."""
        theirs = certificates.c.partner_id == partner_id
        concerned = theirs if alone else sa.or_(theirs, certificates.c.partner_id.is_(None))
        anchors = sa.and_(certificates.c.holder == Holder.ANCHOR, concerned)
        found = sa.select(certificates).where(sa.or_(anchors, certificates.c.holder == Holder.INTERMEDIATE))
        with self._database.reading() as connection:
            return [_to_certificate(row) for row in connection.execute(found.order_by(certificates.c.id))]

    def authority_fingerprints(self) -> frozenset[str]:
        """Those of all anchors, whoever they are for, and of all intermediates."""
        found = sa.select(certificates.c.fingerprint).where(
            certificates.c.holder.in_((Holder.ANCHOR, Holder.INTERMEDIATE))
        )
        with self._database.reading() as connection:
            return frozenset(connection.execute(found).scalars())

    def set_active(self, certificate_id: int, *, active: bool) -> StoredCertificate:
        """Let an entry be used, or not. Raises UnknownError."""
        return self._set(certificate_id, active=active)

    def set_slice(
        self, certificate_id: int, slice_from: datetime | None, slice_until: datetime | None
    ) -> StoredCertificate:
        """Set the timeslice in which an entry is used; None is open. Raises UnknownError."""
        return self._set(certificate_id, slice_from=slice_from, slice_until=slice_until)

    def set_slot(self, certificate_id: int, slot: Slot, now: datetime) -> StoredCertificate:
        """Put an entry with all its usages into a slot. Raises UnknownError."""
        with self._database.writing() as connection:
            return retire(connection, Retirement(certificate_id=certificate_id, slot=slot), now)

    def remove(self, certificate_id: int) -> None:
        """Forget an entry, and its private key with it. Raises UnknownError."""
        with self._database.writing() as connection:
            _fetch(connection, certificate_id)
            connection.execute(sa.delete(certificates).where(certificates.c.id == certificate_id))

    def replace_in_slots(
        self,
        new: NewCertificate,
        retirements: Sequence[Retirement],
        now: datetime,
        *,
        announcement_id: int | None = None,
    ) -> StoredCertificate:
        """A successor takes its slots and the predecessors leave theirs: roll-over or replacement, at once."""
        with self._database.writing() as connection:
            for retirement in retirements:
                retire(connection, retirement, now)
            if announcement_id is not None:
                fulfil(connection, announcement_id, new.fingerprint)
            placed = place(connection, new, now)
            drop_oldest(connection, placed, now)
            return placed

    def accept(
        self,
        partner_id: int,
        new: NewCertificate,
        retirements: Sequence[Retirement],
        now: datetime,
        *,
        announcement_id: int | None = None,
    ) -> StoredCertificate:
        """An operator accepts a partner's certificate; what comes by ACX goes through ``Exchanges.conclude``."""
        new = replace(new, holder=Holder.PARTNER, partner_id=partner_id)
        return self.replace_in_slots(new, retirements, now, announcement_id=announcement_id)

    def _set(self, certificate_id: int, **values: Any) -> StoredCertificate:
        with self._database.writing() as connection:
            _update(connection, certificate_id, **values)
            return _fetch(connection, certificate_id)

    # --- pending keys ------------------------------------------------------------------------------------------

    def add_pending(self, new: NewPendingKey, now: datetime) -> PendingKey:
        """Keep a key pair until its certificate comes. Raises OperatorError for a key that waits already."""
        with self._database.writing() as connection:
            known = sa.select(pending_keys.c.id).where(pending_keys.c.spki_fingerprint == new.spki_fingerprint)
            if connection.execute(known).first() is not None:
                raise OperatorError("this key waits for its certificate already", "import the certificate")
            row = connection.execute(
                sa.insert(pending_keys).values(**asdict(new), created_at=now).returning(pending_keys)
            ).one()
            return PendingKey(**row._asdict())

    def pending(self, *, limit: int = 1000) -> Sequence[PendingKey]:
        """The keys whose certificates are still to come, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(pending_keys).order_by(pending_keys.c.id).limit(limit))
            return [PendingKey(**row._asdict()) for row in rows]

    def find_pending(self, spki_fingerprint: str) -> PendingKey | None:
        """The pending key of this public key; ``add`` with its id ends it and loses nothing in a crash."""
        found = sa.select(pending_keys).where(pending_keys.c.spki_fingerprint == spki_fingerprint)
        with self._database.reading() as connection:
            row = connection.execute(found).one_or_none()
            return None if row is None else PendingKey(**row._asdict())

    def take_pending(self, spki_fingerprint: str) -> PendingKey | None:
        """The pending key of this public key, which is forgotten."""
        taken = sa.delete(pending_keys).where(pending_keys.c.spki_fingerprint == spki_fingerprint)
        with self._database.writing() as connection:
            row = connection.execute(taken.returning(*pending_keys.c)).one_or_none()
            return None if row is None else PendingKey(**row._asdict())

    # --- announcements -----------------------------------------------------------------------------------------

    def announce(self, new: NewAnnouncement, now: datetime) -> Announcement:
        """Enter identification data of a certificate that a partner will bring."""
        with self._database.writing() as connection:
            values = {**asdict(new), "created_at": now}
            row = connection.execute(sa.insert(announcements).values(values).returning(announcements)).one()
            return Announcement(**row._asdict())

    def announcements(self, partner_id: int | None = None, *, limit: int = 1000) -> Sequence[Announcement]:
        """What was announced, of one partner or of all, oldest first; fulfilled ones too."""
        found = sa.select(announcements)
        if partner_id is not None:
            found = found.where(announcements.c.partner_id == partner_id)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(announcements.c.id).limit(limit))
            return [Announcement(**row._asdict()) for row in rows]

    def fulfil(self, announcement_id: int, fingerprint: str) -> None:
        """The announced certificate is here. Raises UnknownError."""
        with self._database.writing() as connection:
            fulfil(connection, announcement_id, fingerprint)

    def withdraw_announcement(self, announcement_id: int) -> None:
        """Take an announcement back. Raises UnknownError."""
        with self._database.writing() as connection:
            gone = sa.delete(announcements).where(announcements.c.id == announcement_id)
            if connection.execute(gone).rowcount == 0:
                raise UnknownError("announcement", announcement_id)

    # --- confirmations -----------------------------------------------------------------------------------------

    def confirm(self, partner_id: int, fingerprint: str, now: datetime, how: str) -> None:
        """A partner has accepted our certificate: ``how`` is "EERP" or "manual". The first word stays."""
        with self._database.writing() as connection:
            confirm(connection, partner_id, fingerprint, now, how)

    def confirmed(self, partner_id: int) -> set[str]:
        """The fingerprints of our certificates that a partner has accepted."""
        return {confirmation.fingerprint for confirmation in self.confirmations(partner_id)}

    def confirmed_by(self, fingerprint: str) -> frozenset[int]:
        """The ids of the partners that have accepted a certificate of ours."""
        found = sa.select(confirmations.c.partner_id).where(confirmations.c.fingerprint == fingerprint)
        with self._database.reading() as connection:
            return frozenset(connection.execute(found).scalars())

    def confirmations(self, partner_id: int, *, limit: int = 1000) -> Sequence[Confirmation]:
        """What a partner has accepted of ours, when and how, youngest first."""
        found = sa.select(confirmations).where(confirmations.c.partner_id == partner_id)
        with self._database.reading() as connection:
            rows = connection.execute(found.order_by(confirmations.c.confirmed_at.desc()).limit(limit))
            return [Confirmation(**row._asdict()) for row in rows]


def place(connection: Connection, new: NewCertificate, now: datetime) -> StoredCertificate:
    """Put a certificate into its slot, where it may stand already, and take the same usages out of its others.

    Where it stands among the withdrawn already, the earlier withdrawal counts for all.
    """
    entries = _siblings(connection, new)
    here = next((entry for entry in entries if entry.slot is new.slot), None)
    for entry in entries:
        if entry is not here:
            _shrink(connection, entry, entry.usages - new.usages)
    if here is None:
        values = {**_values(new), "added_at": now}
        row = connection.execute(sa.insert(certificates).values(values).returning(certificates)).one()
        return _to_certificate(row)
    values = {"usages": here.usages | new.usages, "active": new.active}
    if here.private_key is None and new.private_key is not None:
        values["private_key"] = new.private_key
    _update(connection, here.id, **values)
    return _fetch(connection, here.id)


def retire(connection: Connection, retirement: Retirement, now: datetime) -> StoredCertificate:
    """Move an entry, in some or all of its usages, into another slot. Raises UnknownError."""
    entry = _fetch(connection, retirement.certificate_id)
    leaving = entry.usages if retirement.usages is None else entry.usages & retirement.usages
    if entry.slot is retirement.slot or (entry.usages and not leaving):
        return entry
    withdrawn_at = (retirement.at or now) if retirement.slot is Slot.WITHDRAWN else None
    moved = replace(entry, usages=leaving, slot=retirement.slot, withdrawn_at=withdrawn_at)
    if leaving != entry.usages or any(other.slot is retirement.slot for other in _siblings(connection, entry)):
        return place(connection, moved, now)
    _update(connection, entry.id, slot=retirement.slot, withdrawn_at=withdrawn_at)
    return moved


def drop_oldest(connection: Connection, successor: NewCertificate, now: datetime) -> None:
    """Of a usage that has too many previous certificates only the newest stay; the audit trail tells of those that go."""
    former = sa.select(certificates).where(
        certificates.c.holder == Holder.PARTNER,
        certificates.c.partner_id == successor.partner_id,
        certificates.c.station.is_not_distinct_from(successor.station),
        certificates.c.slot == Slot.PREVIOUS,
    )
    by_age = former.order_by(
        certificates.c.valid_from.desc(), certificates.c.valid_until.desc(), certificates.c.fingerprint.desc()
    )
    kept: Counter[Usage] = Counter()
    for entry in [_to_certificate(row) for row in connection.execute(by_age)]:
        kept.update(entry.usages)
        left = frozenset(usage for usage in entry.usages if kept[usage] <= MOST_PREVIOUS)
        if left != entry.usages:
            _shrink(connection, entry, left)
            _tell_of_dropped(connection, entry, entry.usages - left, now)


def _tell_of_dropped(connection: Connection, entry: StoredCertificate, usages: frozenset[Usage], now: datetime) -> None:
    code = connection.execute(sa.select(partners.c.code).where(partners.c.id == entry.partner_id)).scalar_one()
    detail = {
        "fingerprint": entry.fingerprint,
        "certificate": entry.alias,
        "station": entry.station,
        "usages": ", ".join(sorted(usages)),
        "text": f"{MOST_PREVIOUS} newer previous ones are kept",
    }
    write(connection, NewAuditEntry(at=now, partner_code=code, event="previous certificate dropped", detail=detail))


def confirm(connection: Connection, partner_id: int, fingerprint: str, now: datetime, how: str) -> None:
    """A partner has accepted our certificate; the first confirmation stays."""
    known = sa.select(confirmations.c.how).where(
        confirmations.c.partner_id == partner_id, confirmations.c.fingerprint == fingerprint
    )
    if connection.execute(known).first() is None:
        values = {"partner_id": partner_id, "fingerprint": fingerprint, "how": how, "confirmed_at": now}
        connection.execute(sa.insert(confirmations), values)


def fulfil(connection: Connection, announcement_id: int, fingerprint: str) -> None:
    """The certificate of an announcement is here. Raises UnknownError."""
    changed = sa.update(announcements).where(announcements.c.id == announcement_id)
    if connection.execute(changed.values(fulfilled_by=fingerprint)).rowcount == 0:
        raise UnknownError("announcement", announcement_id)


def _siblings(connection: Connection, entry: NewCertificate) -> Sequence[StoredCertificate]:
    """All entries of this certificate for the same holder, partner and station, in any slot."""
    known = sa.select(certificates).where(
        certificates.c.fingerprint == entry.fingerprint,
        certificates.c.holder == entry.holder,
        certificates.c.partner_id.is_not_distinct_from(entry.partner_id),
        certificates.c.station.is_not_distinct_from(entry.station),
    )
    return [_to_certificate(row) for row in connection.execute(known.order_by(certificates.c.id)).all()]


def _shrink(connection: Connection, entry: StoredCertificate, usages: frozenset[Any]) -> None:
    """Leave an entry with these usages; without any it goes."""
    if usages:
        _update(connection, entry.id, usages=usages)
    else:
        connection.execute(sa.delete(certificates).where(certificates.c.id == entry.id))


def _chosen(**columns: Any) -> sa.Select[Any]:
    return sa.select(certificates).where(
        *(certificates.c[name] == value for name, value in columns.items() if value is not None)
    )


def _fetch(connection: Connection, certificate_id: int) -> StoredCertificate:
    row = connection.execute(sa.select(certificates).where(certificates.c.id == certificate_id)).one_or_none()
    if row is None:
        raise UnknownError("certificate", certificate_id)
    return _to_certificate(row)


def _update(connection: Connection, certificate_id: int, **values: Any) -> None:
    changed = sa.update(certificates).where(certificates.c.id == certificate_id).values(values)
    if connection.execute(changed).rowcount == 0:
        raise UnknownError("certificate", certificate_id)


def _values(new: NewCertificate) -> dict[str, Any]:
    """The columns of a new entry; what a stored one has besides is left out."""
    return {name: getattr(new, name) for name in _NEW_FIELDS}


def _to_certificate(row: Row[Any]) -> StoredCertificate:
    return StoredCertificate(**row._asdict())
