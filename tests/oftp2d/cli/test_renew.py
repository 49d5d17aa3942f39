"""``renew`` on the command line: what is refused before anybody is asked, and what it does with a real station and a plugin."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from oftp2d.cli import options, renewing
from oftp2d.cli.app import execute
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Exit, Terminal
from oftp2d.config import FILE_NAME
from oftp2d.renewal.interface import Answer, Refusal, Trial, Verdict
from oftp2d.vault import Secret
from tests import pki
from tests.oftp2d.desk import Office, open_office
from tests.oftp2d.scripted import Scripted, credential, scripted_registry


def said(*arguments: str) -> tuple[int, str]:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(
        out=lambda: Screen(file=out, width=200), err=lambda: Screen(file=err, width=200), serve=lambda _config: 0
    )
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
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
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


# --- with a real station, a real renewer, and a plugin that says what it is told ---------------------------------

PASSWORD = "Pass-Wörd-<1>"
TAN = "TAN-98765432"
PASSPHRASE = "Q&A<\"'>-Open-7"

DEFINITION = """\
[[set]]
name = "mine"
plugin = "scripted"
contact = "edi@acme.example"
[set.export]
folder = "exported/mine"
"""


def issued(**more: Any) -> pki.Issued:
    return pki.make(**{"subject": "CN=mine", "issuer": pki.issuing("A"), "days": (-1, 365)} | more)


@dataclass
class Station:
    """An office with a credential set, and all that its commands said."""

    office: Office
    source: Scripted
    said: list[str] = field(default_factory=list)

    def define(self, text: str = DEFINITION, name: str = "mine.toml") -> None:
        folder = self.office.home / "renewal"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    async def told(self, *arguments: str, code: int = Exit.DONE) -> str:
        """All that a command says that ends with this code."""
        ended, out, err = await self.office.run("renew", *arguments)
        self.said += [out, err]
        assert ended == code, out + err
        return out + err

    async def document(self, *arguments: str, code: int = Exit.DONE) -> dict[str, Any]:
        """The JSON document of a command that ends with this code."""
        ended, out, err = await self.office.run("renew", *arguments, "--json")
        self.said += [out, err]
        assert ended == code, out + err
        found: dict[str, Any] = json.loads(out)
        return found

    async def with_input(self, line: str, *arguments: str, code: int = Exit.DONE) -> str:
        """The same, with a line on the standard input."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "stdin", io.StringIO(line))
            return await self.told(*arguments, code=code)

    async def keep_password(self) -> None:
        assert "password is set" in await self.with_input(f"{PASSWORD}\n", "secret", "mine", "--stdin")


@pytest_twisted.async_yield_fixture
async def station(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Station]:
    """A station whose set ``mine`` is defined, with its password told."""
    monkeypatch.setattr(renewing, "POLL_SECONDS", 0.01)
    async with open_office(home, registry=scripted_registry) as office:
        source = office.renewer.registry.plugin("scripted")
        assert isinstance(source, Scripted)
        opened = Station(office, source)
        opened.define()
        await opened.told("plan")
        await opened.keep_password()
        yield opened


