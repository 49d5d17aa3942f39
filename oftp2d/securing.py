"""Securing: what is done to a file before it is sent (RFC 5024 sections 6.1 to 6.5), beside all sessions.

A file that is to be signed, compressed or encrypted is made anew from the one that was queued, which stays until the partner
has answered: a later try with another stamp makes it again. Keys and certificates are chosen when the work begins, and the
choice is kept for people. Of a file for which nothing but a signed end response is asked for, the hash is made that the
end response has to name. What a stop or a crash interrupts begins anew; the ledger learns of a file only when it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography import x509
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from oftp2.certs import selection
from oftp2.cms.keys import Signer
from oftp2.cms.package import pack
from oftp2.values import FileFormat
from oftp2d.agreement import Services, agreed_suite, sending_gaps
from oftp2d.context import Context
from oftp2d.digests import virtual_hash
from oftp2d.errors import UNEXPECTED, OperatorError
from oftp2d.ledger import LedgerUnavailableError, Partner, Transfer, TransferState
from oftp2d.opening import is_secured, services_of
from oftp2d.pipeline import AbandonedError, Hashing, Work, make
from oftp2d.spool import SpoolFullError
from oftp2d.turns import Turns
from oftp2d.workers import SMALL, is_small

AHEAD: Final = 16
"""Files of a partner that are read from the ledger to wait for their turn: so many small ones, and so many others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """Who signs a file, and for whom it is encrypted."""

    signers: Sequence[Signer] = ()
    recipients: Sequence[x509.Certificate] = ()
    signed_by: tuple[str, ...] = ()
    encrypted_for: tuple[str, ...] = ()
    choice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Secured:
    """A file as it travels."""

    name: str
    octets: int
    virtual_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """A file that is being secured, or waits for its turn."""

    partner_id: int
    small: bool
    work: Work = field(default_factory=Work)
    over: Deferred[None] = field(default_factory=Deferred)


