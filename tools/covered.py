"""Which test covers which section of RFC 5024, tolerance of the field, and case of Odette: read from the marks of the tests.

Run by pytest as a plugin it writes down the marks ``rfc``, ``interop`` and ``odette`` of every collected test; used as a
module it runs that collection and makes pages of it.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ROOT / "fixtures" / "rfc5024-sections.csv"
TOLERANCES = ROOT / "fixtures" / "tolerances.csv"
CASES = ROOT / "fixtures" / "odette-cases.csv"
MARKS = ("rfc", "interop", "odette")
OUTPUT = "OFTP2D_MARKS"
"""The environment variable that names the file for what the plugin finds."""

Covered = Mapping[str, Mapping[str, list[str]]]
"""For each kind of mark and each of its arguments the tests that have it."""


def pytest_collection_finish(session: Any) -> None:
    """Hook of pytest: note the marks of all that was collected."""
    found: dict[str, dict[str, list[str]]] = {mark: {} for mark in MARKS}
    for item in session.items:
        name = f"{item.path.relative_to(ROOT).as_posix()}::{item.originalname}"
        for mark in MARKS:
            for covered in (str(each) for marker in item.iter_markers(mark) for each in marker.args):
                tests = found[mark].setdefault(covered, [])
                if name not in tests:
                    tests.append(name)
    Path(os.environ[OUTPUT]).write_text(json.dumps(found), "utf-8")


@cache
def collect() -> Covered:
    """The marks of all tests, collected once. Raises ``RuntimeError`` with what pytest said when they cannot be collected."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "marks.json"
        path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "covered", "tests"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, OUTPUT: str(output), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-4000:] + done.stderr[-4000:])
        marks: Covered = json.loads(output.read_text("utf-8"))
        return marks


def titles(path: Path) -> dict[str, str]:
    """The numbers of a fixture and what they are about, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["number"]: row["title"] for row in csv.DictReader(file)}


def page() -> Iterator[str]:
    """The lines of the page in reStructuredText."""
    marks = collect()
    yield "RFC 5024 and its tests\n======================\n"
    yield (
        "Which test covers which section of RFC 5024, by the marks of the tests; a letter behind the number of a state table"
        " is a row of it. All paths are in ``tests``. Transcripts are in ``fixtures/transcripts``.\n"
    )
    sections = titles(SECTIONS)
    letters = {number: sections[number.partition(" ")[0]] for number in marks["rfc"] if " " in number}
    yield from _table("Section", sections | letters, marks["rfc"])
    yield "Tolerances\n----------\n"
    yield "What real systems do otherwise than the RFC has it, or what it leaves open, and the tests that this is borne.\n"
    yield from _table("No.", titles(TOLERANCES), marks["interop"])


def odette() -> Iterator[str]:
    """The lines of the page of Odette's cases."""
    marks = collect()
    yield "Odette's cases and their tests\n==============================\n"
    yield (
        "The cases of Odette's OFTP2 interoperability tests as far as they are public, under their numbers where these are, and"
        " the tests that play them: each in both roles, as Initiator and as Responder, over real sessions between two"
        " stations. The certificates are those of ``fixtures/pki.toml``. All paths are in ``tests``.\n"
    )
    about = titles(CASES)
    yield from _table("Case", about, marks["odette"], order=about)


def _table(
    head: str, about: Mapping[str, str], tests: Mapping[str, list[str]], order: Iterable[str] | None = None
) -> Iterator[str]:
    yield f".. list-table::\n   :header-rows: 1\n   :widths: 10 30 60\n\n   * - {head}\n     - About\n     - Tests"
    both = about.keys() & tests.keys()
    for number in sorted(both, key=_natural) if order is None else [each for each in order if each in both]:
        yield f"   * - {number}\n     - {about[number]}"
        grouped: dict[str, list[str]] = {}
        for test in tests[number]:
            module, _, name = test.removeprefix("tests/").partition("::")
            grouped.setdefault(module, []).append(f"``{name}``")
        entries = [f"``{module}``: {', '.join(names)}" for module, names in sorted(grouped.items())]
        yield "\n".join(f"     {'-' if at == 0 else ' '} {entry}\n" for at, entry in enumerate(entries))
    yield ""


def _natural(number: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"[. ]", number)]
