"""ESID with every reason of RFC 5024 section 5.3.11: how each comes about, and that the peer learns it at every level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from oftp2 import commands as c
from oftp2 import events as e
from oftp2 import requests as r
from oftp2.framing import frame
from oftp2.reasons import EndSessionReason
from oftp2.session import INACTIVITY, Session
from oftp2.tables import State
from oftp2.values import Level, Role
from tests.oftp2.wire import CODE_R, PASSWORD, SMALL, SSID, SessionPair, commands_in, in_state, make, on_the_wire

R = EndSessionReason


def answered(state: State, octets: bytes) -> Session:
    """A session in this state that has got these octets."""
    session = in_state(state)
    session.receive_data(octets, 0.0)
    return session


def asked(state: State, request: r.Request) -> Session:
    """A session in this state, of which something was asked."""
    session = in_state(state)
    session.send(request, 0.0)
    return session


def silent() -> Session:
    session = in_state(State.IDLELI)
    session.tick(INACTIVITY)
    return session


def unlike() -> Session:
    """A Responder that requires authentication, called by one that does not."""
    session = make(Role.RESPONDER)
    session.connected(0.0)
    session.receive_data(on_the_wire(SSID), 0.0)
    session.send(r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=True), 0.0)
    return session


WAYS: Final[dict[EndSessionReason, Callable[[], Session]]] = {
    R.NORMAL: lambda: asked(State.IDLESPCD, r.EndSession()),
    R.COMMAND_NOT_RECOGNISED: lambda: answered(State.IDLELI, frame(b"Z")),
    R.PROTOCOL_VIOLATION: lambda: answered(State.IDLELI, on_the_wire(c.Efid(octets=0))),
    R.USER_CODE_NOT_KNOWN: lambda: asked(State.A_WF_CONRS, r.EndSession(reason=R.USER_CODE_NOT_KNOWN)),
    R.INVALID_PASSWORD: lambda: asked(State.A_WF_CONRS, r.EndSession(reason=R.INVALID_PASSWORD)),
    R.EMERGENCY_CLOSE_DOWN: lambda: asked(State.OPI, r.EndSession(reason=R.EMERGENCY_CLOSE_DOWN)),
    R.INVALID_DATA: lambda: answered(State.OPOP, frame(b"3xxN000")),
    R.BUFFER_SIZE_ERROR: lambda: answered(State.OPOP, frame(b"2000")),
    R.RESOURCES_NOT_AVAILABLE: lambda: asked(State.A_WF_CONRS, r.EndSession(reason=R.RESOURCES_NOT_AVAILABLE)),
    R.TIME_OUT: silent,
    R.INCOMPATIBLE: lambda: answered(State.A_NC_ONLY, on_the_wire(replace(SSID, level=3))),
    R.INVALID_CHALLENGE_RESPONSE: lambda: answered(State.WF_AURP, on_the_wire(c.Aurp(response=bytes(20)))),
    R.AUTHENTICATION_INCOMPATIBLE: unlike,
    R.UNSPECIFIED: lambda: asked(State.OPO, r.EndSession(reason=R.UNSPECIFIED)),
}


@pytest.mark.rfc("5.3.11")
@pytest.mark.parametrize("reason", EndSessionReason, ids=lambda reason: f"{reason.value:02}")
def test_every_reason_is_said_where_it_belongs(reason: EndSessionReason) -> None:
    session = WAYS[reason]()
    esid = commands_in(session.data_to_send(), session._machine.variables.level)[-1]
    assert isinstance(esid, c.Esid)
    assert esid.reason is reason
    assert session.state is State.WF_NDISC


@pytest.mark.rfc("3.4.2", "5.3.11")
@pytest.mark.parametrize("level", Level, ids=lambda level: f"level {level}")
@pytest.mark.parametrize("reason", [reason for reason in EndSessionReason if reason], ids=lambda reason: f"{reason:02}")
def test_every_reason_reaches_the_other_side(reason: EndSessionReason, level: Level) -> None:
    pair = SessionPair(replace(SMALL, level=level))
    pair.establish()
    pair.ask(pair.initiator, r.EndSession(reason=reason, text="why"))
    told = pair.responder.expect(e.SessionAborted)
    assert told.origin is e.Origin.PEER
    if level is Level.REVISION_2_0:
        assert (told.reason, told.text) == (reason, "why")
    else:
        # What came with secure authentication no older list has.
        newer = {R.INVALID_CHALLENGE_RESPONSE, R.AUTHENTICATION_INCOMPATIBLE}
        assert (told.reason, told.text) == (R.UNSPECIFIED if reason in newer else reason, "")
