"""Points in time as people and scripts give them: one reading of them, whatever zone they are in."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest

from oftp2d.admin.fields import Fields, InputError
from oftp2d.cli.options import MOMENT

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
SAME = ["2027-03-01T12:00:00Z", "2027-03-01 12:00", "2027-03-01T13:00:00+01:00", "2027-03-01T12:00:00.000+00:00"]
UNFIT = ["tomorrow", "2027-13-01", "12:00", "", "9999-12-31T23:59:59-12:00", "2027-03-01T12:00:00Z" + "0" * 40]


@pytest.mark.parametrize("given", SAME)
def test_an_instant_is_utc_in_whatever_zone_it_is_given(given: str) -> None:
    assert Fields({"at": given}).moment("at") == NOON
    assert MOMENT.convert(given, None, None) == "2027-03-01T12:00:00Z"


def test_a_day_alone_is_its_beginning() -> None:
    assert MOMENT.convert("2027-03-01", None, None) == "2027-03-01T00:00:00Z"
    assert Fields({"at": "2027-03-01"}).moment("at") == NOON.replace(hour=0)


def test_no_instant_is_none() -> None:
    assert Fields({}).moment("at") is None


@pytest.mark.parametrize("given", UNFIT)
def test_what_is_no_time_is_refused_with_an_example(given: str) -> None:
    with pytest.raises(InputError) as refused:
        Fields({"at": given}).moment("at")
    assert "2027-03-01T12:00:00Z" in refused.value.advice or "at most 40 characters" in refused.value.advice
    with pytest.raises(click.BadParameter, match="is no time, such as 2027-03-01"):
        MOMENT.convert(given, None, None)
