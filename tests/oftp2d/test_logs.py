"""The log: one line per event, escaped, without secrets and without tracebacks above debug."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from oftp2d.config import LogFormat
from oftp2d.config import LogLevel as Level
from oftp2d.logs import LineObserver, escaped

TIME = 1_700_000_000.25


def written(form: LogFormat, level: Level = Level.INFO, **event: object) -> str:
    stream = io.StringIO()
    LineObserver(stream, level, form)(
        {"log_time": TIME, "log_level": LogLevel.info, "log_namespace": "oftp2d.link"} | event
    )
    return stream.getvalue()


def failure(text: str = "broken") -> Failure:
    try:
        int(text)
    except ValueError as error:
        error.args = (text,)
        return Failure()
    raise AssertionError(text)


def test_a_text_line_has_time_level_room_partner_session_message_and_fields() -> None:
    line = written(
        LogFormat.TEXT, log_format="file {name} arrived", name="ORDERS", octets=7, partner="O0013", session="s1"
    )
    assert line == ("2023-11-14T22:13:20.250Z info     link partner=O0013 session=s1: file ORDERS arrived octets=7\n")


def test_what_the_message_tells_is_not_told_again() -> None:
    line = written(
        LogFormat.TEXT,
        log_format="{partner}: session {session} ended",
        partner="O0013",
        session=7,
        log_namespace="oftp2d.admin.server._Lock",
    )
    assert line.endswith(" info     admin.server: O0013: session 7 ended\n")


def test_a_json_line_is_one_object_with_the_same_fields() -> None:
    line = written(LogFormat.JSON, log_format="{octets} octets", octets=7, partner="O0013")
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "room": "link",
        "partner": "O0013",
        "message": "7 octets",
        "octets": 7,
    }


def test_what_is_below_the_level_is_not_written() -> None:
    assert written(LogFormat.TEXT, log_level=LogLevel.debug, log_format="x") == ""
    assert written(LogFormat.TEXT, Level.WARN, log_format="x") == ""
    assert written(LogFormat.TEXT, Level.DEBUG, log_level=LogLevel.debug, log_format="x") != ""


@pytest.mark.parametrize("form", list(LogFormat))
def test_a_failure_is_one_line_with_type_and_text_and_no_traceback(form: LogFormat) -> None:
    line = written(form, log_level=LogLevel.critical, log_format="it failed", log_failure=failure())
    assert line.count("\n") == 1
    assert "ValueError: broken" in line
    assert "Traceback" not in line


@pytest.mark.parametrize("form", list(LogFormat))
def test_at_level_debug_a_failure_has_its_traceback(form: LogFormat) -> None:
    line = written(form, Level.DEBUG, log_format="it failed", log_failure=failure())
    assert "Traceback" in line
    assert (line.count("\n") == 1) is (form is LogFormat.JSON)


@pytest.mark.parametrize("form", list(LogFormat))
@pytest.mark.parametrize("name", ["password", "password_ours", "Passphrase", "private_key", "master_key", "secret"])
def test_a_field_named_like_a_secret_is_shown_neither_alone_nor_in_the_message(form: LogFormat, name: str) -> None:
    line = written(form, log_format="it was {" + name + "}", **{name: "hush"})
    assert "hush" not in line
    assert "<not shown>" in line


@pytest.mark.parametrize("form", list(LogFormat))
def test_control_characters_from_a_peer_can_not_forge_a_line(form: LogFormat) -> None:
    nasty = "A\r\n2023 info forged\x1b[31m\u2028"
    line = written(form, log_format="got {name}", name=nasty, partner=nasty, log_failure=failure(nasty))
    assert line.count("\n") == 1
    assert "\r" not in line
    assert "\x1b" not in line
    assert "\u2028" not in line


@given(st.text())
def test_escaped_text_is_always_printable(text: str) -> None:
    assert escaped(text).isprintable()


@pytest.mark.parametrize("namespace", ["log_legacy", "twisted.protocols.policies.WrappingFactory"])
def test_what_twisted_tells_of_itself_is_for_debug_unless_it_is_a_failure(namespace: str) -> None:
    said = {"log_namespace": namespace, "log_format": "starting"}
    assert written(LogFormat.TEXT, **said) == ""
    assert written(LogFormat.TEXT, Level.DEBUG, **said) != ""
    assert written(LogFormat.TEXT, **said, log_level=LogLevel.critical, log_failure=failure()) != ""


def test_a_long_text_is_cut() -> None:
    assert len(escaped("x" * 10_000)) == 2003


@pytest.mark.parametrize("form", list(LogFormat))
def test_an_event_that_can_not_be_formatted_still_makes_one_line(form: LogFormat) -> None:
    class Awkward:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    line = written(form, log_format="{missing} {thing}", thing=Awkward(), odd=float("nan"))
    assert line.count("\n") == 1
    assert "<Awkward>" in line
    assert "{missing} {thing}" in line
    assert "Traceback" not in line


def test_it_takes_what_a_logger_of_twisted_emits() -> None:
    stream = io.StringIO()
    log = Logger(namespace="oftp2d.test", observer=LineObserver(stream, Level.INFO, LogFormat.JSON))
    log.error("low on {what}", what="disk", partner="O1")
    log.failure("went wrong", failure())
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["room"], first["message"]) == ("error", "test", "low on disk")
    assert second["failure"] == "ValueError: broken"
