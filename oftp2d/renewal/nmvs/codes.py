"""The result codes of a profile: which of them mean what, what they say in words, and what a person does next (nmvs.md 4).

A code is looked up by patterns: ``*`` stands for anything, and the pattern with the most letters wins, so that a profile can name
single codes and has a word for all others of their family. A code that no pattern has is a case for a person. Its name is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Generic, TypeVar

from oftp2d.renewal.interface import Verdict

T = TypeVar("T")

LONGEST_CODE: Final = 64
LONGEST_TEXT: Final = 300


class Group(StrEnum):
    """What a code means for the renewal: the lists of ``[codes]``."""

    SUCCESS = "success"
    NOT_YET = "not_yet"
    ALREADY = "already"
    AUTH = "auth"
    LOCKED = "locked"
    RETRY = "retry"
    FATAL = "fatal"


VERDICTS: Final[Mapping[Group, Verdict]] = {
    Group.SUCCESS: Verdict.FETCHED,
    Group.NOT_YET: Verdict.NOT_YET,
    Group.ALREADY: Verdict.ALREADY,
    Group.AUTH: Verdict.AUTH_FAILED,
    Group.LOCKED: Verdict.LOCKED,
    Group.RETRY: Verdict.RETRY,
    Group.FATAL: Verdict.FATAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a code says."""

    verdict: Verdict
    known: bool
    """Whether the profile has a word for it."""
    text: str
    advice: str
    after: timedelta | None = None


class Patterns(Generic[T]):
    """Values by patterns of codes."""

    def __init__(self, values: Mapping[str, T]) -> None:
        most_letters_first = sorted(
            values, key=lambda pattern: (-len(pattern.replace("*", "")), "*" in pattern, pattern)
        )
        self._values = [(_compiled(pattern), values[pattern]) for pattern in most_letters_first]

    def of(self, code: str) -> T | None:
        """The value of the pattern that fits best."""
        return next((value for pattern, value in self._values if pattern.fullmatch(code)), None)


class Codes:
    """The codes of one profile."""

    def __init__(
        self,
        groups: Mapping[Group, Sequence[str]],
        *,
        texts: Mapping[str, str],
        advice: Mapping[str, str],
        after: Mapping[str, int],
    ) -> None:
        """``texts`` and ``advice`` in words, ``after`` in minutes, each by pattern."""
        self._groups = Patterns({pattern: group for group, patterns in groups.items() for pattern in patterns})
        self._texts = Patterns(texts)
        self._advice = Patterns(advice)
        self._after = Patterns(after)

    def meaning(self, code: str) -> Meaning:
        """What a code means; ``code`` is as it came."""
        group = self._groups.of(code)
        minutes = self._after.of(code)
        advice = self._advice.of(code) or ""
        if group is None:
            advice = advice or (
                "look it up in the interface document and add it to [codes] of the profile; the help desk of your national"
                " medicines verification organisation knows it, too"
            )
        return Meaning(
            verdict=VERDICTS[group or Group.FATAL],
            known=group is not None,
            text=self._texts.of(code) or "",
            advice=advice,
            after=None if minutes is None else timedelta(minutes=minutes),
        )


def shown(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text of the source on one line, as a log can bear it."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[: 4 * longest]).split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
