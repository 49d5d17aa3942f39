"""The kinds of value a setting may have, with their bounds and what to tell people who miss them.

Each function makes an attrs field whose metadata carries the line of documentation and a check. The check turns
the value found in the file into that of the class, or raises :class:`UnfitError`. Nothing here knows which
settings exist; that is :mod:`oftp2d.config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

Check = Callable[[object], object]

LONGEST_URL: Final = 2000


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


def flag(default: object, doc: str) -> Any:
    """A truth value, without quotes."""

    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise UnfitError(f"{shown(value)} is neither true nor false", "write one of them, without quotes")
        return value

    return setting(check, default, doc, values="true or false")


def web_address(default: object, doc: str, *, optional: bool = False) -> Any:
    """An address of http or https without a user in it; empty for none, where it may be left out."""

    def check(value: object) -> str:
        if optional and value == "":
            return ""
        if not isinstance(value, str) or not _is_url(value):
            raise UnfitError(
                f"{shown(value)} is no address to fetch from", 'write one like "https://host.example/path"'
            )
        return value

    return setting(check, default, doc, values=f"an address of http or https{', or empty' if optional else ''}")


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        fit = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return fit and len(value) <= LONGEST_URL and value.isascii() and value.isprintable() and " " not in value


def sha256(default: object, doc: str) -> Any:
    """The SHA-256 of a certificate in hexadecimal digits, with or without colons; empty for none."""

    def check(value: object) -> str:
        digits = value.replace(":", "").lower() if isinstance(value, str) else None
        if digits is None or (digits and not re.fullmatch("[0-9a-f]{64}", digits)):
            advice = "write 64 hexadecimal digits in quotes; the colons between them do not matter"
            raise UnfitError(f"{shown(value)} is no SHA-256 fingerprint", advice)
        return digits

    return setting(check, default, doc, values="64 hexadecimal digits, or empty")


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
