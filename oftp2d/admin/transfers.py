"""Routes: files to send, transfers of both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO, cast

from klein import Klein

from oftp2.cms.suites import SUITES
from oftp2.records import BLOCK
from oftp2.values import FileFormat, is_dataset_name
from oftp2d.acx import message_of
from oftp2d.agreement import Services, Wish, receipt_gaps, sending_gaps, services
from oftp2d.errors import OperatorError
from oftp2d.evidence import render
from oftp2d.exhibits import evidence_of, has_evidence
from oftp2d.forwarding import forget
from oftp2d.ledger import (
    Direction,
    Forwarding,
    Kind,
    Ledger,
    NewOutgoing,
    Partner,
    Traffic,
    Transfer,
    TransferState,
)
from oftp2d.local import LONGEST_FIXED, Form, Outgoing, Text, stage

from . import documents
from .bodies import BoundedBody, send_content
from .collaborators import Desk
from .fields import Fields, InputError, dataset_name
from .http import HttpRequest
from .lookup import certificates_of, partner_of, partners_for, transfer_of
from .routing import Document, MissingError, TooLargeError, body, query, route

LONGEST_DESCRIPTION = 999
"""Octets of SFIDDESC, RFC 5024 5.3.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """Where a file is to go, as the request says."""

    partner: str
    dataset: str
    file_name: str
    originator: str | None
    destination: str | None
    description: str
    form: Form
    wish: Wish


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_reading(app, desk)
    _add_sending(app, desk)


