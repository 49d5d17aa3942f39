"""From HTTP to functions and back: the one wrapper around every route, and how errors are answered."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from werkzeug.exceptions import HTTPException

from oftp2d.errors import OperatorError
from oftp2d.ledger import IllegalMoveError, UnknownError

from .fields import LARGEST_BODY, Fields, InputError
from .http import HttpRequest

Document = Mapping[str, Any]
Handler = Callable[..., Awaitable[Document | None]]

_log = Logger()


class MissingError(OperatorError):
    """What the request is about does not exist."""


class TooLargeError(OperatorError):
    """The content is larger than the station takes."""


def route(app: Klein, method: str, path: str) -> Callable[[Handler], Handler]:
    """Add a route. The function gets the request and the parts of the path, and returns the document.

    None means that it has answered itself. Errors meant for people are answered with 4xx; anything else is a
    mistake of ours: one log line, and 500 without its details.
    """

    def add(function: Handler) -> Handler:
        async def answer(request: HttpRequest, **parts: str) -> bytes | None:
            try:
                document = await function(request, **parts)
            except CancelledError:
                raise
            except OperatorError as error:
                return _refusal(request, _status(error), error)
            except IllegalMoveError as error:
                advice = "see 'oftp2d transfer show' for its state"
                return _refusal(request, 409, OperatorError(str(error), advice))
            except Exception:  # noqa: BLE001 - the border: nothing may end the daemon or reach the client
                _log.failure("request {method} {path} failed", method=method, path=path)
                return _refusal(request, 500, OperatorError("the daemon made a mistake", "see its log"))
            return None if document is None else write(request, 200, document)

        answer.__doc__ = function.__doc__  # which is what the reference says of the route
        app.route(path, methods=[method], endpoint=f"{method} {path}")(answer)
        return function

    return add


def answer_unrouted(app: Klein) -> None:
    """Answer requests for what does not exist in JSON, too."""

    def unrouted(request: IRequest, failure: Failure) -> bytes:
        code = getattr(failure.value, "code", None) or 404
        error = OperatorError("there is no such resource", "check that command and daemon are the same version")
        return _refusal(cast("HttpRequest", request), code, error)

    app.handle_errors(HTTPException)(unrouted)


def write(request: HttpRequest, status: int, document: Document) -> bytes:
    """Set status and headers for the document; its octets."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return json.dumps(document).encode("ascii")


def body(request: HttpRequest) -> Fields:
    """The fields of the body of a request."""
    return Fields.of_body(request.content.read(LARGEST_BODY + 1) if request.content else b"")


def query(request: HttpRequest) -> Fields:
    """The fields of the query string of a request."""
    return Fields.of_query(request.args or {})


def _refusal(request: HttpRequest, status: int, error: OperatorError) -> bytes:
    return write(request, status, {"error": {"what": error.what, "advice": error.advice}})


def _status(error: OperatorError) -> int:
    match error:
        case InputError():
            return 400
        case UnknownError() | MissingError():
            return 404
        case TooLargeError():
            return 413
        case _:
            return 409