class Securing:
    """Secures the files of the station, a few at once; partners take turns, and of each the oldest goes first."""

    log = Logger(namespace="securing")

    def __init__(self, context: Context, *, queued: Callable[[int], None]) -> None:
        self._context = context
        self._queued = queued
        """Called with the partner when a file is ready to be sent."""
        self._turns = Turns()
        self._under_way: dict[str, _UnderWay] = {}
        self._postponed: dict[str, str] = {}
        """What waits for its next try, and why."""
        self._running = False
        self._looking = False
        self._again = False
        self._looked: Deferred[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._running = True
        self.nudge()

    def nudge(self) -> None:
        """Look now: a file was queued. Never blocks."""
        if not self._running:
            return
        if self._looking:
            self._again = True
            return
        self._looking = True
        Deferred.fromCoroutine(self._look())

    def retry(self) -> None:
        """Try again what the disk had no room for, or the ledger could not be told of."""
        self._postponed.clear()
        self.nudge()

    def abandon(self, transfer_id: str) -> None:
        """Nothing that is being made of this file counts any more: it was cancelled. Never blocks.

        To be called before anybody can ask for it again, in whatever other way: then it begins anew.
        """
        self._postponed.pop(transfer_id, None)
        if transfer_id in self._under_way:
            self._under_way[transfer_id].work.abandon()

    def progress(self, transfer_id: str) -> int | None:
        """Octets that were read of a file that is being secured; None of any other."""
        under_way = self._under_way.get(transfer_id)
        return None if under_way is None else under_way.work.octets

    def trouble(self, transfer_id: str) -> str | None:
        """Why a file could not be secured so far, and waits for its next try; None of any other."""
        return self._postponed.get(transfer_id)

    async def stop(self) -> None:
        """Abandon what is under way, and wait until it is. It begins anew at the next start."""
        self._running = False
        if self._looking:
            self._looked = Deferred()
            await self._looked
        for under_way in self._under_way.values():
            under_way.work.abandon()
        await DeferredList([under_way.over for under_way in self._under_way.values()])

    async def _look(self) -> None:
        try:
            await self._round()
            while self._again and self._running:
                self._again = False
                await self._round()
        except OperatorError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)
        except Exception:  # noqa: BLE001 - the next nudge looks again
            self.log.failure("looking for files to secure failed")
        finally:
            self._looking = self._again = False
            if self._looked is not None:
                self._looked.callback(None)

    async def _round(self) -> None:
        """Have the next ones of each partner wait for their turn."""
        ledger = self._context.ledger.transfers
        limit = AHEAD + len(self._postponed)
        for transfer in await self._context.workers.database(ledger.to_secure, limit=limit, small=SMALL):
            if self._running and transfer.id not in self._under_way and transfer.id not in self._postponed:
                small = is_small(_plain_octets(transfer))
                under_way = self._under_way[transfer.id] = _UnderWay(partner_id=transfer.partner_id, small=small)
                Deferred.fromCoroutine(self._run(transfer, under_way))

    def _are_few(self, like: _UnderWay) -> bool:
        """Whether it is time to look for more of a partner: to look for each single one would read the others every time."""
        same = [
            each for each in self._under_way.values() if (each.partner_id, each.small) == (like.partner_id, like.small)
        ]
        return len(same) <= AHEAD // 2

    async def _run(self, transfer: Transfer, under_way: _UnderWay) -> None:
        try:
            await self._in_turn(transfer, under_way.work)
        except AbandonedError:
            # It may have been asked for again.
            self.nudge()
        except (SpoolFullError, LedgerUnavailableError) as error:
            self._postponed[transfer.id] = f"{error.what}; {error.advice}"
            self.log.warn(
                "{file} waits to be secured, transfer {transfer}: {what}; {advice}",
                file=transfer.dataset,
                transfer=transfer.id,
                what=error.what,
                advice=error.advice,
            )
        except OperatorError as error:
            with suppress(OperatorError):
                await self._fail(transfer, error)
        except Exception:  # noqa: BLE001 - whatever it is, this file waits for the next try and the daemon goes on
            self._postponed[transfer.id] = UNEXPECTED
            self.log.failure("transfer {transfer} cannot be secured", transfer=transfer.id)
        finally:
            del self._under_way[transfer.id]
            under_way.over.callback(None)
            if self._are_few(under_way):
                self.nudge()

    async def _in_turn(self, transfer: Transfer, work: Work) -> None:
        async with self._turns.turn(transfer.partner_id, _plain_octets(transfer)):
            work.go_on()
            try:
                await self._secure(transfer, work)
            except OperatorError:
                # What went wrong is nothing to a file that was cancelled, and may be asked for again by now.
                work.go_on()
                raise

    async def _fail(self, transfer: Transfer, error: OperatorError) -> None:
        text = f"it cannot be secured: {error.what}; {error.advice}"
        await self._context.workers.database(
            self._context.ledger.transfers.unsecurable, transfer.id, self._context.now(), text
        )
        self.log.error(
            "{file} failed, transfer {transfer}: {text}", file=transfer.dataset, transfer=transfer.id, text=text
        )

    async def _secure(self, transfer: Transfer, work: Work) -> None:
        workers, ledger = self._context.workers, self._context.ledger
        now = self._context.now()
        partner, keys = await workers.database(self._known, transfer, now)
        prepare = self._make if is_secured(transfer) else self._hash
        secured = await workers.security(_plain_octets(transfer), prepare, partner, transfer, keys, now, work)
        try:
            # Its last octets may have been written when it was abandoned.
            work.go_on()
            queued = await workers.database(
                ledger.transfers.secured,
                transfer.id,
                self._context.now(),
                octets=secured.octets,
                spool_name=secured.name,
                virtual_hash=secured.virtual_hash,
                signers=keys.signed_by,
                recipients=keys.encrypted_for,
                choice=keys.choice,
            )
        except (AbandonedError, OperatorError):
            # It is made anew then, unless the ledger has learned of it all the same.
            with suppress(OperatorError):
                known = await workers.database(ledger.transfers.get, transfer.id)
                await workers.disk(self._context.spool.remove_outgoing, *({secured.name}.difference(known.spool_names)))
            raise
        # A former one goes nowhere any more, nor does this one if it was cancelled.
        left = {transfer.spool_name, secured.name}.difference(queued.spool_names)
        await workers.disk(self._context.spool.remove_outgoing, *left)
        if queued.state is TransferState.QUEUED:
            self.log.info(
                "{partner}: {file} is secured, {octets} octets, transfer {transfer}",
                partner=partner.code,
                file=transfer.dataset,
                octets=secured.octets,
                transfer=transfer.id,
            )
            self._queued(partner.id)

    def _known(self, transfer: Transfer, now: datetime) -> tuple[Partner, _Keys]:
        """What the ledger knows for it by now. In the database worker. Raises OperatorError."""
        partner = self._context.ledger.partners.get(transfer.partner_id)
        return partner, self._keys(partner, transfer, now)

    def _keys(self, partner: Partner, transfer: Transfer, now: datetime) -> _Keys:
        """Who signs, and for whom it is encrypted, as things are now."""
        store = self._context.certificates
        done = services_of(transfer)
        services = Services(
            sign=done.sign,
            compress=done.compress,
            encrypt=done.encrypt,
            signed_receipt=transfer.signed_response,
            suite=agreed_suite(transfer, partner).number,
        )
        signers: Sequence[Signer] = ()
        recipients: Sequence[x509.Certificate] = ()
        accounts = []
        if services.sign:
            signers, account = store.signers(station=transfer.originator, now=now, partner_id=partner.id)
            accounts.append(account)
        if services.encrypt:
            account = store.explain_partner(
                selection.ENCRYPTION,
                partner_id=partner.id,
                station=transfer.destination,
                now=now,
                least_bits=partner.least_rsa_bits,
            )
            recipients = [entry.facts.certificate for entry in account.entries]
            accounts.append(account)
        if not all(account.entries for account in accounts):
            ends = {"originator": transfer.originator, "destination": transfer.destination}
            gap = next(sending_gaps(services, partner, store, now=now, **ends))
            raise OperatorError(gap.what, f"{gap.advice}; then say 'oftp2d transfer retry {transfer.id}'")
        fingerprints = {
            account.situation: tuple(entry.facts.fingerprint for entry in account.entries) for account in accounts
        }
        return _Keys(
            signers=signers,
            recipients=recipients,
            signed_by=fingerprints.get(selection.SIGNING, ()),
            encrypted_for=fingerprints.get(selection.ENCRYPTION, ()),
            choice="\n".join(account.line for account in accounts),
        )

    def _make(self, partner: Partner, transfer: Transfer, keys: _Keys, now: datetime, work: Work) -> _Secured:
        """The secured file, beside the plain one. In a worker."""
        spool, reserve = self._context.spool, self._context.config.spool.free_octets_reserved
        suite = agreed_suite(transfer, partner)
        try:
            stages = pack(
                suite=suite,
                signers=keys.signers,
                compress=bool(transfer.compression),
                recipients=keys.recipients,
                octets=transfer.plain_octets,
                at=now,
                certificates=partner.signer_certificate,
            )
        except ValueError as error:
            raise OperatorError(str(error), "take another certificate, or another cipher suite") from None
        into = suite.new_hash()
        stages.append(Hashing(into))

        with spool.open_outgoing(_plain(transfer)) as source:
            # A large one is written to disk while the rest of it is made, instead of all at its end.
            target = spool.staging(cached=False, hashed=False)
            made = make(source, stages, target, spool=spool, reserve=reserve, work=work)
        return _Secured(name=made.name, octets=made.octets, virtual_hash=into.digest())

    def _hash(self, partner: Partner, transfer: Transfer, _keys: _Keys, _now: datetime, work: Work) -> _Secured:
        """The file as it is, with its hash. In a worker."""
        name = _plain(transfer)
        digest = virtual_hash(
            lambda: self._context.spool.open_outgoing(name),
            form=FileFormat(transfer.format),
            sha256=transfer.sha256,
            suite=agreed_suite(transfer, partner),
            work=work,
        )
        return _Secured(name=name, octets=transfer.octets, virtual_hash=digest)


def _plain(transfer: Transfer) -> str:
    """The file as it was queued."""
    assert transfer.plain_name is not None  # noqa: S101 - what is to be secured has one
    return transfer.plain_name


def _plain_octets(transfer: Transfer) -> int:
    """Its size."""
    assert transfer.plain_octets is not None  # noqa: S101 - as above
    return transfer.plain_octets
