"""What the processes do: G615 in its two ways, G445, a confirmation and ping (nmvs.md sections 2 to 4)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from enum import StrEnum

from .clock import VirtualClock
from .faults import Fault, Planned
from .habits import Habits, TanMode
from .issuing import Issue, Issuing
from .messages import Outcome, Request, Violation
from .users import User, Users, admitted, change, notices, too_often


class Place(StrEnum):
    """Where a request came in."""

    TAN = "tan"
    """Server TLS alone; log in with a TAN."""
    WITH_CERT = "with-cert"
    SUPPORT = "support"
    """On the port of WITH_CERT, under its own path: ping and G445."""


TEXTS = {
    "NMVS_SUCCESS": "Operation successful",
    "NMVS_FE_PKI_01": "Maximum validity of the certificate exceeded",
    "NMVS_FE_PKI_06": "No valid certificate for user",
    "NMVS_FE_PKI_07": "No new certificate for user",
    "NMVS_FE_PKI_08": "No valid certificate on server",
    "NMVS_FE_PKI_09": "Installation of this certificate was confirmed already",
    "NMVS_FE_AU_01": "Login or password do not match",
    "NMVS_FE_AU_02": "User is locked",
    "NMVS_FE_AU_03": "General infringement of the authentication",
    "NMVS_FE_AU_04": "Client unknown",
    "NMVS_FE_AU_05": "User was locked after too many tries",
    "NMVS_FE_AU_06": "Wrong password",
    "NMVS_FE_AU_10": "Login data invalid",
    "NMVS_FE_AU_11": "Password expired or still the initial one",
    "NMVS_FE_AU_23": "Terms and conditions were not accepted in time",
    "NMVS_FE_AU_24": "Password change refused, a new one was set already",
    "NMVS_FE_PMS_02": "New password is the same",
    "NMVS_FE_PMS_03": "New password is one of the last 20",
    "NMVS_FE_PMS_04": "New password does not meet the policy",
    "NMVS_FI_SE_CLI_01": "Permitted call frequency exceeded",
    "NMVS_TE_TX_01": "Client transaction id was used already",
    "NMVS_TI_TO_01": "Time-out",
}


class Processes:
    """Answers requests that were read."""

    def __init__(self, clock: VirtualClock, users: Users, issuing: Issuing, habits: Callable[[], Habits]) -> None:
        self._clock = clock
        self._users = users
        self._issuing = issuing
        self._habits = habits
        self._transactions: set[str] = set()
        self.authentications = 0
        """How often a password was compared."""
        self.failures = 0
        """How often that failed."""

    def offered(self, place: Place) -> dict[str, str]:
        """The wrappers that a place understands, with their processes."""
        habits = self._habits()
        match place:
            case Place.TAN:
                return {"G615Request": "G615", "PkiPingRequest": "ping"}
            case Place.WITH_CERT:
                return {habits.element: "G615", habits.confirm_element: "confirm", "PkiPingRequest": "ping"}
            case Place.SUPPORT:
                return {"SupportPingRequest": "ping"} | ({"G445Request": "G445"} if habits.change_password else {})

    def used(self, serial: int) -> None:
        """A certificate was used, for whatever it is."""
        for user in self._users.all():
            self._issuing.used(user, serial, self._habits())

    def answer(self, request: Request, place: Place, serial: int | None, planned: Planned | None) -> Outcome:
        """The outcome of a request; ``serial`` is that of the client's certificate."""
        if request.process == "ping":
            return Outcome()
        if request.process == "G615":
            self._check_tan(request, place)
        user, outcome = self._admit(request, serial)
        if user is None:
            return outcome
        now, habits = self._clock.now(), self._habits()
        match request.process:
            case "G445":
                code = change(user, request.password, (request.old, request.new), habits, now)
            case "confirm":
                code = self._confirm(user, serial)
            case _:
                issue, code = self._g615(user, request, place, serial)
                if issue is not None and code == "NMVS_SUCCESS":
                    outcome = self._delivered(user, issue, planned, serial)
        if code != "NMVS_SUCCESS":
            return _refused(code)
        outcome.text = TEXTS[code]
        outcome.notices = notices(user, request.password, habits, now)
        return outcome

    def _admit(self, request: Request, serial: int | None) -> tuple[User | None, Outcome]:
        now, habits = self._clock.now(), self._habits()
        if request.transaction in self._transactions:
            return None, _refused("NMVS_TE_TX_01")
        self._transactions.add(request.transaction)
        known = self._users.get(request.login, request.user)
        if known is not None and too_often(known, habits, now):
            return None, _refused("NMVS_FI_SE_CLI_01")
        self.authentications += 1
        user, code = self._users.authenticate(request.login, request.user, request.password, now)
        if user is None:
            self.failures += 1
            return None, _refused(code)
        if serial is not None and user.by_serial(serial) is None:
            return None, _refused("NMVS_FE_AU_03")
        code = "" if request.process == "G445" else admitted(user, habits, now)
        return (None, _refused(code)) if code else (user, Outcome())

    def _check_tan(self, request: Request, place: Place) -> None:
        """Whether Tan is as this place wants it: a question of the schema, so before anybody logs in."""
        habits = self._habits()
        mode = TanMode.TAN if place is Place.TAN else habits.tan_mode
        fits, text = {
            TanMode.OMIT: (request.tan is None, "Tan is not expected"),
            TanMode.EMPTY: (request.tan == "", "Tan is there, and empty"),
            TanMode.FIXED: (request.tan == habits.fixed_tan, "Tan has a fixed value"),
            TanMode.TAN: (bool(request.tan), "Tan is missing"),
        }[mode]
        if not fits:
            raise Violation("NMVS_TE_XM_02", text)

    def _g615(self, user: User, request: Request, place: Place, serial: int | None) -> tuple[Issue | None, str]:
        habits, now = self._habits(), self._clock.now()
        if place is Place.TAN or habits.tan_mode is TanMode.TAN:
            return self._issuing.with_tan(user, request.tan or "", habits, now)
        assert serial is not None
        return self._issuing.with_certificate(user, serial, habits, now)

    def _confirm(self, user: User, serial: int | None) -> str:
        issue = user.by_serial(serial)
        assert issue is not None
        if issue.confirmed:
            return "NMVS_FE_PKI_09"
        issue.confirmed = True
        return "NMVS_SUCCESS"

    def _delivered(self, user: User, issue: Issue, planned: Planned | None, serial: int | None) -> Outcome:
        habits, now = self._habits(), self._clock.now()
        fault = None if planned is None else planned.fault
        if fault is Fault.OTHER_USER:
            issue = self._issuing.of_another(habits, now)
        elif fault is Fault.OLD_CERTIFICATE and (old := user.by_serial(serial)) is not None:
            issue = old
        outcome = Outcome(container=base64.b64encode(issue.container).decode(), passphrase=issue.secret)
        match fault:
            case Fault.NO_CERTIFICATE:
                outcome.container = None
            case Fault.NO_PASSPHRASE:
                outcome.passphrase = None
            case Fault.WRONG_PASSPHRASE:
                outcome.passphrase = issue.secret[::-1] + "x"
            case Fault.RUBBISH:
                outcome.container = base64.b64encode(b"this is no container" * 20).decode()
            case Fault.NOT_BASE64:
                outcome.container = "%%% this is not base64 %%%"
            case Fault.NO_CODE:
                outcome.codes = 0
            case Fault.TWO_CODES:
                outcome.codes = 2
        return outcome


def _refused(code: str) -> Outcome:
    return Outcome(code=code, text=TEXTS.get(code, ""))
