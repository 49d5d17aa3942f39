"""The control port: plain HTTP and JSON on loopback, for demonstrations and for trying things out by hand.

=======  ===========================  ==========================================================================
method   path                         body and meaning
=======  ===========================  ==========================================================================
GET      /clock                       the virtual time
POST     /clock                       ``{"set": "2026-03-01T12:00:00Z"}`` or ``{"days": 1}``, ``{"seconds": 60}``
GET      /users                       users with their certificates and locks
POST     /users                       ``{"login", "user", "password"}``, and of a user: initial, locked,
                                      terms_until; ``"certificate": false`` issues no first one
POST     /users/tan                   ``{"login", "user"}``: a new TAN
GET      /habits                      the switches
POST     /habits                      any of them
GET      /faults                      those that are on, and all there are
POST     /faults                      ``{"fault": "hang", "calls": 1, "process": "G615", "code": ""}``
DELETE   /faults                      clear them
POST     /authority                   a new generation of the certification authority
GET      /counters                    what happened, in numbers
GET      /requests                    what came, secrets masked
=======  ===========================  ==========================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource

from .faults import Fault

if TYPE_CHECKING:
    from .standin import StandIn

MAX_BODY = 65_536


class Control(Resource):
    """Answers with JSON; 400 with ``{"error"}`` for what it does not understand."""

    isLeaf = True

    def __init__(self, standin: StandIn) -> None:
        super().__init__()
        self._standin = standin
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "/clock"): self._clock,
            ("POST", "/clock"): self._move,
            ("GET", "/users"): self._users,
            ("POST", "/users"): self._enrol,
            ("POST", "/users/tan"): self._tan,
            ("GET", "/habits"): self._habits,
            ("POST", "/habits"): self._change,
            ("GET", "/faults"): self._faults,
            ("POST", "/faults"): self._fault,
            ("DELETE", "/faults"): self._clear,
            ("POST", "/authority"): self._roll_over,
            ("GET", "/counters"): lambda _: self._standin.counters(),
            ("GET", "/requests"): lambda _: [asdict(each) for each in self._standin.seen],
        }

    def render(self, request: HttpRequest) -> bytes:
        """One request."""
        request.setHeader("Content-Type", "application/json")
        # A page in a browser could otherwise reach a port on loopback under a name of its own.
        host = (request.getHeader("Host") or "").rpartition(":")[0]
        route = self._routes.get((request.method.decode("ascii", "replace"), request.path.decode("ascii", "replace")))
        if route is None or host not in {"127.0.0.1", "localhost", "[::1]"}:
            request.setResponseCode(404)
            return _json({"error": "there is no such thing here"})
        try:
            content = request.content.read(MAX_BODY)
            body = json.loads(content) if content else {}
            return _json(route(dict(body)))
        except (KeyError, TypeError, ValueError) as error:
            request.setResponseCode(400)
            return _json({"error": f"{type(error).__name__}: {error}"})

    def _clock(self, _: dict[str, Any]) -> Any:
        return {"now": self._standin.clock.now()}

    def _move(self, body: dict[str, Any]) -> Any:
        if "set" in body:
            self._standin.clock.set(datetime.fromisoformat(body["set"]))
        else:
            self._standin.clock.advance(timedelta(days=body.get("days", 0), seconds=body.get("seconds", 0)))
        return self._clock(body)

    def _users(self, _: dict[str, Any]) -> Any:
        return [
            {
                "login": user.login,
                "user": user.user,
                "locked": user.locked,
                "failures": user.failures,
                "certificates": [
                    {
                        "serial": f"{issue.serial:x}",
                        "made_at": issue.made_at,
                        "ends": issue.ends,
                        "downloads": issue.downloads,
                        "used": issue.used,
                        "confirmed": issue.confirmed,
                        "revoked": issue.serial in self._standin.authorities.revoked,
                    }
                    for issue in user.issues
                ],
            }
            for user in self._standin.users.all()
        ]

    def _enrol(self, body: dict[str, Any]) -> Any:
        login, user, password = (str(body.pop(each)) for each in ("login", "user", "password"))
        certificate = bool(body.pop("certificate", True))
        if "terms_until" in body:
            body["terms_until"] = datetime.fromisoformat(body["terms_until"])
        enrolled = self._standin.enrol(login, user, password, certificate=certificate, **body)
        container, passphrase = enrolled.container_path, enrolled.passphrase_path
        return {"container": container and str(container), "passphrase": passphrase and str(passphrase)}

    def _tan(self, body: dict[str, Any]) -> Any:
        return {"tan": self._standin.tan(body["login"], body["user"])}

    def _habits(self, _: dict[str, Any]) -> Any:
        return asdict(self._standin.habits)

    def _change(self, body: dict[str, Any]) -> Any:
        self._standin.change(**body)
        return self._habits(body)

    def _faults(self, _: dict[str, Any]) -> Any:
        return {"on": [asdict(each) for each in self._standin.faults.all()], "known": list(Fault)}

    def _fault(self, body: dict[str, Any]) -> Any:
        self._standin.faults.on(Fault(body.pop("fault")), **body)
        return self._faults(body)

    def _clear(self, body: dict[str, Any]) -> Any:
        self._standin.faults.clear()
        return self._faults(body)

    def _roll_over(self, _: dict[str, Any]) -> Any:
        self._standin.authorities.roll_over()
        return {"generation": len(self._standin.authorities.roots)}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, default=_plain).encode() + b"\n"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    raise TypeError(f"no JSON for {type(value).__name__}")
