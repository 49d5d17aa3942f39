"""The messages of the certificate exchange that we send: our certificates, unasked or as the answer to a REQUEST (acx.md 3, 4.5).

Each certificate is a file of its own and goes outside of all file security. Nothing of ours changes when it is queued: what
follows from the partner's end response is in ``exchange``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from oftp2.certs.acceptance import Message
from oftp2.certs.clid import encode as encode_clid
from oftp2.certs.facts import CertificateFacts
from oftp2.values import Level
from oftp2d.acx import DATASETS
from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import (
    AcxMode,
    ExchangeMessage,
    ExchangeRecord,
    Kind,
    NewOutgoing,
    Partner,
    Reply,
    StoredCertificate,
    Transfer,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Between which stations a certificate goes; None for the usual: the certificate's own, the partner's main one."""

    station: str | None = None
    """Ours: whose certificate it is (SFIDORIG)."""
    to: str | None = None
    """The partner's: for which it is (SFIDDEST)."""


class Offers:
    """Makes the messages of ours and queues them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def offer(
        self,
        partner: Partner,
        message: Message,
        certificate: StoredCertificate | None = None,
        previous: StoredCertificate | None = None,
        route: Route | None = None,
    ) -> Sequence[ExchangeRecord]:
        """Queue the certificate, or those in use; of a REQUEST the further ones are DELIVERs. Raises OperatorError."""
        _check(partner)
        route = route or Route()
        station = await self._context.workers.database(self._station, partner, certificate, route)
        destination = _destination(partner, route)
        chosen = [certificate] if certificate else await self.ours(partner, station)
        if not chosen:
            raise OperatorError(
                f"there is no valid certificate of ours for {station}", "make one with 'oftp2d cert generate'"
            )
        # One instant for all: by it the ledger knows what belongs to one recall.
        now = self._context.now()
        barred = await self._context.workers.database(self._context.certificates.barred, chosen, now)
        for ours in chosen:
            if ours.id in barred:
                raise OperatorError(
                    f"{ours.alias} is used for nothing: {barred[ours.id]}",
                    "offer another one: make it with 'oftp2d cert generate', or import it",
                )
        records = []
        for index, ours in enumerate(chosen):
            kind = Message.DELIVER if index and message is Message.REQUEST else message
            reply = await self.reply(
                ours,
                kind,
                partner_id=partner.id,
                originator=station,
                destination=destination,
                description=await self._description(partner, ours, previous),
            )
            records.append(await self._context.workers.database(self._commit, partner, ours, kind, reply, now))
        return records

    async def answers(self, partner: Partner, request: Transfer) -> tuple[Reply, ...]:
        """Our certificates for who asked, to be queued: each of the station that was asked, once, without a description."""
        return tuple(
            [
                await self.reply(
                    ours,
                    Message.DELIVER,
                    partner_id=partner.id,
                    originator=request.destination,
                    destination=request.originator,
                )
                for ours in await self.ours(partner, request.destination)
            ]
        )

    async def ours(self, partner: Partner, station: str) -> Sequence[StoredCertificate]:
        """What is in use of a station of ours, each certificate once; of sessions only for the one the partner knows by SSID."""
        return await self._context.workers.database(
            self._context.certificates.to_deliver,
            station=station,
            now=self._context.now(),
            sessions=station == partner.station,
        )

    async def reply(
        self,
        ours: StoredCertificate,
        message: Message,
        *,
        partner_id: int,
        originator: str,
        destination: str,
        description: str = "",
        renewal_id: int | None = None,
    ) -> Reply:
        """A message to queue, its content in the spool."""
        staged = await self._context.workers.disk(self._stage, ours.der)
        return Reply(
            file=NewOutgoing(
                kind=Kind.EXCHANGE,
                partner_id=partner_id,
                dataset=DATASETS[message],
                originator=originator,
                destination=destination,
                octets=len(ours.der),
                spool_name=staged,
                file_name=f"{ours.alias}.cer",
                description=description,
            ),
            message=ExchangeMessage(message.value),
            fingerprint=ours.fingerprint,
            renewal_id=renewal_id,
        )

    def _stage(self, der: bytes) -> str:
        with self._context.spool.staging() as staging:
            staging.write(der)
            return staging.seal().name

    def _station(self, partner: Partner, certificate: StoredCertificate | None, route: Route) -> str:
        """Which of our stations it is from. In the database worker."""
        belongs = certificate.station if certificate else None
        station = route.station or belongs or partner.station
        if self._context.ledger.stations.get(station) is None:
            raise OperatorError(f"{station} is no station of ours", "see 'oftp2d station list'")
        if certificate is not None and belongs not in {None, station}:
            raise OperatorError(
                f"{certificate.alias} is the certificate of {belongs}, not of {station}",
                f"leave out the station, or choose a certificate of {station} ('oftp2d cert list')",
            )
        return station

    def _commit(
        self, partner: Partner, ours: StoredCertificate, message: Message, reply: Reply, now: datetime
    ) -> ExchangeRecord:
        _, record = self._context.ledger.exchanges.queue(reply, now)
        self._context.ledger.audit.record(
            now,
            partner.code,
            f"exchange {message.lower()} queued",
            {"transfer": record.transfer_id, "certificate": ours.alias, "fingerprint": ours.fingerprint},
        )
        return record

    async def _description(self, partner: Partner, ours: StoredCertificate, previous: StoredCertificate | None) -> str:
        """The identification data of the certificate being replaced, where the partner is known to have one."""
        if previous is None:
            previous = await self._context.workers.database(self._confirmed_before, partner, ours)
        if previous is None or previous.fingerprint == ours.fingerprint:
            return ""
        return encode_clid(CertificateFacts.of(previous.der)) or ""

    def _confirmed_before(self, partner: Partner, ours: StoredCertificate) -> StoredCertificate | None:
        """The newest other certificate of ours, for the same station and a common usage, that the partner confirmed."""
        confirmed = self._context.ledger.certificates.confirmed(partner.id)
        held = [
            entry
            for entry in self._context.certificates.own_entries()
            if entry.fingerprint in confirmed - {ours.fingerprint}
            and entry.station == ours.station
            and entry.usages & ours.usages
        ]
        return max(held, key=lambda entry: entry.valid_from, default=None)


def _check(partner: Partner) -> None:
    if partner.acx is AcxMode.OFF:
        raise OperatorError(
            f"the certificate exchange is off for {partner.code}",
            f"ask whether its product knows it, then say 'oftp2d partner change {partner.code} --acx announced'",
        )
    if partner.level < Level.REVISION_2_0:
        raise OperatorError(
            f"{partner.code} is set to release level {partner.level}, and certificates are exchanged at level 5 (OFTP 2.0)",
            f"say 'oftp2d partner change {partner.code} --level 5' if its product knows it, or exchange the certificates by"
            " other means: 'oftp2d cert export' and 'oftp2d cert import'",
        )


def _destination(partner: Partner, route: Route) -> str:
    if route.to is not None and route.to not in {partner.code, *partner.sub_stations}:
        raise OperatorError(
            f"{route.to} is no code of {partner.code}", "see 'oftp2d partner show', or add it as sub-station"
        )
    return route.to or partner.code
