"""A house for every test; when the test is over no daemon's log may hold a traceback."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stations.house import House


@pytest.fixture
def house() -> Iterator[House]:
    # The path of a UNIX socket must be short, and what lies here may be large: not pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="oftp2d-", ignore_cleanup_errors=True) as folder:
        opened = House(Path(folder))
        try:
            yield opened
        finally:
            opened.close()
        opened.unscathed()
