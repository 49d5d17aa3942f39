"""What holds for all tests: hypothesis profiles, and what would cost every test the same time once more.

Hypothesis profiles: ``ci`` is the same every time, ``deep`` (HYPOTHESIS_PROFILE=deep) looks further and at random.
"""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from oftp2d.ledger import database
from oftp2d.migrations import HEAD

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("deep", settings.get_profile("ci"), derandomize=False, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

_really_migrate = database.migrate

# Hundreds of daemons and commands start as processes of their own: they must not all compile what they import.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


_WEIGHTS = {"stations": 5, "renewal": 2, "exchange": 1, "odette": 2, "hostile": 1}
"""About how many seconds a test takes in a room whose tests need daemons; elsewhere it is a tenth of one."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where workers share the modules, put those first that take longest: none is left alone with one at the end."""
    if not hasattr(config, "workerinput"):
        return
    weights: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        weights[item.path] += 10 if item.get_closest_marker("slow") else _WEIGHTS.get(item.path.parent.name, 0.1)
    items.sort(key=lambda item: -weights[item.path])


def pytest_collection_finish() -> None:
    """Take modules and collected tests, which stay, out of what is searched for garbage, after many tests in full."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _not_remembered() -> None:
    """Begin logging: until then Twisted keeps all events for later, and with them every daemon that logged one."""
    from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogBeginner

    def complain(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.critical:
            sys.stderr.write(f"{eventAsText(event)}\n")

    # Warnings are not for the log here.
    with warnings.catch_warnings():
        globalLogBeginner.beginLoggingTo([complain], discardBuffer=True, redirectStandardIO=False)


@pytest.fixture(scope="session", autouse=True)
def _migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make new ledgers copies of one that the migrations made: they lead to the same one each time, in 0.1 s.

    A ledger that holds anything is migrated as ever, and so is every one that another process opens.
    """
    first = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    _really_migrate(f"sqlite:///{first}")
    octets = first.read_bytes()

    def migrate(url: str, revision: str = HEAD) -> None:
        path = Path(url.removeprefix("sqlite:///"))
        # A database of one page has no tables.
        if revision == HEAD and path.is_file() and path.stat().st_size <= 4096:
            path.write_bytes(octets)
        else:
            _really_migrate(url, revision)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(database, "migrate", migrate)
        yield


@pytest.fixture
def migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every ledger through the migrations."""
    monkeypatch.setattr(database, "migrate", _really_migrate)