@pytest_twisted.ensureDeferred
async def test_a_credential_is_fetched_activated_told_of_and_shown(station: Station) -> None:
    station.source.says = [credential(issued())]
    assert "there is no credential yet" in await station.told("plan", "mine")
    ended = await station.told("run", "mine", "--wait")
    assert "✓ mine: the new credential is active, until" in ended
    assert (station.office.home / "exported" / "mine" / "current" / "credential.p12").exists()
    listed = await station.told("status")
    line = next(line for line in listed.splitlines() if line.startswith("mine"))
    assert [word in line for word in ("scripted", "364", "valid", "fetched")] == [True] * 4
    assert "1 credential set: 1 valid" in listed
    shown = await station.told("status", "mine")
    for told in ("In use", "CN=mine", "Consumers", "export", "of mine: good", "edi@acme.example", "T-"):
        assert told in shown, told
    assert "credential activated" in await station.told("history", "mine")
    document = await station.document("status", "mine")
    assert (document["phase"], document["days_left"], document["current"]["state"]) == ("valid", 364, "active")
    assert document["consumers"][0]["state"] == "done"
    _, out, _ = await station.office.run("status")
    assert "credential sets" in out


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.NOT_YET, Exit.TIMEOUT),
        (Verdict.RETRY, Exit.TIMEOUT),
        (Verdict.FATAL, Exit.REFUSED),
        (Verdict.ALREADY, Exit.REFUSED),
        (Verdict.AUTH_FAILED, Exit.REFUSED),
        (Verdict.LOCKED, Exit.REFUSED),
    ],
    ids=str,
)
@pytest_twisted.ensureDeferred
async def test_each_answer_without_a_credential_has_its_exit_code(
    station: Station, verdict: Verdict, code: int
) -> None:
    station.source.says = [Refusal(verdict=verdict, code="E_17", text="so says the source", transaction="TRX-4711")]
    assert "so says the source" in await station.told("run", "mine", code=code)
    document = await station.document("status", "mine")
    assert (document["verdict"], document["code"], document["transaction"]) == (verdict, "E_17", "TRX-4711")
    assert "E_17" in await station.told("status")


@pytest_twisted.ensureDeferred
async def test_what_was_unreadable_before_does_not_hide_what_the_source_says_now(station: Station) -> None:
    rubbish = Answer(content=Secret(b"neither PKCS#12 nor PEM"))
    station.source.says = [rubbish, Refusal(verdict=Verdict.NOT_YET, text="come again")]
    assert "kept and not activated" in await station.told("run", "mine", code=Exit.FAILED)
    assert "come again" in await station.told("run", "mine", code=Exit.TIMEOUT)


@pytest_twisted.ensureDeferred
async def test_a_refused_password_blocks_until_another_is_told(station: Station) -> None:
    station.source.says = [Refusal(verdict=Verdict.AUTH_FAILED, text="wrong password"), credential(issued())]
    await station.told("run", "mine", code=Exit.REFUSED)
    assert "not before you act" in await station.told("status")
    assert "blocked" in await station.told("run", "mine", code=Exit.FAILED)
    assert len(station.source.asked) == 1
    await station.with_input(f"{PASSWORD}2\n", "secret", "mine", "password", "--stdin")
    assert "is active" in await station.told("run", "mine")
    assert station.source.asked[-1].password == f"{PASSWORD}2"


@pytest_twisted.ensureDeferred
async def test_a_locked_account_is_asked_again_only_behind_a_word_of_a_person(station: Station) -> None:
    station.source.says = [Refusal(verdict=Verdict.LOCKED, text="locked"), credential(issued())]
    await station.told("run", "mine", code=Exit.REFUSED)
    assert "oftp2d renew unblock" in await station.told("status", "mine")
    assert "free" in await station.told("unblock", "mine")
    await station.told("run", "mine")


