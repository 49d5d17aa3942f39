"""What tools/test does: form, types, direction of dependency, tests, and the coverage of the protocol library."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def checks(*, quick: bool) -> Iterator[tuple[str, list[str]]]:
    """Each check: its name and its command. The tests of the protocol library run under coverage, in full."""
    pytest = ["-m", "pytest", "-q"]
    narrowed = ["-m", "not slow"] if quick else []
    yield "form", [f"{BIN}/ruff", "format", "--check", "--quiet", "."]
    yield "lint", [f"{BIN}/ruff", "check", "--quiet", "."]
    yield "types", [f"{BIN}/mypy", "--no-error-summary"]
    yield "dependencies", [f"{BIN}/lint-imports"]
    # Two workers, each with whole modules: there are two cores, and daemons mostly wait for each other.
    spread = ["-n", "2", "--dist", "loadfile"]
    yield "protocol library", [sys.executable, "-m", "coverage", "run", *pytest, *narrowed, *spread, "tests/oftp2"]
    yield "daemon", [sys.executable, *pytest, *narrowed, *spread, "--ignore=tests/oftp2", "tests"]
    yield "coverage data", [sys.executable, "-m", "coverage", "combine", "--quiet"]
    report = ["coverage", "report", "--include=protocol/oftp2/*", "--fail-under=100"]
    yield "coverage of the protocol library: 100 % of branches", [sys.executable, "-m", *report]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/test",
        description="Run all checks and tests, as the continuous integration does. Exit code 0 only if all pass.",
    )
    parser.add_argument("--quick", action="store_true", help="leave out the tests that take long")
    arguments = parser.parse_args()
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "ci"}
    begun = time.monotonic()
    for name, command in checks(quick=arguments.quick):
        print(f"--- {name}", flush=True)
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
        if done.returncode:
            print(f"tools/test: {name} failed", flush=True)
            return 1
    print(f"tools/test: all checks passed in {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
