"""Where the exchange of certificates with a partner stands (acx.md 5.2): what we hold, what it has of us, who waits for whom.

Pure: what the ledger says goes in. Per station of the partner and usage there is nothing, an announcement, one certificate in
use, or one in use with a former one that still counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from oftp2.certs.acceptance import Rule
from oftp2.certs.usages import Usage
from oftp2d.ledger import (
    AcxMode,
    Announcement,
    Confirmation,
    ExchangeRecord,
    ExchangeState,
    Partner,
    Slot,
    StoredCertificate,
    TransferState,
    Unanswered,
)
from oftp2d.ledger import Authentication as Setting


class Stage(StrEnum):
    """Where the certificate of a partner for one usage stands."""

    NONE = "none"
    ANNOUNCED = "announced"
    ACTIVE = "active"
    ROLLING = "rolling"
    """In use, and a former one still verifies what was signed with it."""
    BARRED = "barred"
    """It is there and used for nothing, such as because it was revoked."""


class Offered(StrEnum):
    """Where a certificate of ours stands with a partner."""

    NOT_OFFERED = "not offered"
    QUEUED = "queued"
    SENT = "sent"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the ledger says of a partner's certificates and ours towards it."""

    partner: Partner
    theirs: Sequence[StoredCertificate]
    ours: Sequence[StoredCertificate]
    """Our own entries for whatever station."""
    announcements: Sequence[Announcement]
    confirmations: Sequence[Confirmation]
    unanswered: Sequence[Unanswered]
    held: Sequence[ExchangeRecord]
    """What it brought and waits for an operator, the oldest first."""
    offers: Mapping[str, ExchangeRecord]
    """The last offer of each certificate of ours, by fingerprint."""
    came: ExchangeRecord | None = None
    """What it brought last."""
    barred: Mapping[int, str] = field(default_factory=dict)
    """Why an entry is used for nothing, by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One usage of one station of the partner."""

    station: str
    usage: Usage
    stage: Stage
    alias: str | None = None
    """Of the certificate in use."""
    fingerprint: str | None = None
    until: datetime | None = None
    former: str | None = None
    """The alias of the former one that still counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """One certificate of ours, and whether the partner has it."""

    station: str | None
    alias: str
    fingerprint: str
    until: datetime
    state: Offered
    since: datetime | None = None
    """When it was confirmed, sent, queued or refused."""
    how: str = ""
    """By what it is confirmed, or what the partner said to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that is to happen next: ``on`` is whose turn it is."""

    on: str
    text: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The account of one partner."""

    partner: Partner
    places: tuple[Place, ...]
    ours: tuple[Ours, ...]
    waits: tuple[Wait, ...]


YOU = "you"


def standing(known: Known, now: datetime) -> Standing:
    """The account of one partner at ``now``."""
    places = tuple(_places(known, now))
    ours = tuple(_ours(known, now))
    return Standing(partner=known.partner, places=places, ours=ours, waits=tuple(_waits(known, places, ours)))


def _places(known: Known, now: datetime) -> Iterator[Place]:
    named = {each.station for each in known.theirs} | {each.station for each in _open(known)}
    for station in (known.partner.code, *sorted(each for each in named if each and each != known.partner.code)):
        for usage in Usage:
            yield _place(known, station, usage, now)


def _place(known: Known, station: str, usage: Usage, now: datetime) -> Place:
    standing = [
        entry
        for entry in known.theirs
        if entry.station in {station, None}
        and usage in entry.usages
        and entry.active
        and entry.valid_from <= now <= entry.valid_until
    ]
    counting = [entry for entry in standing if entry.id not in known.barred]
    placed = [each for each in standing if each.slot is Slot.CURRENT]
    current = max(placed, key=lambda each: (each.id not in known.barred, _age(each)), default=None)
    former = max((each for each in counting if each.slot is Slot.PREVIOUS), key=_age, default=None)
    if current is None:
        awaited = any(usage in each.usages and each.station in {station, None} for each in _open(known))
        return Place(station=station, usage=usage, stage=Stage.ANNOUNCED if awaited else Stage.NONE)
    return Place(
        station=station,
        usage=usage,
        stage=Stage.BARRED if current not in counting else Stage.ROLLING if former else Stage.ACTIVE,
        alias=current.alias,
        fingerprint=current.fingerprint,
        until=current.valid_until,
        former=former.alias if former else None,
    )


def _ours(known: Known, now: datetime) -> Iterator[Ours]:
    """Those in use for the station that the partner knows, and any that it was offered or has confirmed."""
    confirmed = {each.fingerprint: each for each in known.confirmations}
    seen: set[str] = set()
    for entry in sorted(known.ours, key=_age, reverse=True):
        over = entry.slice_until is not None and entry.slice_until <= now
        usual = entry.station in {known.partner.station, None} and not over
        if entry.fingerprint in seen or not entry.active or entry.valid_until < now:
            continue
        if usual or entry.fingerprint in {*confirmed, *known.offers}:
            seen.add(entry.fingerprint)
            yield _one_of_ours(entry, confirmed.get(entry.fingerprint), known.offers.get(entry.fingerprint))


