"""One renewal for all partners: a certificate of ours that follows another is offered to everybody who knows the former one.

Each partner that can take it by the certificate exchange is sent a DELIVER and followed to its EERP; the others count when
an operator confirms that they have it. Until then each is served with what it knows (``pending`` in ``oftp2.certs.selection``).
When all have it the former one's timeslice ends; it goes on decrypting until it expires (acx.md 6). What is known of a renewal
is in the ledger: it goes on after a restart where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.usages import Usage, listed
from oftp2d.context import Context
from oftp2d.entries import PARTY
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    ExchangeRecord,
    Holder,
    NewRenewal,
    Partner,
    Renewal,
    RenewalPartner,
    RenewalState,
    Slot,
    StoredCertificate,
    UnknownError,
)
from oftp2d.planning import Concern
from oftp2d.uptake import STUCK, Progress, Uptake, names, progress, why_by_hand

ENDS_SOON: Final = timedelta(days=14)
"""How long before the former one ends it is warned of partners that have no other."""


class Offering(Protocol):
    """Who delivers certificates: the exchange."""

    async def deliver(
        self,
        partner: Partner,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue a DELIVER. Raises OperatorError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A renewal with its certificates, and where each partner stands."""

    renewal: Renewal
    certificate: StoredCertificate | None
    """None where it was removed from the store."""
    previous: StoredCertificate | None
    progress: Progress

    @property
    def alias(self) -> str:
        """How the certificate is called."""
        return self.certificate.alias if self.certificate else self.renewal.fingerprint[:16]


