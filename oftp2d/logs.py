"""What the station logs: one line per event on the standard error output, as text or as JSON.

Every line has its time (RFC 3339, UTC), level and room, and the partner and session where the event names
them. A failure is its type and text on the same line; its traceback appears at level debug only. Control
characters are escaped, so nothing a peer sends can forge a line. Fields named like secrets are never shown.
"""

from __future__ import annotations

import json
import re
import string
import traceback
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from . import config

_SECRET = re.compile(r"passw|secret|passphrase|private|master_?key|token|credential|challenge", re.IGNORECASE)
_UNFORMATTED = ("MESSAGE LOST", "Unable to format event")
_HIDDEN = "<not shown>"
_LONGEST_TEXT = 2000
"""Characters of a message or field; the rest is cut, lest a peer floods the log with one line."""

_LEVELS = {
    config.LogLevel.DEBUG: LogLevel.debug,
    config.LogLevel.INFO: LogLevel.info,
    config.LogLevel.WARN: LogLevel.warn,
    config.LogLevel.ERROR: LogLevel.error,
}


@implementer(ILogObserver)
class LineObserver:
    """Writes each event that reaches the level as one line to the stream. It never raises for an event."""

    def __init__(self, stream: TextIO, level: config.LogLevel, form: config.LogFormat) -> None:
        self._stream = stream
        self._level = _LEVELS[level]
        self._as_json = form is config.LogFormat.JSON

    def __call__(self, event: LogEvent) -> None:
        """Write the event."""
        level = event.get("log_level") or LogLevel.info
        if level < self._level or (self._level is not LogLevel.debug and level <= LogLevel.info and _chatter(event)):
            return
        fields = dict(_fields(event, level.name))
        failure = event.get("log_failure")
        trace = ""
        if isinstance(failure, Failure) and self._level is LogLevel.debug:
            trace = _traceback(failure)
        if self._as_json:
            line = json.dumps(fields | {"traceback": trace} if trace else fields, ensure_ascii=True)
        else:
            told = _named(str(event.get("log_format") or "")) if fields["message"] != event.get("log_format") else ()
            line = _text(fields, told) + "".join(f"\n    {escaped(part)}" for part in trace.splitlines())
        self._stream.write(line + "\n")
        self._stream.flush()


def escaped(value: str) -> str:
    """The text on one line: each character that is not printable as its Python escape, at most 2000 long."""
    short = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "..."
    if short.isprintable():
        return short
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in short
    )


def _fields(event: Mapping[str, Any], level: str) -> Iterator[tuple[str, str | int | float | bool | None]]:
    """The fields of the line in their order; each is escaped text or a plain number."""
    moment = event.get("log_time")
    stamp = datetime.fromtimestamp(moment, UTC) if isinstance(moment, (int, float)) else datetime.now(UTC)
    yield "time", stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{stamp.microsecond // 1000:03d}Z"
    yield "level", level
    yield "room", escaped(_room(str(event.get("log_namespace", "-"))))
    for name in ("partner", "session"):
        if event.get(name) is not None:
            yield name, escaped(str(event[name]))
    yield "message", escaped(_message(event))
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        yield "failure", escaped(f"{failure.type.__name__ if failure.type else '?'}: {_words(failure)}")
    for name, value in event.items():
        if name in {"partner", "session", "time", "level", "room", "message", "failure"} or _internal(name):
            continue
        yield escaped(name), _HIDDEN if _is_secret(name) else _plain(value)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    """Whether a field is named like a secret. Names are written in the code, and so they are few."""
    return _SECRET.search(name) is not None


@lru_cache(maxsize=256)
def _room(namespace: str) -> str:
    """The module an event comes from; of ours without the name of the package and of the class."""
    parts = namespace.split(".")
    if parts[0] != "oftp2d":
        return namespace
    return ".".join(part for part in parts[1:] if part == part.lower() and not part.startswith("_")) or namespace


def _message(event: Mapping[str, Any]) -> str:
    """The message with its fields filled in. A format that fails, or names a secret, doesn't hurt."""
    shown = {name: _HIDDEN if _is_secret(name) else value for name, value in event.items()}
    if shown.get("log_format") is None and "log_failure" in shown:
        return "failed"
    made = formatEvent(shown)
    # What can't be formatted Twisted replaces by a text with a traceback in it; the bare format says more.
    return str(event.get("log_format")) if made.startswith(_UNFORMATTED) else made


def _words(failure: Failure) -> str:
    try:
        return str(failure.value)
    except Exception:  # noqa: BLE001 - a text that can't be had must not stop the log
        return "(no text)"


def _internal(name: str) -> bool:
    """Whether the field is Twisted's own bookkeeping; its legacy logger adds some without a prefix."""
    return name.startswith("log_") or name in {"isError", "format", "system", "why", "factory", "logLevel"}


def _plain(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)  # noqa: PLR0124 - NaN
    try:
        return escaped(str(value))
    except Exception:  # noqa: BLE001 - a field that can't be shown must not stop the log
        return f"<{type(value).__name__}>"


def _text(fields: Mapping[str, object], told: Collection[str]) -> str:
    """The line for people; a field that the message has told already is not repeated."""
    standing = {"time", "level", "room", "message", "failure", "partner", "session", *told}
    rest = "".join(f" {name}={value}" for name, value in fields.items() if name not in standing)
    whose = "".join(f" {name}={fields[name]}" for name in ("partner", "session") if name in fields and name not in told)
    failure = f" ({fields['failure']})" if "failure" in fields else ""
    head = f"{fields['time']} {fields['level']:<8} {fields['room']}"
    return f"{head}{whose}: {fields['message']}{failure}{rest}"


@lru_cache(maxsize=1024)
def _named(form: str) -> frozenset[str]:
    """The fields that a message of this form shows."""
    try:
        return frozenset(name for _, name, _, _ in string.Formatter().parse(form) if name)
    except ValueError:
        return frozenset()


def _chatter(event: Mapping[str, Any]) -> bool:
    """Whether Twisted itself tells something, such as that a factory starts; that is for level debug."""
    namespace = str(event.get("log_namespace", ""))
    return namespace == "log_legacy" or namespace.startswith("twisted.")


def _traceback(failure: Failure) -> str:
    """The traceback without the values of variables, which may be secret."""
    if isinstance(failure.value, BaseException) and failure.value.__traceback__ is not None:
        return "".join(traceback.format_exception(failure.value))
    return failure.getTraceback(detail="default")
