"""Identifiers of transfers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from oftp2d.ledger.identifiers import Identifiers, encode

CLOCKS = st.datetimes(datetime(2024, 1, 2), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.lists(CLOCKS, min_size=2, max_size=20))
def test_identifiers_ascend_whatever_the_clock_does(clocks: list[datetime]) -> None:
    identifiers = Identifiers()
    made = [identifiers.next(clock) for clock in clocks]
    assert made == sorted(set(made))


def test_identifiers_of_two_processes_sort_by_time() -> None:
    now = datetime(2026, 3, 4, tzinfo=UTC)
    assert Identifiers().next(now) < Identifiers().next(now + timedelta(milliseconds=2))


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1))
def test_text_sorts_as_the_numbers_do(one: int, two: int) -> None:
    assert (encode(one) < encode(two)) == (one < two)
    assert len(encode(one)) == 12
