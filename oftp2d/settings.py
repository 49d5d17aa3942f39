"""The kinds of value a setting may have, with their bounds and what to tell people who miss them.

Each function makes an attrs field whose metadata carries the line of documentation and a check. The check turns
the value found in the file into that of the class, or raises :class:`UnfitError`. Nothing here knows which
settings exist; that is :mod:`oftp2d.config`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import attrs

Check = Callable[[object], object]


class UnfitError(Exception):
    """A value that can't stand: ``what`` is wrong with it, ``advice`` says what may stand there."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice


def setting(check: Check, default: object, doc: str, *, values: str, secret: bool = False) -> Any:
    """A field with its documentation, its possible values and its check; ``secret`` keeps it out of every repr."""
    return attrs.field(default=default, repr=not secret, metadata={"doc": doc, "values": values, "check": check})


def whole(lowest: int, highest: int, default: object, doc: str) -> Any:
    """A whole number, both bounds included. A truth value or a quoted number is not one."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise UnfitError(
                f"{shown(value)} is not a whole number",
                f"give one from {lowest} to {highest}, no quotes",
            )
        if not lowest <= value <= highest:
            raise UnfitError(f"{value} is out of range", f"give a number from {lowest} to {highest}")
        return value

    return setting(check, default, doc, values=f"{lowest} to {highest}")


def text(longest: int, default: object, doc: str, *, secret: bool = False) -> Any:
    """One line of text, not empty, without control characters. A secret one is never repeated in a fault."""

    def check(value: object) -> str:
        if not isinstance(value, str):
            found = "the value" if secret else shown(value)
            raise UnfitError(f"{found} is not a text", 'write it in quotes, like "text"')
        if not value or len(value) > longest:
            raise UnfitError(
                f"the text has {len(value)} characters",
                f"give 1 to {longest} characters, or leave the line out",
            )
        if not value.isprintable():
            raise UnfitError("the text holds control characters", "write it on one line, without tabs")
        return value

    return setting(check, default, doc, values=f"text of 1 to {longest} characters", secret=secret)


def choice(kind: type[StrEnum], default: object, doc: str) -> Any:
    """One word out of an enumeration."""
    words = " or ".join(f'"{word}"' for word in kind)

    def check(value: object) -> StrEnum:
        if not isinstance(value, str) or value not in list(kind):
            raise UnfitError(f"{shown(value)} is not known here", f"write {words}, with the quotes")
        return kind(value)

    return setting(check, default, doc, values=words)


def shown(value: object) -> str:
    """A value of the file as people recognise it in a fault: short, escaped, on one line."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    written = str(value).lower() if isinstance(value, bool) else repr(value)
    return written if len(written) <= 40 else f"{written[:37]}..."
