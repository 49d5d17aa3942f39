"""The targets of tools/fuzz on what hypothesis makes up and on their seeds; and that they find what they are there for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oftp2 import commands as c
from oftp2.framing import frame
from oftp2.requests import AcceptFile
from oftp2.session import Session
from oftp2.tables import State
from oftp2.values import Role
from tests.fuzz import targets
from tests.fuzz.targets import ACCEPT, TARGETS, Source, bounded_work, counted_work, seeds
from tests.oftp2.wire import SFID, SMALL, SSID, in_state, make, on_the_wire, take_step
from tests.stations.house import ROOT

names = st.sampled_from(list(TARGETS))


@settings(max_examples=500)
@given(name=names, octets=st.binary(max_size=2_000))
def test_any_octets_are_borne(name: str, octets: bytes) -> None:
    TARGETS[name](octets)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_borne_and_so_is_what_is_cut_off_from_them(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)
        TARGETS[name](seed[: len(seed) // 2])


@settings(max_examples=500)
@given(name=names, data=st.data())
def test_seeds_with_some_octets_changed_are_borne(name: str, data: st.DataObject) -> None:
    seed = bytearray(data.draw(st.sampled_from(list(seeds(name)))))
    for _ in range(data.draw(st.integers(1, 4))):
        seed[data.draw(st.integers(0, len(seed) - 1))] = data.draw(st.integers(0, 255))
    TARGETS[name](bytes(seed))


def test_too_much_work_is_noticed() -> None:
    def work(times: int) -> None:
        for _ in range(times):
            len(b"")

    with bounded_work(10):
        work(targets.CALLS_AT_ALL)
    with pytest.raises(AssertionError, match="more than 22000 calls"), bounded_work(10):
        work(10 * targets.CALLS_AT_ALL)
    assert sys.getprofile() is None


def test_behind_its_end_a_source_has_zeros() -> None:
    source = Source(b"\x01\x02")
    assert (source.octet(), source.octets(5), bool(source), source.octet()) == (1, b"\x02", False, 0)


def test_the_tool_says_how_it_is_used() -> None:
    command = [sys.executable, ROOT / "tools" / "fuzzing.py", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in told for name in ("usage: tools/fuzz", *TARGETS))


STREAMS: dict[str, tuple[State, Callable[[int], bytes]]] = {
    "buffers of ever other lengths": (State.OPI, lambda n: b"".join(frame(b"D" + bytes(1 + k % 7)) for k in range(n))),
    "compressed octets": (State.OPI, lambda n: frame(b"D\x7f-") * n),
    "credit that nobody asked for": (State.OPO, lambda n: on_the_wire(c.Cdt()) * n),
    "words after the end": (State.WF_NDISC, lambda n: on_the_wire(c.Rtr(), c.Cd()) * n),
    "the largest buffer": (State.IDLELI, lambda n: (b"\x10\x01\x86\xa3H" + bytes(40 * n))[: 40 * n]),
}


def generous() -> Session:
    """A session that receives a file, with credit for all that comes."""
    session = make(Role.RESPONDER, replace(SMALL, credit=999))
    for step in (True, replace(SSID, credit=999), ACCEPT, SFID, AcceptFile()):
        take_step(session, step)
    assert (session.state, session.listener_credit) == (State.OPI, 999)
    session.data_to_send()
    return session


@pytest.mark.parametrize("piece", [7, 1_000_000])
@pytest.mark.parametrize("name", STREAMS)
def test_the_work_grows_with_the_octets_and_not_faster(name: str, piece: int) -> None:
    state, stream = STREAMS[name]
    made = []
    for size in (248, 992):
        session = generous() if state is State.OPI else in_state(state)
        octets = stream(size)
        with counted_work() as calls:
            for at in range(0, len(octets), piece):
                session.receive_data(octets[at : at + piece], 0.0)
                session.data_to_send()
        assert session.state is state
        made.append(calls[0])
    assert made[1] < 4.5 * made[0] + 2_000, made
