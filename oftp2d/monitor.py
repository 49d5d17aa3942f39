"""The User Monitor (RFC 5024 section 3): one coroutine per session that decides what is done in it.

It opens the session, then speaks while it has the turn and listens while it has not. A Speaker first hands over the
end responses it owes, then its files, and passes the turn when it has nothing left; one that got the turn and has
nothing to say leaves. So a session ends by itself and never loops. What happens in a turn is the business of
``sending``, ``receiving``, ``exchange`` and ``delivery``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from oftp2.commands import EndResponse, Nerp
from oftp2.errors import LocalProtocolError
from oftp2.events import (
    ChallengeReceived,
    ChallengeWanted,
    EndResponseReceived,
    FileOffered,
    Origin,
    ReadyReceived,
    SessionAborted,
    SessionEstablished,
    SessionOffered,
    SessionReleased,
    TurnReceived,
)
from oftp2.reasons import EndSessionReason
from oftp2.requests import (
    AcceptSession,
    AnswerChallenge,
    ChangeDirection,
    EndSession,
    SendChallenge,
    SendEndResponse,
    SendReady,
)
from oftp2.tables import State
from oftp2.values import Level, Mode, Role, Turn
from oftp2d.arrivals import Proof
from oftp2d.authentication import Authentication
from oftp2d.claims import Claims
from oftp2d.context import Context
from oftp2d.delivery import Delivery
from oftp2d.endresponses import end_response
from oftp2d.errors import OperatorError
from oftp2d.exchange import Exchange
from oftp2d.forwarding import travelling
from oftp2d.gathering import Gathering
from oftp2d.ledger import (
    AmbiguousError,
    Answered,
    ClaimLostError,
    Kind,
    LedgerUnavailableError,
    Partner,
    Receipt,
    ReceiptKind,
    Traffic,
    TransferState,
)
from oftp2d.line import Line, SessionOverError, end_politely
from oftp2d.opinions import to_be_judged
from oftp2d.partners import MODES, Denial, Gate, highest_level, least_level, proven_by_tls
from oftp2d.receipts import Receipts
from oftp2d.receiving import Receiving
from oftp2d.sending import Sending
from oftp2d.spool import SpoolError

DELIVERY_SECONDS: Final = 3.0
"""How long all in all a turn is kept for files of the partner that are being opened. What takes longer is answered later."""


class Purpose(Enum):
    """What a call is for."""

    EXCHANGE = "exchange what there is"
    TEST = "identify and leave"


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a session, for whoever made the call and for the status."""

    id: str
    role: Role
    remote: str
    since: datetime
    partner: str | None = None
    established: bool = False
    normal: bool = False
    """Whether it ended as sessions should."""
    text: str = ""
    """How it ended, one line."""
    reason: EndSessionReason | None = None
    refusal: str | None = None
    """The partner's ESID, such as ``ESID 04``, where that ended the session before its time."""
    level: int | None = None
    left: str = ""
    """Why something that waits for the partner still waits, though nothing went wrong."""
    progress: dict[str, int] = field(default_factory=dict)
    """Octets already sent of the transfers under way."""