@pytest_twisted.ensureDeferred
async def test_a_tan_reaches_the_source_from_a_pipe_and_from_a_prompt(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.source.says = [Refusal(verdict=Verdict.NOT_YET), credential(issued())]
    await station.with_input(f"{TAN}\n", "run", "mine", "--tan-stdin", code=Exit.TIMEOUT)
    typed(monkeypatch, f"{TAN}-2")
    await station.told("run", "mine", "--tan")
    assert [each.tan for each in station.source.asked] == [TAN, f"{TAN}-2"]


@pytest_twisted.ensureDeferred
async def test_what_is_refused_by_the_checks_is_kept_and_can_be_overruled(station: Station) -> None:
    station.source.says = [credential(issued()), credential(issued(subject="CN=other", days=(-1, 700)))]
    await station.told("run", "mine")
    refused = await station.told("run", "mine", code=Exit.FAILED)
    assert "what came is kept and not activated: it is for CN=other" in refused
    assert "On its way" in await station.told("status", "mine")
    await station.told("activate", "mine", code=Exit.FAILED)
    assert "CN=other" in await station.told("activate", "mine", "--anyway")
    assert (await station.document("status", "mine"))["current"]["subject"] == "CN=other"


@pytest_twisted.ensureDeferred
async def test_with_auto_activate_off_a_new_one_waits_for_a_word(station: Station) -> None:
    station.source.says = [credential(issued()), credential(issued(days=(-1, 700)))]
    await station.told("run", "mine")
    station.define(DEFINITION.replace("[set.export]", "auto_activate = false\n[set.export]"))
    await station.told("plan")
    ready = await station.told("run", "mine")
    assert "the new credential is ready" in ready
    assert "'oftp2d renew activate mine' puts it into use" in ready
    await station.told("activate", "mine")
    assert (await station.document("status", "mine"))["days_left"] == 699


@pytest_twisted.ensureDeferred
async def test_one_step_back_and_forth_again(station: Station) -> None:
    station.source.says = [credential(issued()), credential(issued(days=(-1, 700)))]
    await station.told("run", "mine")
    await station.told("run", "mine")
    newer = (await station.document("status", "mine"))["current"]["id"]
    assert (await station.document("rollback", "mine", "--yes"))["days_left"] == 364
    # The number to come back to it stands where it is looked for.
    shown = await station.told("status", "mine")
    assert shown.partition("Taken back")[2].split()[:2] == ["candidate", str(newer)]
    assert "no" in (await station.told("rollback", "mine", "--yes", code=Exit.FAILED))
    assert (await station.document("activate", "mine", "--candidate", str(newer)))["days_left"] == 699


@pytest_twisted.ensureDeferred
async def test_a_file_is_brought_with_its_passphrase(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    made = issued()
    file, secret = station.office.home / "mine.p12", station.office.home / "passphrase"
    file.write_bytes(made.pkcs12(PASSPHRASE.encode()))
    secret.write_text(f"{PASSPHRASE}\n")
    monkeypatch.setenv("OFTP2D_KEY_PASSPHRASE", "another one")
    assert "does not open" in await station.told("import", "mine", str(file), code=Exit.FAILED)
    assert "is active" in await station.told("import", "mine", str(file), "--passphrase-file", str(secret))
    document = await station.document("status", "mine")
    assert (document["current"]["imported"], document["current"]["fingerprint"]) == (True, made.fingerprint)
    assert not station.source.asked


@pytest_twisted.ensureDeferred
async def test_pem_without_a_passphrase_asks_for_none(station: Station) -> None:
    made = issued()
    (station.office.home / "mine.pem").write_bytes(made.pem + made.key_pem)
    await station.told("import", "mine", str(station.office.home / "mine.pem"))


@pytest_twisted.ensureDeferred
async def test_all_that_is_due_is_run_and_nothing_else(station: Station) -> None:
    second = DEFINITION.replace("mine", "second").replace("[set.export]", "auto_renew = false\n[set.export]")
    station.define(second, "second.toml")
    station.source.says = [credential(issued()), Refusal(verdict=Verdict.NOT_YET)]
    await station.told("run", "mine")
    await station.told("plan")
    await station.with_input(f"{PASSWORD}\n", "secret", "second", "password", "--stdin")
    document = await station.document("run", "--all-due", code=Exit.TIMEOUT)
    assert [each["name"] for each in document["results"]] == ["second"]


@pytest_twisted.ensureDeferred
async def test_leaving_a_run_leaves_the_station_at_it(station: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Deferred[Any] = Deferred()
    station.source.says = [answer]

    def leave(_job: object, _seconds: float) -> bool:
        # The attempt is under way before somebody presses Ctrl-C.
        while not station.source.asked:
            time.sleep(0.01)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(renewing._Job, "over", leave)
        told = await station.told("run", "mine", code=Exit.INTERRUPTED)
    assert "it goes on: see 'oftp2d renew status mine'" in told
    answer.callback(credential(issued()))
    while (await station.document("status", "mine"))["current"] is None:
        await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
async def test_probe_says_whether_it_works(station: Station) -> None:
    station.source.says = [credential(issued())]
    await station.told("run", "mine")
    assert "mine: it answers" in await station.told("probe", "mine")
    station.source.trial = Trial(ok=False, text="HTTP 403", advice="ask the help desk")
    refused = await station.told("probe", "mine", code=Exit.FAILED)
    assert "HTTP 403" in refused
    assert "ask the help desk" in refused


@pytest_twisted.ensureDeferred
async def test_faults_of_definitions_are_named_and_the_set_goes_on_as_it_was(station: Station) -> None:
    station.define(DEFINITION.replace('contact = "edi@acme.example"', 'contcat = "edi@acme.example"'))
    station.define("[[set]\n", "broken.toml")
    planned = await station.told("plan")
    assert "mine.toml: mine: contcat: there is no such setting; did you mean 'contact'?" in planned
    assert "broken.toml: (file): it is not TOML" in planned
    listed = await station.told("status")
    assert "the definition has a fault" in listed
    assert "1 with a fault" in listed


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("status", "nobody"), "there is no credential set 'nobody'"),
        (("run", "nobody"), "there is no credential set 'nobody'"),
        (("history", "nobody"), "there is no credential set 'nobody'"),
        (("activate", "mine"), ""),
        (("rollback", "mine", "--yes"), ""),
        (("probe", "mine"), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_done_is_said_with_what_to_do(
    station: Station, arguments: tuple[str, ...], what: str
) -> None:
    told = await station.told(*arguments, code=Exit.FAILED)
    assert what in told
    assert ": " in told.strip()


@pytest_twisted.ensureDeferred
async def test_a_secret_goes_by_its_name_in_the_definition(station: Station) -> None:
    told = await station.with_input("x-secret\n", "secret", "mine", "nothing", "--stdin", code=Exit.FAILED)
    assert "known here are: password, other" in told
    station.define(f'{DEFINITION}[set.scripted]\npassword = "env:NOTHING"\n')
    await station.told("plan")
    told = await station.with_input("x-secret\n", "secret", "mine", "--stdin", code=Exit.FAILED)
    assert "keeps no secrets in the store" in told
    assert "x-secret" not in told


@pytest_twisted.ensureDeferred
async def test_names_of_sets_are_completed(station: Station) -> None:
    def complete() -> list[str]:
        return [item.value for item in options.complete_set(None, None, "mi")]  # type: ignore[arg-type]  # unused

    assert await deferToThread(complete) == ["mine"]
    assert station.said


@pytest_twisted.ensureDeferred
async def test_no_secret_is_in_anything_that_is_said(station: Station) -> None:
    station.source.says = [
        Refusal(verdict=Verdict.RETRY, text="trouble"),
        credential(issued()),
        credential(issued(subject="CN=other", days=(-1, 700))),
    ]
    await station.with_input(f"{TAN}\n", "run", "mine", "--tan-stdin", code=Exit.TIMEOUT)
    await station.told("run", "mine")
    await station.told("run", "mine", code=Exit.FAILED)
    for arguments in (("status",), ("status", "mine"), ("plan",), ("history", "mine"), ("probe", "mine")):
        await station.told(*arguments)
        await station.document(*arguments)
    for arguments in (("status",), ("status", "--metrics"), ("audit",), ("audit", "--json")):
        station.said += [str(part) for part in await station.office.run(*arguments)]
    everything = "\n".join(station.said)
    assert "mine" in everything
    for secret in (PASSWORD, TAN, PASSPHRASE, json.dumps(PASSPHRASE)[1:-1], json.dumps(PASSWORD)[1:-1], "PRIVATE KEY"):
        assert secret not in everything
