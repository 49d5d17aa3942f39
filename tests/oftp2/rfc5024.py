"""Reads the ASCII art of RFC 5024: state and transition tables (section 9), field tables (section 5.3, RFC 2204 as well)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
TEXT = ROOT.parent / "shared" / "spec" / "rfc5024.txt"
TEXT_OF_RFC2204 = TEXT.with_name("rfc2204.txt")

TABLES = ("9.8", "9.9", "9.10", "9.11", "9.12")
OTHER_STATES = "Other States"


class Cell(NamedTuple):
    table: str
    event: str
    state: str
    letter: str


class Alternative(NamedTuple):
    table: str
    letter: str
    predicate: str
    actions: str
    outputs: str
    next_state: str


SECTIONS = [
    "SSRM",
    "SSID",
    "SFID",
    "SFPA",
    "SFNA",
    "DATA",
    "CDT",
    "EFID",
    "EFPA",
    "EFNA",
    "ESID",
    "CD",
    "EERP",
    "NERP",
    "RTR",
    "SECD",
    "AUCH",
    "AURP",
]
"""The commands in the order of section 5.3, each a section of its own."""


def section_of(command: str) -> str:
    """The section of a command, such as 5.3.2."""
    return f"5.3.{SECTIONS.index(command) + 1}"


class Field(NamedTuple):
    command: str
    position: str
    """Decimal, empty behind a field of variable length."""
    field: str
    format: str


def read_csv(name: str) -> list[tuple[str, ...]]:
    with (FIXTURES / name).open(encoding="ascii", newline="") as file:
        _, *rows = (tuple(row) for row in csv.reader(file))
    return rows


def cells_of_the_fixture() -> list[Cell]:
    return [Cell(*row) for row in read_csv("rfc5024-section-9-states.csv")]


def alternatives_of_the_fixture() -> list[Alternative]:
    return [Alternative(*row) for row in read_csv("rfc5024-section-9-transitions.csv")]


def fields_of_the_fixture() -> list[Field]:
    return [Field(*row) for row in read_csv("rfc5024-section-5.3-fields.csv")]


def fields_of_rfc2204() -> list[Field]:
    return [Field(*row) for row in read_csv("rfc2204-section-5.3-fields.csv")]


def _section(text: str, start: str, end: str) -> list[str]:
    """The lines between two headings, without the page breaks."""
    lines = text.splitlines()
    first = max(index for index, line in enumerate(lines) if line.startswith(f"{start}.  "))
    last = next(index for index in range(first + 1, len(lines)) if re.match(end, lines[index]))
    body = lines[first + 1 : last]
    return [line for line in body if line.strip() and not line.startswith(("Friend", "RFC 5024", "\f"))]


def cells_of_the_text(text: str) -> Iterator[Cell]:
    for table in TABLES:
        lines = [line for line in _section(text, f"{table}.1", rf"{table}\.2\.") if "|" in line]
        border = next(index for index, line in enumerate(lines) if "==" in line)
        # The states stand upside down: what is printed first heads the last column.
        head = [re.search(r"\| *([A-Z]\w+(?: States)?) ", line) for line in lines[:border]]
        states = [found[1] for found in reversed(head) if found]
        for line in lines[border + 1 :]:
            if "---" in line:
                continue
            columns = [column.strip() for column in line.strip().strip("|+").split("|")]
            event, letters = columns[-len(states) - 1], columns[-len(states) :]
            if any(letters):
                name = "F_START_FILE_RQ" if event == "F_START_" else event
                yield from (Cell(table, name, state, letter) for state, letter in zip(states, letters, strict=True))


_LINE = re.compile(
    r"""\s+ (?P<letter>[A-Z]\d?)? \s* \|
        \s* (?P<predicate> (?:else | [!P\d& ]+?) \s* : | &\s!P8 | Protocol | Error(?=\s{5}) )?
        \s* (?P<actions> \d+ (?:,\d+)* (?=\s|$) )?
        \s* (?P<output> .*? )
        (?: (?:^|\s+) (?P<to> [A-Z_]{2,} ) )? $""",
    re.VERBOSE,
)


def alternatives_of_the_text(text: str) -> Iterator[Alternative]:
    for table in TABLES:
        letter, found = "", list[Alternative]()
        for line in _section(text, f"{table}.2", rf"{table}\.3\."):
            if "|" not in line or "---" in line or "Next State" in line:
                continue
            read = _LINE.fullmatch(line)
            assert read, line
            letter = read["letter"] or letter
            predicate = " ".join((read["predicate"] or "").strip(" :").split())
            output, to = read["output"].strip(), read["to"] or ""
            if not to and _is_state(output):
                output, to = "", output
            elif to and not _is_state(to):
                output, to = f"{output} {to}".strip(), ""
            starts = read["letter"] or (read["predicate"] or "").rstrip().endswith(":")
            if starts:
                found.append(Alternative(table, letter, predicate, read["actions"] or "", output, to))
                continue
            before = found.pop()
            between = " " if before.outputs.count("(") > before.outputs.count(")") else "; "
            found.append(
                before._replace(
                    predicate=f"{before.predicate} {predicate}".strip(),
                    actions=before.actions or read["actions"] or "",
                    outputs=between.join(part for part in (before.outputs, output) if part),
                    next_state=before.next_state or to,
                )
            )
        yield from found


def _is_state(word: str) -> bool:
    return word in {"UE", "IDLE"} or word.startswith(("A_", "I_", "IDLE", "OP", "CL", "WF_", "RTRP")) or "WFCD" in word


def fields_of_the_text(text: str) -> Iterator[Field]:
    lines = iter(text.splitlines())
    command = ""
    for line in lines:
        if heading := re.match(r"5\.3\.\d+\.?  ([A-Z]+) - ", line):
            command = heading[1]
        elif line.startswith(("5.4", "6.")):
            command = ""
        row = re.fullmatch(r" +\| +(\d*) +\| (\w+) *\| .*\| ([FV] \w\(\d+\)|V \w\(n\)|. ?\w\(\w+\)) *\| *", line)
        if command and row and row[2].startswith(command[:3]):
            yield Field(command, row[1], row[2], row[3])