class Monitor:
    """Runs one session from its first event to its last."""

    log = Logger(namespace="session")

    def __init__(
        self,
        context: Context,
        line: Line,
        report: Report,
        *,
        gate: Gate,
        authentication: Authentication,
        exchange: Exchange,
        delivery: Delivery,
        partner: Partner | None = None,
        purpose: Purpose = Purpose.EXCHANGE,
        full: bool = False,
    ) -> None:
        self.report = report
        self._context = context
        self._line = line
        self._gate = gate
        self._authentication = authentication
        self._exchange = exchange
        self._delivery = delivery
        self._partner = partner
        self._purpose = purpose
        self._full = full
        self._receipts = Receipts(context)
        self._owner = f"{context.owner}#{report.id}"
        self._authenticated = False
        self._listening_since = 0.0
        self._patience = DELIVERY_SECONDS
        self._answered = Gathering(self._note_answered)
        self._finished = Gathering(self._remove)

    async def run(self) -> Report:
        """Run the session to its end. Never raises for what the peer or the network does."""
        try:
            partner = await self._open()
            self._established(partner)
            if self._authenticated:
                await self._authentication.proven(partner)
            await self._converse(partner)
        except SessionOverError as over:
            self._ended(over)
        except LedgerUnavailableError as error:
            self._broken(str(error), EndSessionReason.RESOURCES_NOT_AVAILABLE)
        except (LocalProtocolError, OperatorError, ClaimLostError) as error:
            self._broken(str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, this session ends and the daemon goes on
            self.log.failure("session {session} failed", session=self.report.id)
            self._broken(f"an internal error ({type(error).__name__})")
        finally:
            await self._release()
        return self.report

    async def _release(self) -> None:
        """Give back all that this session still claims; a claim that cannot be given back runs out by itself."""
        ledger, now = self._context.ledger, self._context.now()
        again = now + timedelta(seconds=self._context.config.retry.first_seconds)
        try:
            await self._context.workers.database(ledger.receipts.release, self._owner)
            await self._context.workers.database(ledger.transfers.release, self._owner, now, next_attempt_at=again)
        except LedgerUnavailableError as error:
            self.log.error("{what}; {advice}", what=error.what, advice=error.advice)

    # --- opening ------------------------------------------------------------------------------------------------

    async def _open(self) -> Partner:
        """Both sides know each other and, where it is required, have proven it."""
        slow = self._time_limit()
        try:
            if self._line.session.role is Role.RESPONDER:
                self._partner = await self._answer_call()
            assert self._partner is not None  # noqa: S101 - an Initiator knows whom it calls
            await self._introduce(self._partner)
            return self._partner
        finally:
            if slow.active():
                slow.cancel()

    def _time_limit(self) -> IDelayedCall:
        def too_slow() -> None:
            text = f"no session came about within {seconds} seconds"
            end_politely(self._line, EndSessionReason.TIME_OUT, text)

        seconds = self._context.config.limits.handshake_seconds
        return self._context.reactor.callLater(seconds, too_slow)

    async def _answer_call(self) -> Partner:
        offer = await self._line.event()
        assert isinstance(offer, SessionOffered)  # noqa: S101 - the tables allow nothing else here
        self.report.partner = offer.peer.code or None
        if self._full:
            text = "the station has as many sessions as it bears"
            raise self._deny(Denial(reason=EndSessionReason.RESOURCES_NOT_AVAILABLE, text=text))
        admitted = await self._gate.admit(offer.peer, self._line)
        if isinstance(admitted, Denial):
            raise self._deny(admitted)
        admitted = await self._authentication.current(admitted)
        authentication = await self._authentication.answer(admitted, asked=offer.peer.authentication)
        lowest = least_level(admitted)
        # At a lower level nobody could have asked for it: that the level is not enough is the better answer then.
        if authentication is not offer.peer.authentication and offer.peer.level >= lowest:
            text = (
                "secure authentication is required" if authentication else "secure authentication is not possible yet"
            )
            raise self._deny(Denial(reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE, text=text))
        self._line.request(
            AcceptSession(
                code=admitted.station,
                password=self._authentication.password(admitted),
                authentication=authentication,
                level=highest_level(admitted),
                lowest_level=lowest,
                mode=MODES[admitted.mode],
                buffer_size=admitted.buffer_size,
                credit=admitted.credit,
                compression=admitted.compression,
                restart=admitted.restart,
            )
        )
        return admitted

    async def _introduce(self, partner: Partner) -> None:
        """Challenges both ways, if any, until the session stands; an Initiator looks who has answered."""
        checked = self._line.session.role is Role.RESPONDER
        while True:
            event = await self._line.event()
            peer = self._line.session.peer
            if not checked and peer is not None:
                checked = True
                denial = await self._gate.expect(partner, peer, self._line)
                if denial is not None:
                    raise self._deny(denial)
            match event:
                case ChallengeWanted() | ChallengeReceived():
                    await self._authenticate(partner, event)
                case SessionEstablished(terms=terms):
                    self.report.level = int(terms.level)
                    return
                case _:
                    raise LocalProtocolError(f"{type(event).__name__} before the session stands")

    async def _authenticate(self, partner: Partner, event: ChallengeWanted | ChallengeReceived) -> None:
        """Make a challenge, or answer one. Where that is not possible, the session ends with ESID 12."""
        try:
            if isinstance(event, ChallengeReceived):
                secret = await self._authentication.open_challenge(partner, event.envelope)
                self._line.request(AnswerChallenge(secret=secret))
                self._authenticated = True
            else:
                envelope, secret = await self._authentication.make_challenge(partner)
                self._line.request(SendChallenge(envelope=envelope, secret=secret))
        except OperatorError as error:
            opens = isinstance(event, ChallengeReceived)
            text = "no key here opens the challenge" if opens else f"there is no certificate of {partner.code} here"
            denial = Denial(reason=EndSessionReason.AUTHENTICATION_INCOMPATIBLE, text=text)
            raise self._deny(denial, detail=str(error)) from None

    def _deny(self, denial: Denial, detail: str = "") -> SessionOverError:
        """Tell the peer why there will be no session; ``detail`` is for our log only."""
        end_politely(self._line, denial.reason, denial.text)
        return _over(denial.reason, detail or denial.text)

    def _established(self, partner: Partner) -> None:
        self.report.partner = partner.code
        self.report.established = True
        self._listening_since = self._context.reactor.seconds()
        tls = self._line.tls
        self.log.info(
            "{partner}: session {session} with {remote} stands, {role}, release level {release_level}, {tls}{authenticated}",
            partner=partner.code,
            session=self.report.id,
            remote=self._line.remote,
            role=self._line.session.role.value,
            release_level=int(self._level),
            tls=f"{tls.version} {tls.cipher}" if tls else "plain TCP",
            authenticated=", authenticated" if self._authenticated else "",
        )
        if self._level < Level.REVISION_1_4 <= partner.level:
            self.log.info(
                "{partner}: it speaks release level {release_level}; say 'oftp2d partner change {partner} --level"
                " {release_level}', so that files of one name get time stamps that it can tell apart",
                partner=partner.code,
                release_level=int(self._level),
            )

    # --- the conversation ---------------------------------------------------------------------------------------

    async def _converse(self, partner: Partner) -> None:
        stations = await self._context.workers.database(self._context.ledger.stations.list)
        claims = Claims(self._context, owner=self._owner, partner=partner, since=self.report.since)
        sending = Sending(self._context, self._line, owner=self._owner, partner=partner, progress=self.report.progress)
        receiving = Receiving(
            self._context,
            self._line,
            owner=self._owner,
            partner=partner,
            stations=frozenset(station.code for station in stations),
        )
        if self._purpose is Purpose.TEST:
            self._line.request(EndSession())
        try:
            while True:
                # The session knows of a turn before its event is taken: first things first.
                if self._line.session.turn is Turn.SPEAKER and not self._line.waiting:
                    await self._speak(partner, claims, sending)
                else:
                    # A partner that asked for the turn may keep it for long.
                    await self._rest(claims, sending)
                    await self._listen(partner, receiving)
                    self._patience = DELIVERY_SECONDS
        finally:
            await self._rest(claims, sending)
            await receiving.settle()

    async def _rest(self, claims: Claims, sending: Sending) -> None:
        """Nothing is said for now: have noted what was, and let others have what was not."""
        await sending.settle()
        await self._answered.settle()
        await claims.give_back()

    async def _speak(self, partner: Partner, claims: Claims, sending: Sending) -> None:
        """One thing to say: an end response, a file, or that there is nothing more."""
        known = self._delivery.outcomes(partner.id)
        receipt = await claims.end_response()
        if receipt is not None:
            await sending.settle()
            await self._send_end_response(partner, receipt)
            return
        if self._line.session.terms is not None and self._line.session.terms.mode is Mode.RECEIVER:
            if partner.mode is not Traffic.RECEIVE:
                self.report.left = "the partner only sends, what waits for it stays queued"
        elif not self._context.stopping:
            file = await claims.file()
            if file is not None:
                await sending.send(file)
                return
        if await self._delivered(partner, known):
            return
        if self._line.session.state is State.IDLESPCD:
            self._line.request(EndSession())
        else:
            self._line.request(ChangeDirection())
            self._listening_since = self._context.reactor.seconds()

    async def _delivered(self, partner: Partner, known: int) -> bool:
        """Wait a little for a file of the partner that is being opened: its end response is then said in this turn.

        ``known`` are the outcomes that were there when it was last looked for end responses.
        """
        if self._patience <= 0 or self._context.stopping:
            return False
        begun = self._context.reactor.seconds()
        came = await self._delivery.outcome(partner.id, known, self._patience)
        self._patience -= self._context.reactor.seconds() - begun
        return came

    @property
    def _level(self) -> Level:
        """The release level of the session that stands."""
        terms = self._line.session.terms
        assert terms is not None  # noqa: S101 - it stands
        return terms.level

    async def _send_end_response(self, partner: Partner, receipt: Receipt) -> None:
        if _sayable(receipt, self._level) < _sayable(receipt, highest_level(partner)):
            # It stays claimed as long as this session lasts, and is owed again behind it.
            self.report.left = f"release level {int(self._level)} cannot carry an end response that is owed"
            self.log.warn(
                "{partner}: {kind} for {file} waits for a session of a higher level, transfer {transfer}: release level"
                " {release_level} cannot carry all of it; where the partner speaks no higher one, say 'oftp2d partner change"
                " {partner} --level {release_level}', and what can be told at that level is told",
                partner=partner.code,
                kind=receipt.kind.value,
                file=receipt.dataset,
                transfer=receipt.transfer_id,
                release_level=int(self._level),
            )
            return
        if receipt.kind is ReceiptKind.NERP and self._level < Level.REVISION_1_4:
            await self._context.workers.database(self._context.ledger.receipts.withdraw, receipt.id)
            self.log.warn(
                "{partner}: it cannot be told that {file} was refused ({reason}), transfer {transfer}: release level"
                " {release_level} has no NERP; tell it otherwise",
                partner=self.report.partner,
                file=receipt.dataset,
                reason=receipt.text or receipt.reason,
                transfer=receipt.transfer_id,
                release_level=int(self._level),
            )
            return
        command = end_response(receipt)
        if self._level < Level.REVISION_2_0:
            # What was signed beyond us cannot be passed on at this level; that it has arrived can.
            command = replace(command, hash=b"", signature=b"")
        try:
            self._line.request(SendEndResponse(command=command))
        except LocalProtocolError as error:
            if not self._line.session.accepts(SendEndResponse):
                raise
            # It is the end response that cannot be written. Kept, it would end every session with this partner.
            await self._context.workers.database(self._context.ledger.receipts.withdraw, receipt.id)
            self.log.error(
                "{partner}: the {kind} for {file} cannot be sent and is withdrawn, transfer {transfer}: {what}; tell the"
                " partner otherwise what became of the file",
                partner=self.report.partner,
                kind=receipt.kind.value,
                file=receipt.dataset,
                transfer=receipt.transfer_id,
                what=str(error),
            )
            return
        answer = await self._line.event()
        assert isinstance(answer, ReadyReceived)  # noqa: S101 - the tables allow nothing else here
        # Noted while the next one goes: what a crash makes forgotten is only said again.
        self._answered.add(receipt)

    async def _note_answered(self, answered: list[Receipt]) -> None:
        """RTR came for these end responses."""
        ids = [receipt.id for receipt in answered]
        await self._context.workers.database(self._context.ledger.receipts.sent, ids, self._context.now())
        for receipt in answered:
            self.log.info(
                "{partner}: sent {kind} for {file}, transfer {transfer}",
                partner=self.report.partner,
                kind=receipt.kind.value,
                file=receipt.dataset,
                transfer=receipt.transfer_id,
            )

    async def _listen(self, partner: Partner, receiving: Receiving) -> None:
        event = await self._line.event()
        match event:
            case FileOffered(command=offer):
                received = await receiving.receive(offer, wants_turn=await self._wants_turn(partner))
                if received is not None and received.kind is Kind.EXCHANGE:
                    await self._exchange.judge(partner, received, await self._proof(partner))
                elif received is not None and receiving.awaits_delivery(received):
                    self._delivery.begin(partner, received)
            case EndResponseReceived(command=response):
                await self._note(partner, response)
                self._line.request(SendReady())
            case TurnReceived():
                await receiving.settle()
            case _:
                raise LocalProtocolError(f"{type(event).__name__} in state {self._line.session.state}")

    async def _proof(self, partner: Partner) -> Proof:
        return Proof(
            authenticated=self._authenticated, mutual_tls=await proven_by_tls(self._context, partner, self._line)
        )

    async def _wants_turn(self, partner: Partner) -> bool:
        """Whether the Speaker has kept the turn for long while something waits here."""
        if self._context.reactor.seconds() - self._listening_since < self._context.config.session.turn_seconds:
            return False
        self._listening_since = self._context.reactor.seconds()
        owed = await self._context.workers.database(self._context.ledger.receipts.owed, partner.id, 1)
        if owed:
            return True
        waiting = await self._context.workers.database(
            self._context.ledger.transfers.partners_waiting, self._context.now()
        )
        return partner.id in waiting

    async def _note(self, partner: Partner, response: EndResponse) -> None:
        """An end response of the partner, judged and noted in the ledger before RTR says that we have it."""
        transfers, key, now = self._context.ledger.transfers, response.identity, self._context.now()
        # A file that this partner has never had in full it cannot answer.
        counted = self._level > Level.REVISION_1_3
        if isinstance(response, Nerp):
            kind, text = "NERP", response.text or response.reason.meaning
            reason = f"NERP {response.reason:02}"
            noting = partial(transfers.refused, key, now, reason, text=text)
        else:
            kind, text = "EERP", ""
            noting = partial(transfers.acknowledged, key, now)
        noting = partial(noting, partner_id=partner.id, in_full=True, counted=counted, answer=travelling(response))
        try:
            answered, signer = await self._judged(partner, response, noting)
        except AmbiguousError:
            self.log.warn(
                "{partner}: {kind} for one of several files, nothing changes, since release level {release_level} does not"
                " say which of this second it is: {key}; ask the partner which of them it has, and say 'oftp2d partner"
                " change {partner} --level {release_level}', so that files to come can be told apart",
                partner=partner.code,
                kind=kind,
                release_level=int(self._level),
                key=str(key),
            )
            return
        if answered is None:
            self.log.warn(
                "{partner}: {kind} for a file never sent: {key}", partner=partner.code, kind=kind, key=str(key)
            )
            return
        transfer = answered.transfer
        if answered.held:
            return
        if not answered.news:
            self.log.info(
                "{partner}: {kind} for {file}, transfer {transfer}, received again, nothing changes",
                partner=partner.code,
                kind=kind,
                file=transfer.dataset,
                transfer=transfer.id,
            )
            return
        self.log.info(
            "{partner}: {kind} received for {file}, transfer {transfer}{signed}{text}",
            partner=partner.code,
            kind=kind,
            file=transfer.dataset,
            transfer=transfer.id,
            signed=f", signed by {signer}" if signer else "",
            text=f": {text}" if text else "",
        )
        if transfer.state is TransferState.ACKNOWLEDGED or transfer.forwarded_from is not None:
            for name in transfer.spool_names:
                self._finished.add(name)
        if transfer.kind is Kind.EXCHANGE:
            await self._exchange.answered(partner, transfer, accepted=kind == "EERP", text=text)

    async def _judged(
        self, partner: Partner, response: EndResponse, noting: Callable[..., Answered | None]
    ) -> tuple[Answered | None, str]:
        """Note an end response if it counts, else hold the file open; and who signed it, for people."""
        # Most need no judgement, and cost one transaction.
        answered = await self._context.workers.database(noting, unless=partial(to_be_judged, response))
        if answered is None or not answered.held:
            return answered, ""
        judgement = await self._receipts.judge(partner, answered.transfer, response)
        if not judgement.accepted:
            return answered, ""
        if isinstance(response, Nerp):
            noting = partial(noting, text=judgement.told(response))
        return await self._context.workers.database(noting, evidence=judgement.evidence), judgement.signer

    async def _remove(self, names: list[str]) -> None:
        """Free the room of what is acknowledged; what is left because of a crash is removed at the next start."""
        try:
            await self._context.workers.disk(self._context.spool.remove_outgoing, *names)
        except SpoolError as error:
            self.log.warn("{what}; {advice}", what=error.what, advice=error.advice)

    # --- the end ------------------------------------------------------------------------------------------------

    def _broken(self, text: str, reason: EndSessionReason = EndSessionReason.UNSPECIFIED) -> None:
        """Something of ours went wrong: our log says what, the partner learns only that."""
        end_politely(self._line, reason, "the station cannot go on with this session")
        self._ended(_over(reason, text))

    def _ended(self, over: SessionOverError) -> None:
        report, end = self.report, over.end
        report.reason = EndSessionReason.NORMAL if isinstance(end, SessionReleased) else end.reason
        report.refusal = over.reason
        released = isinstance(end, SessionReleased) or over.by_us
        report.normal = report.established and released and report.reason is EndSessionReason.NORMAL
        report.text = "ended normally" if report.normal else str(over)
        (self.log.info if report.normal else self.log.warn)(
            "{partner}: session {session} with {remote}: {text}",
            partner=report.partner or "unknown",
            session=report.id,
            remote=report.remote,
            text=report.text,
        )


def _over(reason: EndSessionReason, text: str) -> SessionOverError:
    return SessionOverError(SessionAborted(origin=Origin.LOCAL, reason=reason, text=text))


def _sayable(receipt: Receipt, level: Level) -> int:
    """How much of an end response a level can say: 0 nothing, 1 all but hash and signature, 2 all."""
    if receipt.kind is ReceiptKind.NERP and level < Level.REVISION_1_4:
        return 0
    return 1 if (receipt.hash or receipt.signature) and level < Level.REVISION_2_0 else 2
