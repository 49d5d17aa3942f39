"""The targets of tools/fuzz on what hypothesis makes up and on their seeds; and that they find what they are there for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.targets import TARGETS, Source, bounded_work, seeds
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
    with pytest.raises(AssertionError, match="calls for 10 octets"), bounded_work(10):
        work(10 * targets.CALLS_AT_ALL)
    assert sys.getprofile() is None


def test_behind_its_end_a_source_has_zeros() -> None:
    source = Source(b"\x01\x02")
    assert (source.octet(), source.octets(5), bool(source), source.octet()) == (1, b"\x02", False, 0)


def test_the_tool_says_how_it_is_used() -> None:
    command = [sys.executable, ROOT / "tools" / "fuzzing.py", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in told for name in ("usage: tools/fuzz", *TARGETS))
