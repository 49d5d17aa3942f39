"""A house for every test; when the test is over no daemon's log may hold a traceback."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stations.house import House


@pytest.fixture
def house() -> Iterator[House]:
    # The path of a UNIX socket must be short, and what lies here may be large: not pytest's own folder.
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-"))
    opened = House(folder)
    try:
        yield opened
    finally:
        opened.close()
        logs = opened.scars()
        if not os.environ.get("OFTP2D_KEEP_HOUSES"):
            shutil.rmtree(folder, ignore_errors=True)
    assert not logs, logs