class Renewals:
    """Begins renewals, follows them, and ends them."""

    log = Logger(namespace="renewals")

    def __init__(
        self, context: Context, exchange: Offering, *, nudge: Callable[[int], None], changed: Callable[[], None]
    ) -> None:
        self._context = context
        self._exchange = exchange
        self._nudge = nudge
        self._changed = changed
        self._looking: Deferred[None] = succeed(None)
        self._busy = False
        self._again = False
        self._thorough = False

    # --- what an operator asks for ------------------------------------------------------------------------------

    async def begin(
        self, certificate: StoredCertificate, previous: StoredCertificate | None = None, until: datetime | None = None
    ) -> Account:
        """Offer a certificate of ours to every partner that needs it.

        Without ``previous`` it is found. ``until`` is the instant before which the former one does not end, even if all
        have the new one. Raises :class:`OperatorError`.
        """
        renewal = await self._context.workers.database(self._begin, certificate, previous, until)
        # Callers may have been shown the new one from its import on.
        self._changed()
        self.look()
        return await self.account(renewal.id)

    def successor_came(self, old: StoredCertificate, new: StoredCertificate) -> None:
        """A certificate of ours was imported that follows another. In the database worker, in one go with the import.

        No file may be secured between the two, or it could go out under a certificate that its receiver does not know.
        """
        if not self._context.config.acx.offer_successors or _weaker(old, new):
            return
        try:
            self._begin(new, old, None)
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
        else:
            self._context.reactor.callFromThread(self.look)  # type: ignore[attr-defined]

    def taken_back(self, fingerprint: str, why: str) -> int:
        """A certificate of ours is not used any more, and offered to nobody else; how many renewals ended by that.

        In the database worker. Partners that have confirmed it keep it.
        """
        ledger, now = self._context.ledger, self._context.now()
        running = [each for each in ledger.renewals.running() if each.fingerprint == fingerprint]
        for renewal in running:
            ledger.renewals.end(renewal.id, RenewalState.CANCELLED, why, now)
            self._note("cancelled", renewal, now)
        return len(running)

    async def cancel(self, renewal_id: int) -> Account:
        """Offer it to nobody else. Partners that have confirmed it keep it. Raises :class:`OperatorError`."""
        await self._context.workers.database(self._cancel, renewal_id)
        return await self.account(renewal_id)

    async def account(self, renewal_id: int) -> Account:
        """How a renewal stands. Raises UnknownError."""
        return await self._context.workers.database(self._account, renewal_id)

    def concerns(self, now: datetime) -> Iterator[Concern]:
        """What an administrator should look after, one for each renewal that needs a hand; in the database worker."""
        for renewal in self._context.ledger.renewals.running():
            found = concern(self._account(renewal.id), now)
            if found is not None:
                yield found

    # --- in the database worker ---------------------------------------------------------------------------------

    def _begin(
        self, certificate: StoredCertificate, previous: StoredCertificate | None, until: datetime | None
    ) -> Renewal:
        ledger, now = self._context.ledger, self._context.now()
        running = ledger.renewals.running()
        previous = previous or self._context.certificates.predecessor(certificate)
        _check(certificate, previous, until, now, running)
        new = NewRenewal(
            fingerprint=certificate.fingerprint,
            previous=previous.fingerprint if previous else None,
            station=certificate.station or PARTY,
            until=until,
        )
        taking_part = [_taking_part(partner) for partner in self._concerned(new)]
        renewal = ledger.renewals.begin(new, taking_part, now)
        for other in running:
            if other.fingerprint == new.previous and other.station == new.station:
                ledger.renewals.end(other.id, RenewalState.CANCELLED, f"renewal {renewal.id} takes its place", now)
        self._note("begun", renewal, now, partners=len(taking_part))
        self.log.info(
            "renewal {renewal}: {alias} is offered to {partners} partner(s); see 'oftp2d exchange renewal {renewal}'",
            renewal=renewal.id,
            alias=certificate.alias,
            partners=len(taking_part),
        )
        return renewal

    def _concerned(self, new: NewRenewal) -> Iterable[Partner]:
        """The partners of its station, and those that have the one it follows."""
        ledger, after = self._context.ledger, ""
        holders = ledger.certificates.confirmed_by(new.previous) if new.previous else frozenset()
        while page := ledger.partners.list(after=after):
            for partner in page:
                if new.station in {PARTY, partner.station} or partner.id in holders:
                    yield partner
            after = page[-1].code

    def _cancel(self, renewal_id: int) -> None:
        ledger, now = self._context.ledger, self._context.now()
        renewal = ledger.renewals.get(renewal_id)
        if renewal.state is not RenewalState.RUNNING:
            raise OperatorError(
                f"renewal {renewal_id} has ended already: {renewal.state}", "see 'oftp2d exchange renewals'"
            )
        ledger.renewals.end(renewal_id, RenewalState.CANCELLED, "cancelled by hand", now)
        self._note("cancelled", renewal, now)

    def _account(self, renewal_id: int) -> Account:
        ledger = self._context.ledger
        renewal = ledger.renewals.get(renewal_id)
        certificate = ledger.certificates.get(renewal.fingerprint, holder=Holder.OWN)
        alias = certificate.alias if certificate else renewal.fingerprint[:16]
        return Account(
            renewal=renewal,
            certificate=certificate,
            previous=ledger.certificates.get(renewal.previous, holder=Holder.OWN) if renewal.previous else None,
            progress=progress(ledger.renewals.parts(renewal), alias),
        )

    # --- following them -----------------------------------------------------------------------------------------

    def confirmed(self) -> None:
        """A partner has confirmed a certificate of ours: it may have been the last one. Never blocks."""
        self._follow()

    def look(self) -> None:
        """See how the renewals stand with every partner, and go on with them. Never blocks."""
        self._thorough = True
        self._follow()

    def _follow(self) -> None:
        self._again = True
        if not self._busy:
            self._busy = True
            self._looking = Deferred.fromCoroutine(self._look())

    async def stop(self) -> None:
        """Wait for what is begun; nothing uses the ledger any more then."""
        self._again = False
        await self._looking

    async def _look(self) -> None:
        try:
            while self._again and not self._context.stopping:
                thorough, self._again, self._thorough = self._thorough, False, False
                for renewal in await self._context.workers.database(self._to_look_at, thorough):
                    await self._go_on(renewal)
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
        except Exception:  # noqa: BLE001 - the next look tries again
            self.log.failure("the renewals cannot be followed")
        finally:
            self._busy = False

    def _to_look_at(self, thorough: bool) -> Sequence[Renewal]:  # noqa: FBT001 - handed to a worker
        """Those that run, or of these those alone that nobody is missing from: with many partners that is quick."""
        renewals = self._context.ledger.renewals
        return [each for each in renewals.running() if thorough or not renewals.outstanding(each)]

    async def _go_on(self, renewal: Renewal) -> None:
        account = await self._context.workers.database(self._joined, renewal)
        certificate, now = account.certificate, self._context.now()
        if certificate is None or not certificate.active or certificate.valid_until <= now:
            await self._give_up(account)
            return
        if certificate.valid_from > now:
            return
        for each in account.progress.to_offer:
            # Offering to many takes a while, in which it may be cancelled.
            if not await self._context.workers.database(self._context.ledger.renewals.runs, renewal.id):
                return
            await self._offer(account, certificate, each.partner)
        if account.progress.complete and (renewal.until is None or renewal.until <= now):
            await self._finish(account)

    def _joined(self, renewal: Renewal) -> Account:
        """The account, with those who have become partners since it began."""
        known = {each.partner_id for each in renewal.partners}
        for partner in self._concerned(renewal):
            if partner.id not in known:
                self._context.ledger.renewals.join(renewal.id, _taking_part(partner))
        return self._account(renewal.id)

    async def _offer(self, account: Account, certificate: StoredCertificate, partner: Partner) -> None:
        if self._context.stopping:
            return
        try:
            for record in await self._exchange.deliver(partner, certificate, account.previous):
                await self._context.workers.database(
                    self._context.ledger.renewals.attach, account.renewal.id, partner.id, record.id
                )
        except (OperatorError, UnknownError) as error:
            self.log.error(
                "{partner}: renewal {renewal} cannot be offered: {text}",
                partner=partner.code,
                renewal=account.renewal.id,
                text=str(error),
            )
        else:
            self._nudge(partner.id)

    # --- ending them --------------------------------------------------------------------------------------------

    async def _give_up(self, account: Account) -> None:
        gone = account.certificate is None or not account.certificate.active
        text = "its certificate is not used any more" if gone else "its certificate has expired"
        await self._context.workers.database(
            self._context.ledger.renewals.end, account.renewal.id, RenewalState.CANCELLED, text, self._context.now()
        )
        self.log.warn("renewal {renewal} is over: {text}", renewal=account.renewal.id, text=text)

    async def _finish(self, account: Account) -> None:
        text = await self._context.workers.database(self._end, account)
        if text is None:
            return
        self.log.info(
            "renewal {renewal} is finished, every partner has {alias}; {text}",
            renewal=account.renewal.id,
            alias=account.alias,
            text=text,
        )
        self._changed()

    def _end(self, account: Account) -> str | None:
        """The former ones are used no longer to sign and to call, the new one by itself from now on; in the database worker.

        The timeslices come first: after a crash in between this is done again, and the same comes out. None where it was
        cancelled meanwhile.
        """
        ledger, now = self._context.ledger, self._context.now()
        renewal = account.renewal
        if not ledger.renewals.runs(renewal.id):
            return None
        former = self._former(renewal)
        entries = [
            entry
            for entry in self._context.certificates.own_entries()
            if (entry.station or PARTY) == renewal.station and entry.active and entry.slot is Slot.CURRENT
        ]
        pending = ledger.renewals.pending() - {renewal.fingerprint}
        followed = frozenset[Usage]().union(
            *(entry.usages for entry in entries if entry.fingerprint not in former | pending)
        )
        left = frozenset[Usage]()
        for entry in entries:
            if entry.fingerprint not in former:
                continue
            if entry.usages <= followed:
                until = now if entry.slice_until is None else min(now, entry.slice_until)
                if entry.slice_from is None or entry.slice_from < until:
                    ledger.certificates.set_slice(entry.id, entry.slice_from, until)
            else:
                left |= entry.usages - followed
        text = _ended(account, left)
        ledger.renewals.end(renewal.id, RenewalState.FINISHED, text, now)
        self._note("finished", renewal, now, text=text)
        return text

    def _note(self, what: str, renewal: Renewal, now: datetime, **more: str | int) -> None:
        detail: dict[str, str | int | None] = {
            "renewal": renewal.id,
            "fingerprint": renewal.fingerprint,
            "previous": renewal.previous,
            **more,
        }
        self._context.ledger.audit.record(now, None, f"renewal {what}", detail)

    def _former(self, renewal: Renewal) -> frozenset[str]:
        """The one it follows; and those before that, where a renewal took another's place before it was finished."""
        renewals = self._context.ledger.renewals.list(limit=1000)
        former, before = set[str](), renewal.previous
        while before is not None and before not in former | {renewal.fingerprint}:
            former.add(before)
            before = next((each.previous for each in renewals if each.fingerprint == before), None)
        return frozenset(former)


