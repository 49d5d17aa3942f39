"""The stand-in as a whole: everything behind one object, for tests in their own reactor and for the program."""

from __future__ import annotations

import ipaddress
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import Site

from . import messages
from .authority import Authorities, NewKey, generated
from .clock import VirtualClock
from .control import Control
from .faults import Faults
from .habits import Habits
from .issuing import Issue, Issuing
from .papers import Addresses, bundle, profile, write_private
from .processes import Place, Processes
from .server import Diary, Handshakes, Seen, Service
from .users import User, Users


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    """A new user; the paths and the issue are None where no certificate was made."""

    user: User
    issue: Issue | None = None
    container_path: Path | None = None
    passphrase_path: Path | None = None


class StandIn:
    """Made, started, used, stopped. All files it writes are in ``folder``."""

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        *,
        now: datetime,
        new_key: NewKey = generated,
        habits: Habits | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """``host`` is an address of loopback, written as an address; raises ValueError for any other."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the stand-in listens on loopback only, and {host} is another address")
        self._reactor = reactor
        self._host = host
        self.folder = folder
        self.clock = VirtualClock(now)
        self.habits = habits or Habits()
        self.authorities = Authorities(new_key)
        self.users = Users()
        self.faults = Faults()
        self.diary = Diary()
        self.issuing = Issuing(self.authorities)
        self.processes = Processes(self.clock, self.users, self.issuing, lambda: self.habits)
        self._ports: list[Any] = []
        self._tls: list[TLSMemoryBIOFactory] = []
        self.addresses: Addresses | None = None

    # --- running --------------------------------------------------------------------------------------------------

    async def start(self) -> Addresses:
        """Listen on three free ports, and write the profile and the bundle."""
        tan = self._listen(self._service(Place.TAN), client=False)
        certified = self._listen(self._service(Place.WITH_CERT), self._service(Place.SUPPORT), client=True)
        control = self._open(_Site(Control(self), reactor=self._reactor))
        self._where = (tan, certified, control)
        self._write_papers()
        assert self.addresses is not None
        return self.addresses

    async def stop(self) -> None:
        """Close everything, calls that hang included, and wait for the end of it."""
        for port in self._ports:
            await port.stopListening()
        for factory in self._tls:
            while factory.protocols:
                for protocol in list(factory.protocols):
                    protocol.abortConnection()
                await task.deferLater(self._reactor, 0.005)
        self._ports.clear()
        self._tls.clear()

    # --- what it is told ------------------------------------------------------------------------------------------

    def enrol(self, login: str, user: str, password: str, *, certificate: bool = True, **more: Any) -> Enrolled:
        """A new user with a first certificate from now on, written to the folder ``users`` with its passphrase beside it.

        ``more``: other fields of a user, such as ``initial`` or ``terms_until``.
        """
        now = self.clock.now()
        if unknown := set(more) - {"initial", "locked", "terms_until"}:
            raise ValueError(f"a user has no {', '.join(sorted(unknown))}")
        if any(not (1 <= len(each) <= 20 and each.replace("-", "").isalnum()) for each in (login, user)):
            raise ValueError("login and user have up to 20 letters, digits and hyphens")
        found = User(login=login, user=user, password=password, changed_at=now, **more)
        self.users.add(found)
        if not certificate:
            return Enrolled(user=found)
        issue = self.issuing.first(found, self.habits, now)
        container = self.folder / "users" / f"{login}.{user}.p12"
        passphrase = container.with_suffix(".passphrase")
        write_private(container, issue.container)
        write_private(passphrase, issue.secret.encode())
        return Enrolled(user=found, issue=issue, container_path=container, passphrase_path=passphrase)

    def tan(self, login: str, user: str) -> str:
        """A new TAN for a user; raises ValueError for one that there is not."""
        found = self.users.get(login, user)
        if found is None:
            raise ValueError("there is no such user")
        return self.issuing.tan(found, self.habits, self.clock.now())

    def change(self, **habits: Any) -> None:
        """Change switches from the next call on; the profile is written anew. Raises ValueError."""
        self.habits = self.habits.but(**habits)
        if self._ports:
            self._write_papers()

    # --- what it tells --------------------------------------------------------------------------------------------

    @property
    def profile_path(self) -> Path:
        """The profile; its name without the suffix is that of the profile."""
        return self.folder / "standin.toml"

    @property
    def bundle_path(self) -> Path:
        """The authority of its servers, PEM."""
        return self.folder / "ca.pem"

    @property
    def seen(self) -> deque[Seen]:
        """The requests that came, the newest last."""
        return self.diary.seen

    def counters(self) -> dict[str, int]:
        """What happened, in numbers."""
        counted = self.processes
        told = {"authentications": counted.authentications, "authentication failures": counted.failures}
        return told | dict(sorted(self.diary.counters.items()))

    # --- inside ---------------------------------------------------------------------------------------------------

    def _service(self, place: Place) -> Service:
        return Service(
            place,
            processes=self.processes,
            issuing=self.issuing,
            clock=self.clock,
            habits=lambda: self.habits,
            faults=self.faults,
            diary=self.diary,
        )

    def _listen(self, *services: Service, client: bool) -> int:
        paths = _Paths(lambda: self.habits, self.clock, *services)
        handshakes = Handshakes(
            self.authorities,
            self.clock,
            self.diary,
            wants_client=lambda: self.habits.refusal if client else None,
        )
        factory = TLSMemoryBIOFactory(handshakes, isClient=False, wrappedFactory=_Site(paths, reactor=self._reactor))
        self._tls.append(factory)
        return self._open(factory)

    def _open(self, factory: Any) -> int:
        port = self._reactor.listenTCP(0, factory, interface=self._host)
        self._ports.append(port)
        number: int = port.getHost().port
        return number

    def _write_papers(self) -> None:
        tan, certified, control = self._where
        host = f"[{self._host}]" if ":" in self._host else self._host
        pki, support = (path(self.habits) for path in (_pki, _support))
        self.addresses = Addresses(
            renew=f"https://{host}:{certified}{pki}",
            tan=f"https://{host}:{tan}{pki}",
            probe=f"https://{host}:{certified}{support}",
            control=f"http://{host}:{control}",
        )
        write_private(self.bundle_path, bundle(self.authorities))
        write_private(self.profile_path, profile(self.addresses, self.habits, self.bundle_path))


class _Site(Site):
    """Without a log of its own."""

    def log(self, request: HttpRequest) -> None:
        """Nothing: the diary tells more."""


class _Paths(Resource):
    """The paths of a listener, by the version that is spoken."""

    isLeaf = True

    def __init__(self, habits: Any, clock: VirtualClock, *services: Service) -> None:
        super().__init__()
        self._habits = habits
        self._clock = clock
        self._services = dict(zip((_pki, _support), services, strict=False))

    def render(self, request: HttpRequest) -> Any:
        """What the service of this path answers."""
        habits = self._habits()
        for path, service in self._services.items():
            if request.path == path(habits).encode():
                return service.render(request)
        request.setResponseCode(404)
        request.setHeader("Content-Type", "application/soap+xml; charset=utf-8")
        missing = messages.Outcome(code="NMVS_TE_REQ_02", text="There is no such web service")
        return messages.write(messages.Request(), missing, habits, self._clock.now())


def _pki(habits: Habits) -> str:
    return f"/WS_PKI_V1/PkiServiceV{habits.version.replace('.', '')}"


def _support(habits: Habits) -> str:
    return f"/WS_SUPPORT_V1/SupportServiceV{habits.version.replace('.', '')}"
