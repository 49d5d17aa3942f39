"""A clock that stands in a file, for a station that lives two years in a minute.

The file holds the seconds by which the machine's clock is ahead, so that time goes on from where it was set.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

VARIABLE = "TIMELAPSE_CLOCK"
"""The environment variable by which tools/timelapse.py is told the path of the file."""


def told(path: Path) -> datetime:
    """The time of the file."""
    return datetime.now(UTC) - timedelta(seconds=float(path.read_text("ascii")))


def set_clock(path: Path, now: datetime) -> None:
    """Whoever reads the file has this time from now on, and goes on from there."""
    beside = path.with_suffix(".new")
    beside.write_text(repr((datetime.now(UTC) - now).total_seconds()), "ascii")
    beside.replace(path)
