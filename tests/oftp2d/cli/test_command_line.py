"""The command line as such: help, exit codes, errors, secrets. No daemon runs here."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from rich.console import Console

from oftp2d import config
from oftp2d.cli.app import cli, execute
from oftp2d.cli.forms import moment, size, table, words
from oftp2d.cli.inbox import local_name
from oftp2d.cli.options import CODE_SHAPE
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Exit, Terminal, console
from oftp2d.config import FILE_NAME


class Run:
    """One command line carried out, with what it wrote."""

    def __init__(self, *arguments: str, serve: int = 0) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.served: list[config.Config] = []

        def run(configuration: config.Config) -> int:
            self.served.append(configuration)
            return serve

        terminal = Terminal(out=lambda: Screen(file=out, width=200), err=lambda: Screen(file=err, width=200), serve=run)
        self.code = execute(arguments, terminal)
        self.out, self.err = out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    for name in ("OURS", "THEIRS"):
        monkeypatch.delenv(f"OFTP2D_PASSWORD_{name}", raising=False)
    return tmp_path


def commands(group: click.Group = cli, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        each = group.get_command(context, name)
        assert each is not None, name
        if isinstance(each, click.Group):
            yield from commands(each, (*above, name))
        else:
            yield (*above, name), each


ALL = dict(commands())


def test_every_command_of_the_manual_is_there() -> None:
    assert {" ".join(path) for path in ALL} >= {
        "init", "run", "check", "status", "call", "audit", "send",
        "station add", "station list",
        "partner add", "partner list", "partner show", "partner change", "partner remove", "partner test",
        "cert list", "cert show", "cert import", "cert generate", "cert announce", "cert confirm",
        "exchange deliver", "exchange request", "exchange recall", "exchange list",
        "transfer list", "transfer show", "transfer retry", "transfer cancel", "inbox list", "inbox get",
    }  # fmt: skip


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_for_itself_and_its_options(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Run(*path, "--help").code == Exit.DONE
    assert "Usage: oftp2d" in capsys.readouterr().out
    assert ALL[path].help
    for parameter in ALL[path].params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize("path", sorted(set(ALL) - {("run",), ("completion",)}), ids=" ".join)
def test_every_command_can_answer_in_json(path: tuple[str, ...]) -> None:
    assert "--json" in {name for parameter in ALL[path].params for name in parameter.opts}


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_no_option_takes_a_secret_on_the_command_line(path: tuple[str, ...]) -> None:
    for parameter in ALL[path].params:
        if "passw" in (parameter.name or "") or "passphrase" in (parameter.name or ""):
            assert isinstance(parameter.type, click.Path) or (isinstance(parameter, click.Option) and parameter.is_flag)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["station", "list"],
        ["partner", "list"],
        ["partner", "test", "O0013000002TEST"],
        ["cert", "list"],
        ["exchange", "list"],
        ["transfer", "list"],
        ["inbox", "list"],
        ["call", "O0013000002TEST"],
        ["audit"],
    ],
    ids=" ".join,
)
def test_without_a_daemon_the_exit_code_is_3_and_the_line_says_how_to_start_it(
    arguments: list[str], home: Path
) -> None:
    home.mkdir(exist_ok=True)
    (home / FILE_NAME).touch()
    run = Run(*arguments)
    assert run.code == Exit.UNREACHABLE == 3
    assert run.err == "the daemon is not running: start it with 'oftp2d run'\n"
    assert run.out == ""


def test_without_a_station_the_line_says_how_to_make_one(home: Path) -> None:
    run = Run("status")
    assert run.code == Exit.UNREACHABLE
    assert run.err == f"there is no station in {home}: make one with 'oftp2d init', or set OFTP2D_HOME to its folder\n"


def test_an_error_in_json_is_one_document_on_the_standard_output(home: Path) -> None:
    home.mkdir(exist_ok=True)
    (home / FILE_NAME).touch()
    run = Run("status", "--json")
    assert json.loads(run.out) == {
        "error": {"what": "the daemon is not running", "advice": "start it with 'oftp2d run'"}
    }
    assert run.code == Exit.UNREACHABLE


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["partner", "show"],
        ["partner", "show", "O001_"],
        ["partner", "show", "O" * 26],
        ["init", "--code", "O0013000001TEST", "--name", "x", "--host", "bad host"],
        ["cert", "remove", "something"],
        ["send", "O0013000002TEST", "/there/is/no/such/file"],
        ["cert", "announce", "O0013000002TEST"],
        ["cert", "import", __file__],
        ["partner", "change", "O0013000002TEST"],
        ["transfer", "list", "--limit", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_is_exit_code_2_and_also_an_error_in_json(arguments: list[str]) -> None:
    assert Run(*arguments).code == Exit.USAGE == 2
    document = json.loads(Run(*arguments, "--json").out)
    assert document["error"]["what"]
    assert "--help" in document["error"]["advice"]


def test_run_reads_the_configuration_and_serves_it(home: Path) -> None:
    (home / "oftp2d.toml").write_text("[session]\ncredit = 7\n")
    run = Run("run", serve=9)
    assert run.code == 9
    assert run.served[0].session.credit == 7


def test_run_with_a_faulty_configuration_names_all_faults_and_does_not_start(home: Path) -> None:
    (home / "oftp2d.toml").write_text("[session]\ncredit = 0\nbufer_size = 1\n")
    run = Run("run")
    assert run.code == Exit.CONFIGURATION == 4
    assert not run.served
    assert "session.credit" in run.err
    assert "did you mean 'buffer_size'?" in run.err


def test_passwords_are_not_invented_when_there_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    run = Run("partner", "add", "O0013000002TEST")
    assert run.code == Exit.USAGE
    assert "OFTP2D_PASSWORD_OURS" in run.err


def test_a_password_that_is_too_long_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFTP2D_PASSWORD_OURS", "hush" * 3)
    run = Run("partner", "add", "O0013000002TEST")
    assert run.code == Exit.FAILED
    assert "8 characters" in run.err
    assert "hush" not in run.err


def test_an_unusual_code_gets_a_hint_but_no_refusal() -> None:
    run = Run("station", "add", "ACME", "--name", "Acme")
    assert "unusual code" in run.err
    assert run.code == Exit.UNREACHABLE
    assert CODE_SHAPE.fullmatch("O0013000001TEST")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_there_for_the_usual_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Run("completion", shell).code == Exit.DONE
    assert "_OFTP2D_COMPLETE" in capsys.readouterr().out


def test_sizes_and_times_for_people() -> None:
    assert size(0) == "0 octets"
    assert size(1023) == "1023 octets"
    assert size(64 * 1024**2) == "64.0 MiB"
    assert size(5 * 1024**4) == "5.0 TiB"
    assert moment("2026-01-02T03:04:05.678Z").plain == "2026-01-02 03:04:05Z"
    assert moment(None).plain == "-"
    assert moment("yesterday").plain == "yesterday"


def test_codes_in_a_table_stay_whole_however_narrow_the_terminal_is() -> None:
    code, prose = "O0013000002PARTNER", "a rather long explanation of why nothing goes on"
    made = table(["code", "why~"], [[code, prose]], empty="nothing")
    for narrow in (Screen(file=io.StringIO(), width=20, force_terminal=True), console(io.StringIO())):
        Terminal(out=lambda shown=narrow: shown, err=lambda shown=narrow: shown, serve=lambda _config: 0).show(
            {}, lambda: made
        )
        assert isinstance(narrow.file, io.StringIO)
        assert code in narrow.file.getvalue()


def test_a_line_for_a_file_is_never_broken() -> None:
    stream = io.StringIO()
    Terminal(out=lambda: console(stream), err=lambda: console(stream), serve=lambda _config: 0).say("word " * 100)
    assert stream.getvalue().count("\n") == 1


def test_what_comes_from_a_partner_is_neither_markup_nor_control_characters() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(table(["a", "b"], [["[red]x[/]", "\x1b[31my\n"]], empty="-"))
    assert "[red]x[/]" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert words(["a", "b"]).plain == "a, b"
    assert words(False).plain == "no"


@pytest.mark.parametrize("dataset", ["../../etc/passwd", "/etc/passwd", "a\x00b", "..", "", "-rf", "CON\n"])
def test_a_received_name_never_becomes_a_path(dataset: str) -> None:
    name = local_name({"id": "7K3M", "dataset": dataset})
    assert Path(name).name == name
    assert name.startswith("7K3M")
    assert name.isprintable()


def test_the_module_is_the_command_and_loads_no_reactor_for_asking(home: Path) -> None:
    command = [sys.executable, "-W", "error", "-X", "importtime", "-m", "oftp2d", "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == Exit.UNREACHABLE
    assert json.loads(done.stdout)["error"]["what"] == f"there is no station in {home}"
    assert done.stderr.splitlines()[-1].endswith("or set OFTP2D_HOME to its folder"), "one line, wherever it goes"
    assert "twisted.internet.reactor" not in done.stderr
    assert "sqlalchemy" not in done.stderr