def concern(account: Account, now: datetime) -> Concern | None:
    """What an administrator should know of a renewal that runs; None where it goes on by itself, and in time."""
    renewal, missing = account.renewal, account.progress.missing
    ends = account.previous.valid_until if account.previous else None
    if missing and ends is not None and ends - now < ENDS_SOON:
        verb = "ends" if ends > now else "has ended"
        why = f"without {account.alias}, and the former certificate {verb} on {ends:%Y-%m-%d}"
        return _concern(renewal, missing, why, ends)
    if missing and renewal.until is not None and renewal.until <= now:
        return _concern(renewal, missing, f"without {account.alias} after {renewal.until:%Y-%m-%d}", renewal.until)
    stuck = [each for each in missing if each.stage in STUCK]
    return _concern(renewal, stuck, "in need of you", now) if stuck else None


def _concern(renewal: Renewal, partners: Sequence[Uptake], why: str, at: datetime) -> Concern:
    number = f"renewal {renewal.id}"
    return Concern(
        key=f"{number}: {why}: {' '.join(each.partner.code for each in partners)}",
        text=f"{number}: {len(partners)} partner{' is' if len(partners) == 1 else 's are'} {why}: {names(partners)}",
        advice=f"see 'oftp2d exchange {number}'",
        at=at,
    )


