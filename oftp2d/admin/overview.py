"""Routes: the status, our stations, and the audit trail."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from klein import Klein

from oftp2d.ledger import Ledger, Partner, Station
from oftp2d.metrics import CONTENT_TYPE

from . import credentialsets, documents
from .collaborators import Desk
from .fields import InputError
from .http import HttpRequest
from .lookup import all_partners
from .routing import Document, MissingError, body, query, route

LATELY: Final = timedelta(days=1)
"""For so long the status tells of files of partners that could not be opened."""


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""

    @route(app, "GET", "/v1/status")
    async def status(request: HttpRequest) -> Document:
        """What the station does: listeners, sessions, transfers by state, partners that can't be reached, warnings.

        ``credential_sets``: how many there are in each phase, blocked, and with faults.
        ``unopened``: how many files of partners were refused within the last day because they could not be opened.
        """
        query(request).finish()
        stations, counts, owed, unopened, partners = await desk.workers.database(_standing, desk.ledger, desk.now())
        return {
            "version": desk.version,
            "started_at": documents.moment(desk.started_at),
            "stations": [documents.station(each) for each in stations],
            "listeners": [
                {"transport": each.transport, "host": each.host, "port": each.port} for each in desk.house.listeners()
            ],
            "sessions": [
                {
                    "partner": each.partner,
                    "role": each.role,
                    "state": each.state,
                    "since": documents.moment(each.since),
                    "remote": each.remote,
                }
                for each in desk.house.sessions()
            ],
            "transfers": counts,
            "end_responses_owed": owed,
            "unopened": unopened,
            "partners": len(partners),
            "unreachable": [
                {
                    "partner": each.code,
                    "failed_calls": each.call_failures,
                    "last_error": each.last_error,
                    "next_call_at": documents.moment(each.next_call_at),
                }
                for each in partners
                if each.call_failures
            ],
            "credential_sets": credentialsets.counts(await desk.renewer.standings()),
            "warnings": list(desk.house.warnings()),
        }

    @route(app, "GET", "/metrics")
    async def metrics(request: HttpRequest) -> None:
        """Numbers for monitoring, in the text format of Prometheus."""
        query(request).finish()
        text = await desk.workers.database(desk.metrics.text, desk.now())
        request.setHeader(b"Content-Type", CONTENT_TYPE.encode("ascii"))
        request.write(text)

    @route(app, "GET", "/v1/stations")
    async def stations(request: HttpRequest) -> Document:
        """Our stations."""
        query(request).finish()
        found = await desk.workers.database(desk.ledger.stations.list)
        return {"stations": [documents.station(each) for each in found]}

    @route(app, "POST", "/v1/stations")
    async def add_station(request: HttpRequest) -> Document:
        """Add a station: ``code``, ``name``, ``main``."""
        fields = body(request)
        code, name = fields.code("code"), fields.text("name", longest=100)
        main = fields.flag("main", default=False)
        fields.finish()
        if code is None:
            raise InputError("code is missing", "give it")
        station = Station(code=code, name=name, main=main)
        added = await desk.workers.database(_add_station, desk, station)
        return documents.station(added)

    @route(app, "POST", "/v1/stations/<path:code>/main")
    async def set_main_station(request: HttpRequest, code: str) -> Document:
        """Make a station the main one."""
        body(request).finish()
        station = await desk.workers.database(_set_main_station, desk, code.upper())
        desk.house.certificates_changed()
        return documents.station(station)

    @route(app, "DELETE", "/v1/stations/<path:code>")
    async def remove_station(request: HttpRequest, code: str) -> Document:
        """Remove a station that nothing uses any more; not the main one."""
        query(request).finish()
        return documents.station(await desk.workers.database(_remove_station, desk, code.upper()))

    @route(app, "GET", "/v1/audit")
    async def audit(request: HttpRequest) -> Document:
        """What happened to certificates and security, newest first, of one ``partner`` or ``event`` if given."""
        fields = query(request)
        partner, event = fields.code("partner"), fields.optional("event", longest=50)
        limit, before = fields.limit(), fields.whole("before", 1, 2**62)
        fields.finish()
        found = await desk.workers.database(desk.ledger.audit.list, partner, event, limit=limit, before=before)
        return {"entries": [documents.audit_entry(each) for each in found]}


def _standing(ledger: Ledger, now: datetime) -> tuple[list[Station], dict[str, int], int, int, list[Partner]]:
    counts = {state.value: count for state, count in ledger.transfers.counts().items()}
    unopened = ledger.transfers.unopened(now - LATELY)
    return list(ledger.stations.list()), counts, ledger.receipts.count_owed(), unopened, all_partners(ledger)


def _add_station(desk: Desk, station: Station) -> Station:
    added = desk.ledger.stations.add(station)
    desk.ledger.audit.record(desk.now(), None, "station added", {"code": station.code, "main": station.main})
    return added


def _set_main_station(desk: Desk, code: str) -> Station:
    station = desk.ledger.stations.set_main(_known(desk.ledger, code))
    desk.ledger.audit.record(desk.now(), None, "main station changed", {"code": code})
    return station


def _remove_station(desk: Desk, code: str) -> Station:
    removed = desk.ledger.stations.remove(_known(desk.ledger, code))
    desk.ledger.audit.record(desk.now(), None, "station removed", {"code": code})
    return removed


def _known(ledger: Ledger, code: str) -> str:
    if ledger.stations.get(code) is None:
        raise MissingError(f"{code} is no station of ours", "see 'oftp2d station list'")
    return code
