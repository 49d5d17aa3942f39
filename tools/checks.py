"""What tools/test does: form, types, direction of dependency, tests, and the coverage of the protocol library.

The tests' files are in memory where there is room: they ask for each transaction and each file to be on disk, and no test is
about the loss of power.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


CORES = os.cpu_count() or 1
MEMORY = Path("/dev/shm")  # noqa: S108 - in which a folder of our own is made
ROOM = 4 << 30
"""Octets that must be free in memory: many times what the files of the tests take at once."""


def checks(files: Path, *, quick: bool) -> Iterator[tuple[str, list[str]]]:
    """Each check: its name and its command. The quick tests of the protocol library run under coverage.

    ``files``: the folder for the files of the tests.
    """
    narrowed = ["-m", "not slow"] if quick else []
    yield "form", [f"{BIN}/ruff", "format", "--check", "--quiet", "."]
    yield "lint", [f"{BIN}/ruff", "check", "--quiet", "."]
    yield "types", [f"{BIN}/mypy", "--no-error-summary"]
    yield "dependencies", [f"{BIN}/lint-imports"]
    measured = [sys.executable, "-m", "coverage", "run", *pytest(CORES, files / "library")]
    yield "protocol library", [*measured, *narrowed, "tests/oftp2"]
    # Daemons mostly wait for each other.
    daemon = [sys.executable, *pytest(2 * CORES, files / "daemon")]
    yield "daemon", [*daemon, *narrowed, "--ignore=tests/oftp2", "tests"]
    yield "coverage data", [sys.executable, "-m", "coverage", "combine", "--quiet"]
    report = ["coverage", "report", "--include=protocol/oftp2/*", "--fail-under=100"]
    yield "coverage of the protocol library: 100 % of branches", [sys.executable, "-m", *report]


def pytest(workers: int, files: Path) -> list[str]:
    """Run tests in so many workers, each with whole modules: those that take longest first, as ``tests/conftest.py`` has it."""
    spread = ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    return ["-m", "pytest", "-q", f"--basetemp={files}", *spread]


def roomy() -> Path | None:
    """The folder for files in memory, if there is room; None is the usual one."""
    try:
        return MEMORY if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM < available() else None
    except OSError:
        return None


def available() -> int:
    """Octets of memory that programs can still get (Linux)."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/test",
        description="Run all checks and tests, as the continuous integration does. Exit code 0 only if all pass.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out the tests that take long")
    arguments = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=roomy(), ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "ci", "TMPDIR": folder}
        for name, command in checks(Path(folder), quick=arguments.quick):
            print(f"--- {name}", flush=True)
            before = time.monotonic()
            done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
            if done.returncode:
                print(f"tools/test: {name} failed", flush=True)
                return 1
            print(f"    {time.monotonic() - before:.0f} s", flush=True)
    print(f"tools/test: all checks passed in {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
