"""The kinds of value a setting may have, with their bounds and what to tell people who miss them.

Each function makes an attrs field whose metadata carries the line of documentation and a check. The check turns
the value found in the file into that of the class, or raises :class:`UnfitError`. Nothing here knows which
settings exist; that is :mod:`oftp2d.config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs

Check = Callable[[object], object]
_Item = TypeVar("_Item")

LONGEST_URL: Final = 2000
LONGEST_PATH: Final = 1000
REQUIRED: Final = attrs.NOTHING
"""The default of a setting that has none: it must be given."""

IN_FILE: Final = "file:"
IN_ENVIRONMENT: Final = "env:"
IN_STORE: Final = "store"
"""Where a secret may be: a file of its own, a variable of the environment, or sealed in the ledger."""


class UnfitError(Exception):
    """A value that can't stand: ``what`` is wrong with it, ``advice`` says what may stand there."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what = what
        self.advice = advice


def setting(
    check: Check, default: object, doc: str, *, values: str, secret: bool = False, example: object = None
) -> Any:
    """A field with its documentation, its possible values and its check; ``secret`` keeps it out of every repr.

    ``example`` is a value like those that people give, for a template of the section.
    """
    metadata = {"doc": doc, "values": values, "check": check, "example": example}
    return attrs.field(default=default, repr=not secret, metadata=metadata)


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


def text(longest: int, default: object, doc: str, *, secret: bool = False, example: object = None) -> Any:
    """One line of text, not empty, without control characters. A secret one is never repeated in a fault."""
    values = f"text of 1 to {longest} characters"
    return setting(_line(longest, secret=secret), default, doc, values=values, secret=secret, example=example)


def _line(longest: int, *, secret: bool = False) -> Callable[[object], str]:
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

    return check


def texts(longest: int, most: int, default: object, doc: str, *, fewest: int = 0, example: object = None) -> Any:
    """A list of lines of text, each like :func:`text`."""
    line = _line(longest)

    def check(value: object) -> tuple[str, ...]:
        return _each(value, line, fewest, most)

    values = f"a list of {fewest} to {most} texts of 1 to {longest} characters"
    return setting(check, default, doc, values=values, example=example)


def matching(pattern: str, default: object, doc: str, *, values: str, example: object = None) -> Any:
    """A text of a certain form: the whole of it matches a regular expression, which ``values`` says in words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise UnfitError(f"{shown(value)} does not stand here", f"write {values}, in quotes")
        return value

    return setting(check, default, doc, values=values, example=example)


def each_matching(pattern: str, most: int, default: object, doc: str, *, values: str, example: object = None) -> Any:
    """A list of texts of a certain form; ``values`` says in words what each is."""

    def one(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise UnfitError(f"{shown(value)} does not stand here", f"write {values}, in quotes")
        return value

    def check(value: object) -> tuple[str, ...]:
        return _each(value, one, 0, most)

    return setting(check, default, doc, values=f"a list of at most {most}, each {values}", example=example)


def expression(longest: int, default: object, doc: str, *, example: object = None) -> Any:
    """A regular expression; empty for none."""

    def check(value: object) -> str:
        if value == "":
            return ""
        found = _line(longest)(value)
        try:
            re.compile(found)
        except (re.error, RecursionError, OverflowError) as error:
            what = f"{shown(value)} is no regular expression ({error})"
            raise UnfitError(what, "write letters and digits as they are, and a backslash before other signs") from None
        return found

    return setting(check, default, doc, values=f"a regular expression of at most {longest} characters", example=example)


def file_path(default: object, doc: str, *, example: object = None) -> Any:
    """The path of a file or folder, absolute or below the home folder of the station, and in it."""

    def check(value: object) -> Path:
        path = Path(_line(LONGEST_PATH)(value))
        if not path.is_absolute() and ".." in path.parts:
            raise UnfitError(f"{shown(value)} leads out of the home folder", "write the whole path, with / before it")
        return path

    return setting(check, default, doc, values="a path, absolute or below the home folder", example=example)


def secret_reference(default: object, doc: str, *, example: object = IN_STORE) -> Any:
    """Where a secret is, never the secret itself: "file:/path", "env:NAME" or "store".

    What is none of these is not repeated in the fault: it may be the secret.
    """

    def check(value: object) -> str:
        fit = isinstance(value, str) and (
            value == IN_STORE
            or re.fullmatch(rf"{IN_ENVIRONMENT}[A-Za-z_][A-Za-z0-9_]{{0,254}}", value)
            or (value.startswith(IN_FILE) and value.isprintable() and len(IN_FILE) < len(value) <= LONGEST_PATH)
        )
        if not fit:
            raise UnfitError("it does not say where the secret is", f"write {_REFERENCE}, and not the secret itself")
        return str(value)

    return setting(check, default, doc, values=_REFERENCE, example=example)


_REFERENCE: Final = '"store", "file:/path" or "env:NAME"'


def _each(value: object, one: Callable[[object], _Item], fewest: int, most: int) -> tuple[_Item, ...]:
    if not isinstance(value, list):
        raise UnfitError(f"{shown(value)} is not a list", 'write it in brackets, like ["one", "two"]')
    if not fewest <= len(value) <= most:
        raise UnfitError(f"the list has {len(value)} entries", f"give {fewest} to {most}")
    return tuple(one(each) for each in value)


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
    return setting(_word(kind), default, doc, values=_words(kind))


def choices(kind: type[StrEnum], default: object, doc: str) -> Any:
    """A list of words out of an enumeration, at least one, as a frozen set."""
    one = _word(kind)

    def check(value: object) -> frozenset[StrEnum]:
        return frozenset(_each(value, one, 1, len(kind)))

    return setting(check, default, doc, values=f"a list of {_words(kind)}", example=tuple(kind))


def _words(kind: type[StrEnum]) -> str:
    return " or ".join(f'"{word}"' for word in kind)


def _word(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    def check(value: object) -> StrEnum:
        if not isinstance(value, str) or value not in list(kind):
            raise UnfitError(f"{shown(value)} is not known here", f"write {_words(kind)}, with the quotes")
        return kind(value)

    return check


def shown(value: object) -> str:
    """A value of the file as people recognise it in a fault: short, escaped, on one line."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    written = str(value).lower() if isinstance(value, bool) else repr(value)
    return written if len(written) <= 40 else f"{written[:37]}..."
