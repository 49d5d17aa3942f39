"""``renew`` on the command line: what is refused before anybody is asked, and what it does with a real station and a plugin."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from rich.console import Console

from oftp2d.cli import options
from oftp2d.cli.app import execute
from oftp2d.cli.terminal import Exit, Terminal
from oftp2d.config import FILE_NAME


def said(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out=Console(file=out, width=200), err=Console(file=err, width=200), serve=lambda _config: 0)
    return execute(arguments, terminal), out.getvalue() + err.getvalue()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    monkeypatch.delenv("OFTP2D_KEY_PASSPHRASE", raising=False)
    (tmp_path / FILE_NAME).touch()
    return tmp_path


class Keyboard(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> None:
    """Somebody types these, one prompt after the other."""
    left = list(answers)

    def prompt(_question: str, **how: Any) -> str:
        assert how["hide_input"]
        return left.pop(0)

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr(click, "prompt", prompt)


# --- what is refused before anybody is asked -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("run",), "Name credential sets, or say --all-due"),
        (("run", "a", "--all-due"), "Name credential sets, or say --all-due"),
        (("run", "a", "b", "--tan"), "A TAN is for one credential set"),
        (("run", "--all-due", "--tan-stdin"), "A TAN is for one credential set"),
        (("run", "a", "--tan", "--tan-stdin"), "--tan or --tan-stdin, not both"),
        (("run", "../etc"), "at most 64 small letters, digits, dots and hyphens"),
        (("status", "London"), "at most 64 small letters"),
        (("rollback", "a"), "There is nobody to ask: add --yes"),
        (("activate", "a", "--candidate", "0"), "0 is not in the range"),
        (("import", "a", "nothing.p12"), "does not exist"),
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_told_with_what_may_stand_there(arguments: tuple[str, ...], what: str) -> None:
    code, told = said("renew", *arguments)
    assert code == Exit.USAGE
    assert what in told
    assert "oftp2d renew" in told


@pytest.mark.parametrize("line", ["", "\n", "a\tb\n", "\x1b[2J\n", "7" * 201 + "\n"], ids=repr)
def test_a_tan_that_cannot_be_one_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    code, told = said("renew", "run", "a", "--tan-stdin")
    assert code == Exit.FAILED
    assert told == "The TAN: what was given can't be it: give 1 to 200 characters on one line, without tabs\n"


def test_only_the_first_line_of_the_standard_input_is_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("päss wörd&<>\r\nsecond\n"))
    assert options.entered("It", stdin=True, longest=20) == "päss wörd&<>"


def test_without_anybody_to_ask_a_tan_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("12345678\n"))
    code, told = said("renew", "run", "a", "--tan")
    assert code == Exit.USAGE
    assert "there is nobody to ask" in told
    assert "12345678" not in told


def test_a_secret_that_is_typed_differently_the_second_time_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "Secret-One-1", "Secret-Two-2")
    code, told = said("renew", "secret", "a")
    assert code == Exit.FAILED
    assert "the two differ" in told
    assert "Secret" not in told


def test_a_tan_is_asked_for_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "12345678")
    code, told = said("renew", "run", "a", "--tan")
    assert code == Exit.UNREACHABLE
    assert "12345678" not in told


def test_a_file_that_is_too_large_for_a_credential_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "large.p12").write_bytes(bytes(1024 * 1024 + 1))
    code, told = said("renew", "import", "a", str(tmp_path / "large.p12"))
    assert code == Exit.FAILED
    assert "too large for a credential: check that it is the right file" in told