def _add_reading(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/transfers")
    async def transfers(request: HttpRequest) -> Document:
        """Transfers, newest first, of one ``state``, ``direction``, ``kind`` or ``partner`` if given."""
        fields = query(request)
        state, direction = fields.choice("state", TransferState), fields.choice("direction", Direction)
        kind, code = fields.choice("kind", Kind), fields.code("partner")
        limit, before = fields.limit(), fields.optional("before", longest=40)
        fields.finish()

        def find(ledger: Ledger) -> tuple[Sequence[Transfer], dict[int, Partner], dict[str, Forwarding]]:
            found = ledger.transfers.list(
                direction=direction,
                state=state,
                partner_id=partner_of(ledger, code).id if code else None,
                kind=kind,
                limit=limit,
                before=before,
            )
            forwardings = ledger.forwardings.of([each.id for each in found])
            return found, partners_for(ledger, [each.partner_id for each in found]), forwardings

        found, partners, forwardings = await desk.workers.database(find, desk.ledger)
        return {
            "transfers": [_document(desk, each, partners[each.partner_id], forwardings.get(each.id)) for each in found]
        }

    @route(app, "GET", "/v1/transfers/<transfer_id>")
    async def transfer(request: HttpRequest, transfer_id: str) -> Document:
        """One of them; with the certificates of the store among those it is signed with or encrypted for."""
        query(request).finish()
        return await _one(desk, await desk.workers.database(transfer_of, desk.ledger, transfer_id))

    @route(app, "GET", "/v1/transfers/<transfer_id>/raw")
    async def raw(request: HttpRequest, transfer_id: str) -> None:
        """The content of a refused file as it came, as octets."""
        query(request).finish()
        transfer = await desk.workers.database(transfer_of, desk.ledger, transfer_id)
        if transfer.raw_name is None:
            raise MissingError(
                f"the content of {transfer_id} is not kept",
                "what cannot be opened is kept for a while (spool.keep_refused_hours), nothing else; see"
                f" 'oftp2d transfer show {transfer_id}'",
            )
        await send_content(request, desk.workers, transfer, partial(desk.spool.open_refused, transfer.raw_name))

    @route(app, "GET", "/v1/transfers/<transfer_id>/evidence")
    async def evidence(request: HttpRequest, transfer_id: str) -> Document:
        """The signed end response of one of them as an evidence file, which proves by itself what became of the file."""
        query(request).finish()
        found = await desk.workers.database(evidence_of, desk.ledger, desk.certificates, transfer_id)
        text = await desk.workers.crypto(render, found)
        return {"transfer": transfer_id, "dataset": found.command.dataset, "evidence": text}


def _add_sending(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/transfers")
    async def send(request: HttpRequest) -> Document:
        """Send a file: its octets are the body, ``partner``, ``dataset``, ``file_name``, ``format`` ... the query.

        ``sign``, ``compress``, ``encrypt``, ``suite`` and ``signed_receipt`` stand for this file in place of what is agreed
        with the partner.
        """
        letter = _letter(query(request))
        partner, originator, destination, done = await desk.workers.database(_addressed, desk, letter)
        outgoing = await _staged(request, desk, letter.form, Text.of(partner))
        new = NewOutgoing(
            kind=Kind.FILE,
            partner_id=partner.id,
            dataset=letter.dataset,
            originator=originator,
            destination=destination,
            format=letter.form.format.value,
            record_length=outgoing.record_length,
            records=outgoing.records,
            octets=outgoing.octets,
            spool_name=outgoing.staged.name,
            file_name=letter.file_name,
            description=letter.description,
            sha256=outgoing.staged.sha256,
            security=done.security,
            cipher=done.cipher,
            compression=done.compression,
            envelope=done.envelope,
            signed_response=done.signed_receipt,
            original_size=-(-outgoing.staged.octets // BLOCK) if done.envelope else None,
        )
        try:
            queued = await desk.workers.database(desk.ledger.transfers.queue, new, desk.now())
        except OperatorError:
            await desk.workers.disk(desk.spool.remove_outgoing, outgoing.staged.name)
            raise
        _nudge(desk, queued)
        return _document(desk, queued, partner)

    @route(app, "POST", "/v1/transfers/<transfer_id>/retry")
    async def retry(request: HttpRequest, transfer_id: str) -> Document:
        """Send again what failed, was cancelled or refused; with ``new_stamp`` as a new file with another time stamp.

        With ``as_agreed`` that, too, and signed, compressed and encrypted as is agreed with the partner now, whatever was
        done to it before.
        """
        fields = body(request)
        new_stamp, as_agreed = (fields.flag(name, default=False) for name in ("new_stamp", "as_agreed"))
        fields.finish()
        known = await desk.workers.database(transfer_of, desk.ledger, transfer_id)
        agreed = await desk.workers.database(_agreed, desk, known) if as_agreed else None
        queued = await desk.workers.database(
            desk.ledger.transfers.retry, known.id, desk.now(), new_stamp=new_stamp, secured_as=agreed
        )
        _nudge(desk, queued)
        if known.spool_name != queued.spool_name:
            # It is secured anew.
            await desk.workers.disk(desk.spool.remove_outgoing, known.spool_name)
        return await _one(desk, queued)

    @route(app, "POST", "/v1/transfers/<transfer_id>/cancel")
    async def cancel(request: HttpRequest, transfer_id: str) -> Document:
        """Give up what waits or failed, whose content is kept for a retry, or what broke off on its way in.

        Of a file that is forwarded also when it was sent and got no end response; its content is removed.
        """
        body(request).finish()
        known = await desk.workers.database(transfer_of, desk.ledger, transfer_id)
        cancelled = await desk.workers.database(_cancelled, desk, known.id)
        desk.securing.abandon(cancelled.id)
        await forget(desk.workers, desk.spool, cancelled)
        return await _one(desk, cancelled)


def _nudge(desk: Desk, queued: Transfer) -> None:
    """Have it go on: to be secured, or to be sent."""
    if queued.state is TransferState.SECURING:
        desk.securing.nudge()
    else:
        desk.dialler.nudge(queued.partner_id)


async def _one(desk: Desk, transfer: Transfer) -> Document:
    partner = await desk.workers.database(desk.ledger.partners.get, transfer.partner_id)
    forwardings = await desk.workers.database(desk.ledger.forwardings.of, [transfer.id])
    forwarding = forwardings.get(transfer.id)
    # What is only passed on is evidence for those it is between.
    evidence = forwarding is None and await desk.workers.database(has_evidence, desk.ledger, transfer)
    fingerprints = dict.fromkeys((*transfer.signers, *transfer.recipients))
    used = await desk.workers.database(certificates_of, desk.ledger, fingerprints)
    return {
        **_document(desk, transfer, partner, forwarding),
        "evidence": evidence,
        "certificates": [documents.certificate_name(each) for each in used],
    }


def _document(desk: Desk, transfer: Transfer, partner: Partner, forwarding: Forwarding | None = None) -> Document:
    house = desk.house
    return documents.transfer(
        transfer,
        partner,
        desk.now(),
        moved=house.progress(transfer.id),
        trouble=house.trouble(transfer.id),
        forwarding=forwarding,
    )


def _cancelled(desk: Desk, transfer_id: str) -> Transfer:
    """Cancel; nobody waits any more for the rest of a file that broke off.

    A partner that sends it all the same begins at its beginning. In the database worker: so no session opens it again
    before what is there of it is gone.
    """
    cancelled = desk.ledger.transfers.cancel(transfer_id, desk.now())
    if cancelled.direction is Direction.IN:
        desk.spool.discard_part(cancelled.spool_name)
    return cancelled


def _letter(fields: Fields) -> Letter:
    partner = fields.code("partner")
    given = fields.optional("dataset", longest=26)
    file_name = fields.optional("file_name", longest=255) or ""
    originator, destination = fields.code("originator"), fields.code("destination")
    description = fields.block("description", longest=LONGEST_DESCRIPTION) or ""
    format_ = fields.choice("format", FileFormat) or FileFormat.UNSTRUCTURED
    record_length = fields.whole("record_length", 1, LONGEST_FIXED)
    wish = Wish(
        sign=fields.wish("sign"),
        compress=fields.wish("compress"),
        encrypt=fields.wish("encrypt"),
        suite=fields.whole("suite", min(SUITES), max(SUITES)),
        signed_receipt=fields.wish("signed_receipt"),
    )
    fields.finish()
    if partner is None:
        raise InputError("partner is missing", "give its code")
    dataset = given or dataset_name(file_name)
    if not is_dataset_name(dataset):
        raise InputError(
            f"{dataset!r} is no dataset name",
            "use 1 to 26 characters: capitals, digits, / - . & ( ) _ and blanks between them",
        )
    if message_of(dataset) is not None:
        raise InputError(
            f"{dataset} is a name of the certificate exchange",
            "use 'oftp2d exchange' for certificates, and another name for a file",
        )
    if len(description.encode("utf-8", "replace")) > LONGEST_DESCRIPTION:
        raise InputError("the description is too long", f"use at most {LONGEST_DESCRIPTION} octets in UTF-8")
    return Letter(
        partner=partner,
        dataset=dataset,
        file_name=file_name,
        originator=originator,
        destination=destination,
        description=description,
        form=Form(format=format_, record_length=record_length or 0),
        wish=wish,
    )


def _addressed(desk: Desk, letter: Letter) -> tuple[Partner, str, str, Services]:
    """The partner, SFIDORIG and SFIDDEST of a file, and what is done to it.

    Both codes must belong where they are said to, and what is to be done must be possible.
    """
    partner = partner_of(desk.ledger, letter.partner)
    originator = letter.originator or partner.station
    if desk.ledger.stations.get(originator) is None:
        raise InputError(f"{originator} is no station of ours", "see 'oftp2d station list'")
    if partner.mode is Traffic.RECEIVE:
        raise InputError(
            f"we only receive from {partner.code}", f"say 'oftp2d partner change {partner.code} --mode both' before"
        )
    destination = letter.destination or partner.code
    if destination not in {partner.code, *partner.sub_stations}:
        raise InputError(
            f"{destination} is no code of {partner.code}", "see 'oftp2d partner show', or add it as sub-station"
        )
    chosen = services(partner, letter.wish)
    _check_gaps(desk, partner, chosen, originator=originator, destination=destination)
    return partner, originator, destination, chosen


def _agreed(desk: Desk, transfer: Transfer) -> Mapping[str, int]:
    """What is to be done to a file of ours by what is agreed with its partner now. Raises OperatorError."""
    if transfer.kind is not Kind.FILE:
        raise InputError(f"{transfer.id} belongs to the certificate exchange", "such messages go as they are")
    partner = desk.ledger.partners.get(transfer.partner_id)
    chosen = services(partner, Wish())
    _check_gaps(desk, partner, chosen, originator=transfer.originator, destination=transfer.destination)
    return chosen.fields


def _check_gaps(desk: Desk, partner: Partner, chosen: Services, *, originator: str, destination: str) -> None:
    """Raises OperatorError where a certificate is missing for what is to be done to a file, or for its receipt."""
    store, now = desk.certificates, desk.now()
    missing = chain(
        sending_gaps(chosen, partner, store, originator=originator, destination=destination, now=now),
        receipt_gaps(chosen, partner, store, destination=destination, now=now),
    )
    for gap in missing:
        raise OperatorError(gap.what, gap.advice)


async def _staged(request: HttpRequest, desk: Desk, form: Form, text: Text) -> Outgoing:
    """The body of the request, in the spool as it is to travel."""
    content: object = request.content
    if isinstance(content, BoundedBody) and content.overflowed:
        raise TooLargeError(
            f"the file has more than {desk.limits.max_file_octets} octets", "raise limits.max_file_octets"
        )
    if isinstance(content, BoundedBody) and content.fault is not None:
        raise OperatorError(
            f"the disk of the spool did not take the file ({content.fault.strerror})",
            "free some room on it, or check it and its rights",
        )
    return await desk.workers.disk(stage, desk.spool, cast("BinaryIO", content), form, text)
