"""How things look for people: tables, lists of properties, sizes and times.

Values come from the station and partly from its partners, so every one of them is escaped and never taken for
markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from oftp2d.logs import escaped

PROSE = 24
"""Columns that prose in a table gets at least."""

Cell = str | int | bool | None | Text | Sequence[str]

_COLOURS = {
    "acknowledged": "green",
    "delivered": "green",
    "accepted": "green",
    "active": "green",
    "rolling": "green",
    "confirmed": "green",
    "announced": "yellow",
    "finished": "green",
    "running": "cyan",
    "securing": "cyan",
    "sent": "cyan",
    "sending": "cyan",
    "receiving": "cyan",
    "received": "cyan",
    "failed": "red",
    "refused": "red",
    "barred": "red",
    "held": "yellow",
    "interrupted": "yellow",
    "cancelled": "yellow",
}


def words(value: Cell) -> Text:
    """Any value as harmless text; what is missing is a dash."""
    if isinstance(value, Text):
        return value
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, (str, int)):
        return Text(escaped(str(value)))
    return Text(escaped(", ".join(value))) if value else Text("-", style="dim")


def state(value: str) -> Text:
    """A state in its colour."""
    return Text(escaped(value), style=_COLOURS.get(value, ""))


def form(document: Mapping[str, Any]) -> str:
    """The format of a file, and its records where it has any: how many, and of how many octets."""
    letter, records, length = (document.get(name) for name in ("format", "records", "record_length"))
    if letter not in {"F", "V"}:
        return str(letter or "")
    return f"{letter}, {records} records of {'' if letter == 'F' else 'up to '}{length} octets"


def size(octets: int) -> str:
    """A size for people, in binary units."""
    amount = float(octets)
    for unit in ("octets", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{octets} octets" if unit == "octets" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def moment(value: str | None) -> Text:
    """A time of the interface (RFC 3339, UTC), cut to seconds."""
    if not value:
        return words(None)
    try:
        return Text(datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M:%SZ"))
    except ValueError:
        return words(value)


def timeslice(document: Mapping[str, Any]) -> Text:
    """From when until when a certificate is used, where that is less than its validity."""
    begins, ends = document.get("slice_from"), document.get("slice_until")
    told = ([f"from {moment(begins).plain}"] if begins else []) + ([f"until {moment(ends).plain}"] if ends else [])
    return words(" ".join(told) or None)


def day(value: str | None) -> Text:
    """The date of a time of the interface."""
    return Text(moment(value).plain[:10])


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> Table | Text:
    """A plain table, or the line for an empty one.

    A column that ends with ``>`` is set to the right, one that ends with ``~`` is prose and may be broken into several
    lines; all others hold codes, names and times, which stay whole.
    """
    cells = [[words(cell) for cell in row] for row in rows]
    if not cells:
        return Text(empty, style="dim")
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, header_style="bold")
    for index, column in enumerate(columns):
        name = column.rstrip(">~")
        longest = max(len(name), *(row[index].cell_len for row in cells))
        made.add_column(
            name,
            justify="right" if column.endswith(">") else "left",
            overflow="fold",
            no_wrap=not column.endswith("~"),
            min_width=min(longest, PROSE) if column.endswith("~") else longest,
        )
    for row in cells:
        made.add_row(*row)
    return made


def properties(pairs: Mapping[str, Cell]) -> Table:
    """Names and values, one pair a line."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs.items():
        made.add_row(name, words(value))
    return made


def items(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects of that name in an answer; an answer without it has none."""
    found = document.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