def _one_of_ours(entry: StoredCertificate, confirmation: Confirmation | None, offer: ExchangeRecord | None) -> Ours:
    state, since, how = Offered.NOT_OFFERED, None, ""
    if confirmation is not None:
        state, since, how = Offered.CONFIRMED, confirmation.confirmed_at, confirmation.how
    elif offer is not None and offer.state is ExchangeState.REFUSED:
        state, since, how = Offered.REFUSED, offer.answered_at, offer.text
    elif offer is not None and offer.state is not ExchangeState.ACCEPTED:
        state = Offered.SENT if offer.state is ExchangeState.SENT else Offered.QUEUED
        since = offer.created_at
    return Ours(
        station=entry.station,
        alias=entry.alias,
        fingerprint=entry.fingerprint,
        until=entry.valid_until,
        state=state,
        since=since,
        how=how,
    )


def _waits(known: Known, places: Sequence[Place], ours: Sequence[Ours]) -> Iterator[Wait]:
    for message in known.held:
        decide = f"'oftp2d exchange accept {message.id}' or 'oftp2d exchange reject {message.id}'"
        yield Wait(on=YOU, text=f"your word on the certificate it brought: {decide}", since=message.created_at)
    for waiting in known.unanswered:
        yield _waits_for_answer(known, waiting)
    for entry in known.theirs:
        if entry.active and entry.slot is Slot.CURRENT and entry.id in known.barred:
            yield Wait(on=YOU, text=_without(entry, known))
    if known.partner.acx is not AcxMode.OFF:
        yield from _waits_for_ours(known, ours)
        yield from _waits_for_theirs(known, places)


def _waits_for_ours(known: Known, ours: Sequence[Ours]) -> Iterator[Wait]:
    code = known.partner.code
    refused = [each for each in ours if each.state is Offered.REFUSED]
    for each in refused:
        again = f"'oftp2d exchange deliver {code} --certificate {each.alias}'"
        yield Wait(on=YOU, text=f"it refused our certificate {each.alias} ({each.how}): settle that, then {again}")
    if not refused and not any(each.state is not Offered.NOT_OFFERED for each in ours):
        yield Wait(on=YOU, text=f"it has no certificate of ours yet: 'oftp2d exchange request {code}'")


def _waits_for_theirs(known: Known, places: Sequence[Place]) -> Iterator[Wait]:
    code = known.partner.code
    came = known.came
    if known.held:
        return
    if came is not None and came.state is ExchangeState.REFUSED:
        # What an operator has rejected is no news to anybody.
        if came.rule != Rule.REJECTED:
            why = f"'oftp2d exchange show {came.id}' says why; settle that, then 'oftp2d exchange request {code}'"
            yield Wait(on=YOU, text=f"the certificate it brought was refused: {why}", since=came.created_at)
        return
    awaited = _open(known)
    for announced in awaited:
        name = announced.common_name or announced.subject or announced.host
        text = f"its certificate {name!r}, which is announced: 'oftp2d exchange request {code}' asks for it"
        yield Wait(on=code, text=text, since=announced.created_at)
    if not awaited and all(place.stage is Stage.NONE for place in places) and known.partner.acx is not AcxMode.TRUSTED:
        yield Wait(
            on=YOU, text=f"none of its certificates is known or announced: 'oftp2d cert announce {code} --cn NAME'"
        )


def _without(entry: StoredCertificate, known: Known) -> str:
    """What to do without a certificate that does not count any more: a session with authentication needs one."""
    code = known.partner.code
    by_hand = f"'oftp2d cert import FILE --partner {code}'"
    asked = f", or 'oftp2d exchange request {code}'" if known.partner.authentication is not Setting.ON else ""
    return f"its certificate {entry.alias} is used for nothing, {known.barred[entry.id]}: another one, {by_hand}{asked}"


def _waits_for_answer(known: Known, waiting: Unanswered) -> Wait:
    record, transfer = waiting.record, waiting.transfer
    alias = next((each.alias for each in known.ours if each.fingerprint == record.fingerprint), "our certificate")
    if transfer.state is TransferState.SENT:
        repeated = f", reminded {record.reminders} times" if record.reminders else ""
        return Wait(on=known.partner.code, text=f"its EERP for {alias}{repeated}", since=transfer.sent_at)
    if transfer.state is TransferState.FAILED:
        text = f"{alias} could not be sent ({transfer.text}): 'oftp2d transfer retry {transfer.id}'"
        return Wait(on=YOU, text=text, since=transfer.updated_at)
    return Wait(on="the next session", text=f"{alias} is to be sent", since=record.created_at)


def _open(known: Known) -> list[Announcement]:
    return [each for each in known.announcements if each.fulfilled_by is None]


def _age(entry: StoredCertificate) -> tuple[datetime, datetime, str]:
    return entry.valid_from, entry.valid_until, entry.fingerprint
