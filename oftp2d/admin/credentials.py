"""Routes: credential sets, how they stand, and all that is done with them by hand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from oftp2d.errors import OperatorError
from oftp2d.renewal.standing import Standing
from oftp2d.settings import IN_STORE
from oftp2d.vault import Secret

from . import documents
from .collaborators import Desk
from .credentialsets import counts, credential_set, fault, planned
from .fields import LARGEST_BODY, Fields, InputError
from .http import HttpRequest
from .routing import Document, MissingError, body, query, route

LONGEST_NAME: Final = 64
LONGEST_SECRET: Final = 1000

T = TypeVar("T")
_log = Logger(namespace="admin")


def add_routes(app: Klein, desk: Desk) -> None:
    """Add the routes of this module."""
    _add_looking(app, desk)
    _add_running(app, desk)
    _add_switching(app, desk)
    _add_keeping(app, desk)


def _add_looking(app: Klein, desk: Desk) -> None:
    @route(app, "GET", "/v1/credential-sets")
    async def listing(request: HttpRequest) -> Document:
        """All credential sets with where each stands, how many there are of each kind, and faults of the definitions."""
        query(request).finish()
        found = await desk.renewer.standings()
        return {
            "credential_sets": [credential_set(each) for each in found],
            "counts": counts(found),
            "faults": [fault(each) for each in desk.renewer.definitions.faults],
        }

    @route(app, "POST", "/v1/credential-sets/plan")
    async def plan(request: HttpRequest) -> Document:
        """Read the definitions anew; what would be done when, and why, of all sets or of one ``set``."""
        fields = body(request)
        name = fields.optional("set", longest=LONGEST_NAME)
        fields.finish()
        read = await desk.renewer.reload()
        if name is not None:
            _there(desk, name)
        found = [await desk.renewer.standing(name)] if name else await desk.renewer.standings()
        return {"plans": [planned(each) for each in found], "faults": [fault(each) for each in read.faults]}

    @route(app, "GET", "/v1/credential-sets/<string:name>")
    async def one(request: HttpRequest, name: str) -> Document:
        """One credential set: its credentials, who was told, what there is to do, and what its plugin knows besides."""
        _there(desk, name)
        query(request).finish()
        return credential_set(await desk.renewer.standing(name))

    @route(app, "GET", "/v1/credential-sets/<string:name>/history")
    async def history(request: HttpRequest, name: str) -> Document:
        """The audit trail of one credential set, newest first."""
        _there(desk, name)
        fields = query(request)
        limit, before = fields.limit(), fields.whole("before", 1, 2**62)
        fields.finish()
        found = await desk.workers.database(desk.ledger.credential_sets.history, name, limit, before=before)
        return {"entries": [documents.audit_entry(each) for each in found]}


def _add_running(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/credential-sets/run")
    async def run_due(request: HttpRequest) -> Document:
        """Look after all sets whose time has come, as is done each minute; answers at once, with their names."""
        body(request).finish()
        due = [each.name for each in await desk.renewer.standings() if each.next_at and each.next_at <= each.now]
        _begun(desk.renewer.run_due()).addErrback(lambda _: None)
        return {"due": due}

    @route(app, "POST", "/v1/credential-sets/<string:name>/run")
    async def run(request: HttpRequest, name: str) -> Document:
        """Ask the source for the next credential now, with a ``tan`` if given, and take it all the way.

        Answers when the attempt is over; it goes on when nobody waits for the answer.
        """
        _there(desk, name)
        fields = body(request)
        tan = _secret(fields, "tan")
        fields.finish()
        return await _standing(desk.renewer.run(name, tan=tan))

    @route(app, "POST", "/v1/credential-sets/<string:name>/probe")
    async def probe(request: HttpRequest, name: str) -> Document:
        """Try the credential on its way, or else the one in use: ``ok`` is null where there is nothing to try it with."""
        _there(desk, name)
        body(request).finish()
        trial = await _to_its_end(desk.renewer.probe(name))
        return {"name": name, "ok": trial.ok, "text": trial.text, "advice": trial.advice}


def _add_switching(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/credential-sets/<string:name>/activate")
    async def activate(request: HttpRequest, name: str) -> Document:
        """Put a credential into use: that on its way, or a ``candidate`` by its id; ``anyway`` with what may be overruled."""
        _there(desk, name)
        fields = body(request)
        anyway, candidate = fields.flag("anyway", default=False), fields.whole("candidate", 1, 2**62)
        fields.finish()
        return await _standing(desk.renewer.activate(name, anyway=anyway, candidate=candidate))

    @route(app, "POST", "/v1/credential-sets/<string:name>/rollback")
    async def rollback(request: HttpRequest, name: str) -> Document:
        """Put the former credential back into use."""
        _there(desk, name)
        body(request).finish()
        return await _standing(desk.renewer.rollback(name))

    @route(app, "POST", "/v1/credential-sets/<string:name>/import")
    async def import_(request: HttpRequest, name: str) -> Document:
        """Bring a credential, ``content_base64`` with its ``passphrase``; it goes the way of one that was fetched."""
        _there(desk, name)
        fields = body(request)
        content, passphrase = _content(fields), _secret(fields, "passphrase")
        fields.finish()
        opening = Secret(passphrase.reveal().encode()) if passphrase else None
        return await _standing(desk.renewer.bring(name, content, opening))


def _add_keeping(app: Klein, desk: Desk) -> None:
    @route(app, "POST", "/v1/credential-sets/<string:name>/unblock")
    async def unblock(request: HttpRequest, name: str) -> Document:
        """Let the station ask the source again, behind a block that was put right."""
        _there(desk, name)
        body(request).finish()
        return await _standing(desk.renewer.unblock(name))

    @route(app, "POST", "/v1/credential-sets/<string:name>/secret")
    async def secret(request: HttpRequest, name: str) -> Document:
        """Set a secret that the definition keeps in the store: ``value``, and its ``name`` where there are several."""
        _there(desk, name)
        fields = body(request)
        called, value = fields.optional("name", longest=LONGEST_NAME), _secret(fields, "value")
        fields.finish()
        if value is None:
            raise InputError("value is missing", "give it")
        called = await _chosen(desk, name, called)
        return {"secret": called, **await _standing(desk.renewer.keep_secret(name, called, value))}


def _there(desk: Desk, name: str) -> None:
    """Raises MissingError where no file defines a set of that name, not even with faults."""
    read = desk.renewer.definitions
    if name not in read.sets and not any(each.name == name for each in read.faults):
        raise MissingError(f"there is no credential set {name!r}", "see 'oftp2d renew status' for those there are")


async def _chosen(desk: Desk, name: str, called: str | None) -> str:
    """Which secret of a set is meant: that of this name, or the only one that the definition keeps in the store."""
    definition = (await desk.renewer.standing(name)).definition
    if definition is None:
        raise OperatorError(f"the definition of {name} has a fault", "correct it, see 'oftp2d check'")
    plugin = await desk.workers.disk(desk.renewer.registry.plugin, definition.plugin)
    if called is not None:
        if called not in plugin.secrets:
            known = ", ".join(plugin.secrets) or "none"
            raise InputError(f"{name} has no secret called {called!r}", f"known here are: {known}")
        return called
    kept = [each for each in plugin.secrets if getattr(definition.options, each, None) == IN_STORE]
    if len(kept) != 1:
        advice = (
            f"say which: {', '.join(kept)}" if kept else 'write NAME = "store" into its definition for the one you mean'
        )
        raise OperatorError(f"{name} keeps {len(kept) or 'no'} secrets in the store", advice)
    return kept[0]


async def _standing(work: Coroutine[Any, Any, Standing]) -> Document:
    return credential_set(await _to_its_end(work))


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for what goes on when whoever asked has left: a request may be given up, an attempt at a source must not be."""
    waiting: Deferred[T] = Deferred()
    _begun(work).addBoth(lambda result: None if waiting.called else waiting.callback(result))
    return await waiting


def _begun(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Begin it. What it says to operators is the ledger's already; a mistake of ours is logged, whoever waits for it."""

    def failed(failure: Failure) -> Failure:
        if not isinstance(failure.value, OperatorError):
            _log.failure("looking after a credential set failed", failure)
        return failure

    return Deferred.fromCoroutine(work).addErrback(failed)


def _secret(fields: Fields, name: str) -> Secret[str] | None:
    value = fields.secret(name, longest=LONGEST_SECRET, plain=False)
    return Secret(value) if value else None


def _content(fields: Fields) -> Secret[bytes]:
    text = fields.block("content_base64", longest=LARGEST_BODY)
    try:
        content = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        raise InputError("content_base64 is missing, or no base64", "give the octets of the file in base64")
    return Secret(content)
