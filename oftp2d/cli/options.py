"""What commands share: --json, Odette codes, passwords that never stand on a command line, completion."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from oftp2.values import is_identification_code
from oftp2d import config
from oftp2d.client import AdminClient
from oftp2d.errors import OperatorError

from .forms import items
from .terminal import Terminal

LARGEST_FILE = 1024 * 1024
"""Octets of a file with certificates or keys; real ones have some thousand."""

CODE_SHAPE = re.compile(r"O[0-9]{4}[0-9A-Z/\-.&() ]{1,20}")

CODE_HELP = (
    "An Odette code has at most 25 characters: the letter O, four digits for the list of companies it is "
    "from (such as 0013 or 0177), up to 14 characters for the company, and up to 6 for one of its systems."
)

_HOST = re.compile(r"[\w.:-]{1,253}")

Command = Callable[..., int | None]


class Section(click.Group):
    """A group that lists its commands in the order of the manual, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order in which they were added."""
        del ctx
        return list(self.commands)


def command(
    group: click.Group, name: str, kind: type[click.Command] = click.Command
) -> Callable[[Command], click.Command]:
    """Add a command with --json to the group; the function gets the Terminal first."""

    def add(function: Command) -> click.Command:
        switch = click.option(
            "--json",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_json,
            help="Print one JSON document, for scripts. Sizes are octets, times RFC 3339 in UTC.",
        )
        made: click.Command = group.command(name, cls=kind)(switch(click.pass_obj(function)))
        return made

    return add


def _json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Terminal):
        ctx.obj.as_json = True


class OdetteCode(click.ParamType[str]):
    """An Odette identification code; upper-cased, checked for length and characters."""

    name = "code"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The code, or a usage error that says what may stand there."""
        code = str(value).strip().upper()
        if not is_identification_code(code):
            self.fail(f"{code!r} is no Odette code. {CODE_HELP}", param, ctx)
        return code


CODE = OdetteCode()


class HostName(click.ParamType[str]):
    """A host name or IP address."""

    name = "host"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or a usage error."""
        if not _HOST.fullmatch(str(value)):
            self.fail(f"{value!r} is no host name, such as oftp.acme.example", param, ctx)
        return str(value)


HOST = HostName()

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[int]):
    """A length of time such as 90s, 10m, 2h or 1d; its seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds, or a usage error that says what may stand there."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is no length of time, such as 90s, 10m, 2h or 1d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


DURATION = Duration()


class Moment(click.ParamType[str]):
    """A point in time, UTC: a day, or a day with a time; as the interface takes it."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """RFC 3339 in UTC, or a usage error that says what may stand there."""
        try:
            found = datetime.fromisoformat(str(value).strip())
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time, such as 2027-03-01, '2027-03-01 12:00' or 2027-03-01T12:00:00Z", param, ctx
            )
        return found.isoformat().replace("+00:00", "Z")


MOMENT = Moment()


_SET = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


class SetName(click.ParamType[str]):
    """The name of a credential set."""

    name = "set"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name, or a usage error that says what may stand there."""
        if not _SET.fullmatch(str(value)):
            advice = "it has at most 64 small letters, digits, dots and hyphens; see 'oftp2d renew status'"
            self.fail(f"{value!r} is no name of a credential set: {advice}", param, ctx)
        return str(value)


SET = SetName()


def hint_about(terminal: Terminal, code: str) -> None:
    """Point at a code of an unusual shape; some partners do use one, so it is no error."""
    if not CODE_SHAPE.fullmatch(code):
        terminal.hint(f"{code} is an unusual code. {CODE_HELP}")


def completing(path: str, listing: str, key: str) -> Callable[..., list[CompletionItem]]:
    """A shell completion out of a listing of the running station; nothing when it is not running."""

    def complete(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            with AdminClient(config.socket_path(config.home_folder())) as client:
                found = items(client.get(path), listing)
        except OperatorError:
            return []
        values = (str(each.get(key)) for each in found)
        return [CompletionItem(value) for value in values if value.upper().startswith(begun.upper())]

    return complete


complete_partner = completing("/v1/partners", "partners", "code")
complete_station = completing("/v1/stations", "stations", "code")
complete_set = completing("/v1/credential-sets", "credential_sets", "name")


def partner_argument(function: Command) -> Command:
    """The partner the command is about, by its main code."""
    return click.argument("partner", type=CODE, shell_complete=complete_partner, metavar="PARTNER")(function)


def confirmed(question: str) -> None:
    """Ask whether it is meant; ends the command if it is not, or if there is nobody to ask."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} There is nobody to ask: add --yes.")
    click.confirm(question, abort=True, err=True)


def secret(*, file: Path | None, variable: str, question: str, longest: int | None, ask: bool = True) -> str | None:
    """A secret from the file, else from the environment variable, else asked for without showing it.

    Unless it is wanted (``ask``) only a file counts; without one the answer is None.

    Raises:
        click.UsageError: there is nobody to ask.
        OperatorError: the file can't be read, or the secret is too long or not printable ASCII.
    """
    if file is not None:
        try:
            value = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise OperatorError(f"the file {file} can't be read as text", "check its name and mode") from None
    elif not ask:
        return None
    elif variable in os.environ:
        value = os.environ[variable]
    elif sys.stdin.isatty():
        value = click.prompt(f"{question} (Enter for none)", hide_input=True, default="", show_default=False, err=True)
    else:
        raise click.UsageError(f"{question} is missing: give it in the environment variable {variable} or with a file.")
    if not (value.isascii() and (value.isprintable() or not value)):
        raise OperatorError("a password holds characters other than plain ASCII", "agree on another one")
    if longest is not None and len(value) > longest:
        raise OperatorError(f"a password has more than {longest} characters", "agree on a shorter one")
    return value


def entered(question: str, *, stdin: bool, longest: int, twice: bool = False) -> str:
    """A secret that must be there: the first line of the standard input (``stdin``), else asked for without showing it.

    Raises:
        click.UsageError: there is nobody to ask.
        OperatorError: it is empty, too long, or holds characters that cannot be typed.
    """
    if stdin:
        value = sys.stdin.readline(longest + 2).rstrip("\r\n")
    elif sys.stdin.isatty():
        value = click.prompt(question, hide_input=True, default="", show_default=False, err=True)
    else:
        raise click.UsageError(f"{question}: there is nobody to ask. Give it on the standard input, and say so.")
    if not value or len(value) > longest or not value.isprintable():
        advice = f"give 1 to {longest} characters on one line, without tabs"
        raise OperatorError(f"{question}: what was given can't be it", advice)
    if (
        twice
        and not stdin
        and click.prompt("Once more", hide_input=True, default="", show_default=False, err=True) != value
    ):
        raise OperatorError(f"{question}: the two differ", "say the command again, and type it twice alike")
    return value


def content(file: Path, what: str) -> bytes:
    """The octets of a file with certificates or keys; ``what`` it should be. Raises OperatorError."""
    try:
        with file.open("rb") as source:
            octets = source.read(LARGEST_FILE + 1)
    except OSError as error:
        raise OperatorError(f"{file} can't be read ({error.strerror})", "check its mode") from None
    if len(octets) > LARGEST_FILE:
        raise OperatorError(f"{file} is too large for {what}", "check that it is the right file")
    return octets