def _check(
    certificate: StoredCertificate,
    previous: StoredCertificate | None,
    until: datetime | None,
    now: datetime,
    running: Sequence[Renewal],
) -> None:
    """Raises OperatorError for what cannot be renewed so."""
    offered = (certificate.fingerprint, certificate.station or PARTY)
    same = next((each for each in running if (each.fingerprint, each.station) == offered), None)
    if same is not None:
        raise OperatorError(
            f"renewal {same.id} offers {certificate.alias} already", f"see 'oftp2d exchange renewal {same.id}'"
        )
    if certificate.valid_until <= now:
        raise OperatorError(f"{certificate.alias} expired on {certificate.valid_until:%Y-%m-%d}", "get its successor")
    if not certificate.active:
        raise OperatorError(
            f"{certificate.alias} is switched off", f"say 'oftp2d cert activate {certificate.alias}' first"
        )
    if previous is not None and previous.fingerprint == certificate.fingerprint:
        raise OperatorError(f"{certificate.alias} cannot follow itself", "leave --previous out, or name the former one")
    if until is not None and until <= now:
        raise OperatorError(f"{until:%Y-%m-%d %H:%M}Z is over", "give a time to come, or leave --until out")
    if until is not None and previous is not None and until > previous.valid_until:
        raise OperatorError(
            f"the former certificate {previous.alias} ends before that, on {previous.valid_until:%Y-%m-%d}",
            "give a time before, so that there is no gap",
        )


def _weaker(old: StoredCertificate, new: StoredCertificate) -> bool:
    """Whether one that an authority issued would give way to one that vouches for itself: nobody is offered that unasked."""
    return CertificateFacts.of(new.der).self_signed and not CertificateFacts.of(old.der).self_signed


def _taking_part(partner: Partner) -> RenewalPartner:
    why = why_by_hand(partner)
    return RenewalPartner(partner_id=partner.id, by_hand=why is not None, text=why or "")


def _ended(account: Account, left: frozenset[Usage]) -> str:
    if account.previous is None:
        return "there was none before it"
    if left:
        return f"{account.previous.alias} stays in use for {listed(left)}"
    return f"{account.previous.alias} only decrypts now, until {account.previous.valid_until:%Y-%m-%d}"
