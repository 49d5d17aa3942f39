"""The input of the administration interface: every value is checked and bounded before anybody else sees it.

:class:`Fields` reads a JSON body or a query string. A fault is an :class:`InputError` that names the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from oftp2.values import is_identification_code
from oftp2d.errors import OperatorError

LARGEST_BODY = 2 * 1024 * 1024
"""Octets of a JSON body."""

HOST = re.compile(r"[\w.:-]{1,255}")
"""A host name, also an international one, or an IP address."""

E = TypeVar("E", bound=StrEnum)


class InputError(OperatorError):
    """The request itself is wrong."""


class Fields:
    """The fields of a request. Those never read are unknown ones, which ``finish`` refuses."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)
        self._read: set[str] = set()

    @classmethod
    def of_body(cls, octets: bytes) -> Fields:
        """Out of a JSON object; an empty body is an empty object."""
        if len(octets) > LARGEST_BODY:
            raise InputError("the request is too large", f"send at most {LARGEST_BODY} octets")
        try:
            document = json.loads(octets) if octets else {}
        except (ValueError, RecursionError):
            raise InputError("the request is not JSON", "send a JSON object in UTF-8") from None
        if not isinstance(document, dict):
            raise InputError("the request is not a JSON object", "send an object with named fields")
        return cls(document)

    @classmethod
    def of_query(cls, arguments: Mapping[bytes, Iterable[bytes]]) -> Fields:
        """Out of a query string; a repeated name counts once, the last time."""
        values: dict[str, object] = {}
        for name, given in arguments.items():
            for value in given:
                values[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        return cls(values)

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def finish(self) -> None:
        """Refuse fields nobody asked for."""
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            known = ", ".join(sorted(self._read)) or "none"
            raise InputError(f"there is no field {unknown[0][:40]!r} here", f"known are: {known}")

    def optional(self, name: str, *, longest: int = 200) -> str | None:
        """One line of text; None when it is missing or null."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > longest or not (value.isprintable()):
            raise InputError(f"{name} is no text for here", f"give one line of at most {longest} characters")
        return value

    def text(self, name: str, *, longest: int = 200) -> str:
        """One line of text that must be there and not be empty."""
        return self._present(name, self.optional(name, longest=longest))

    def block(self, name: str, *, longest: int) -> str | None:
        """Text of several lines, such as PEM."""
        value = self._take(name)
        if value is not None and (not isinstance(value, str) or len(value) > longest):
            raise InputError(f"{name} is no text for here", f"give at most {longest} characters")
        return value if isinstance(value, str) else None

    def secret(self, name: str, *, longest: int, plain: bool = True) -> str | None:
        """A password, of ASCII characters where it is to be ``plain``; never repeated in a fault."""
        value = self._take(name)
        if value is None:
            return None
        fit = isinstance(value, str) and (value.isascii() or not plain) and (value.isprintable() or not value)
        if not isinstance(value, str) or not fit or len(value) > longest:
            kind = "plain ASCII" if plain else "printable"
            raise InputError(f"{name} can't be used", f"give at most {longest} {kind} characters")
        return value

    def code(self, name: str) -> str | None:
        """An Odette code."""
        value = self.optional(name, longest=25)
        if value is not None and not is_identification_code(value):
            raise InputError(
                f"{name} is no Odette code",
                "it has 1 to 25 characters: capitals, digits, / - . & ( ) and blanks between them",
            )
        return value

    def host(self, name: str) -> str | None:
        """A host name or IP address; empty is the wish to have none."""
        value = self.optional(name, longest=255)
        if value and not HOST.fullmatch(value):
            raise InputError(f"{name} is no host name", "give a name such as oftp.partner.example, or an IP address")
        return value

    def codes(self, name: str) -> tuple[str, ...]:
        """Several Odette codes."""
        found = self.texts(name, longest=25)
        for each in found:
            if not is_identification_code(each):
                raise InputError(f"{name} holds something else than Odette codes", "give a list of codes")
        return found

    def texts(self, name: str, *, longest: int = 200, most: int = 100) -> tuple[str, ...]:
        """Several lines of text."""
        value = self._take(name)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            raise InputError(f"{name} is no list for here", f"give a list of at most {most} texts")
        for each in value:
            if not isinstance(each, str) or not each or len(each) > longest or not each.isprintable():
                raise InputError(f"{name} holds something unfit", f"give texts of at most {longest} characters")
        return tuple(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """A truth value."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InputError(f"{name} is neither true nor false", "give one of them, without quotes")
        return value

    def wish(self, name: str) -> bool | None:
        """A truth value in a query string: true or false; None when it is missing."""
        value = self._take(name)
        if value is None:
            return None
        if value not in {"true", "false"}:
            raise InputError(f"{name} is neither true nor false", "give one of them")
        return value == "true"

    def whole(self, name: str, lowest: int, highest: int) -> int | None:
        """A whole number; in a query string its digits."""
        value = self._take(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
            value = int(value)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise InputError(f"{name} is no number for here", f"give one from {lowest} to {highest}")
        return value

    def moment(self, name: str) -> datetime | None:
        """An instant, RFC 3339; without an offset it is UTC."""
        value = self.optional(name, longest=40)
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InputError(f"{name} is no time", "give one such as 2027-03-01T12:00:00Z") from None

    def limit(self) -> int:
        """How many entries of a listing are wanted."""
        return self.whole("limit", 1, 1000) or 100

    def choice(self, name: str, kind: type[E]) -> E | None:
        """One word of an enumeration."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str) or value not in list(kind):
            raise InputError(f"{name} is not known here", f"give one of: {', '.join(kind)}")
        return kind(value)

    def choices(self, name: str, kind: type[E]) -> frozenset[E]:
        """Several words of an enumeration."""
        found = self.texts(name)
        if not set(found) <= set(kind):
            raise InputError(f"{name} holds an unknown word", f"known are: {', '.join(kind)}")
        return frozenset(kind(each) for each in found)

    def _take(self, name: str) -> object:
        self._read.add(name)
        return self._values.get(name)

    def _present(self, name: str, value: str | None) -> str:
        if not value:
            raise InputError(f"{name} is missing", "give it")
        return value


def dataset_name(file_name: str) -> str:
    """A dataset name out of the name of a file: upper-case, in the characters of RFC 5024 and _, at most 26."""
    folded = re.sub(r"[^0-9A-Z/\-.&()_ ]", "-", file_name.upper().replace("/", "-"))
    return folded.strip(" ")[:26].rstrip(" ") or "FILE"
