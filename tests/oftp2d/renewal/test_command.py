"""The plugin command: a real program that prints a credential, or does anything else that programs do."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from oftp2d.errors import OperatorError
from oftp2d.renewal.command import Command, Options
from oftp2d.renewal.interface import Answer, Case, Fetched, House, Refusal, Verdict
from oftp2d.renewal.material import MAX_OCTETS, Material, opened
from oftp2d.vault import Secret
from oftp2d.workers import Workers
from tests import pki
from tests.oftp2d.renewal.tellings import issued, material

NOW = pki.NOW


class Given:
    """Secrets that are in hand."""

    async def get(self, name: str) -> Secret[str]:
        return Secret({"password": "hunter2", "passphrase": "opens it"}[name])


@pytest_twisted.async_yield_fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    made.start()
    yield made
    await made.stop()


@pytest.fixture
def plugin(tmp_path: Path, workers: Workers) -> Command:
    return Command(House(reactor=reactor, workers=workers, home=tmp_path))  # type: ignore[arg-type]  # as above


def case(tmp_path: Path, code: str, current: Material | None = None, **settings: Any) -> Case:
    path = tmp_path / "get credential"
    path.write_text(f"#!{sys.executable} -I\nimport os, sys, time\n{code}\n")
    path.chmod(0o700)
    options = Options(command=(str(path), "an argument"), **settings)
    secrets: Any = Given()
    return Case(
        name="site",
        options=options,
        terms=Command.terms,
        demands=Command.demands,
        current=current,
        secrets=secrets,
    )


async def answer(plugin: Command, asked: Case) -> Material:
    came = await plugin.fetch(asked, NOW)
    assert isinstance(came, Answer), came
    read = await plugin.read(asked, came, NOW)
    assert isinstance(read, Fetched)
    return opened(read.container)


async def refusal(plugin: Command, asked: Case) -> Refusal:
    came = await plugin.fetch(asked, NOW)
    assert isinstance(came, Refusal), came
    return came


def prints(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "content").write_bytes(content)
    return "sys.stdout.buffer.write(open('content', 'rb').read())"


@pytest_twisted.ensureDeferred
async def test_pkcs12_opens_with_the_passphrase_of_the_definition_or_with_the_one_that_is_printed(
    tmp_path: Path, plugin: Command
) -> None:
    new = issued()
    printed = prints(tmp_path, new.pkcs12(b"opens it"))
    assert (await answer(plugin, case(tmp_path, printed, passphrase="store"))).fingerprint == new.fingerprint
    for end in (b"\n", b"\r\n"):
        printed = prints(tmp_path, b"passphrase: a & b \xc3\xbc" + end + new.pkcs12("a & b ü".encode()))
        for settings in ({}, {"passphrase": "store"}):
            found = await answer(plugin, case(tmp_path, printed, **settings))
            assert (found.fingerprint, len(found.chain)) == (new.fingerprint, 2)


@pytest_twisted.ensureDeferred
async def test_pem_needs_no_passphrase(tmp_path: Path, plugin: Command) -> None:
    new = issued()
    printed = prints(tmp_path, new.pem + new.key_pem + b"".join(each.pem for each in new.chain))
    found = await answer(plugin, case(tmp_path, printed))
    assert (found.fingerprint, len(found.chain)) == (new.fingerprint, 2)


@pytest_twisted.ensureDeferred
async def test_the_program_is_told_what_is_in_use_and_reads_its_secrets_from_its_input(
    tmp_path: Path, plugin: Command
) -> None:
    current = issued()
    code = """
known = {name: value for name, value in os.environ.items() if name.startswith("OFTP2D")}
open("told", "w").write(repr((sys.argv[1:], known, sys.stdin.read())))
sys.exit(10)
"""
    asked = case(tmp_path, code, material(current), password="store")
    came = await plugin.fetch(asked, NOW, Secret("TAN-123"))
    assert isinstance(came, Refusal)
    known = {
        "OFTP2D_SET": "site",
        "OFTP2D_FINGERPRINT": current.fingerprint,
        "OFTP2D_SERIAL": f"{current.certificate.serial_number:x}",
        "OFTP2D_SUBJECT": "CN=site.test,O=Site",
        "OFTP2D_VALID_UNTIL": f"{current.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }
    told: object = eval((tmp_path / "told").read_text())  # noqa: S307 - written above
    assert told == (["an argument"], known, "password: hunter2\ntan: TAN-123\n")
    await plugin.fetch(case(tmp_path, code), NOW)
    told = eval((tmp_path / "told").read_text())  # noqa: S307 - as above
    empty = dict.fromkeys(known, "") | {"OFTP2D_SET": "site"}
    assert told == (["an argument"], empty, "")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (10, Verdict.NOT_YET),
        (11, Verdict.ALREADY),
        (12, Verdict.AUTH_FAILED),
        (13, Verdict.LOCKED),
        (75, Verdict.RETRY),
        (1, Verdict.FATAL),
        (255, Verdict.FATAL),
    ],
)
@pytest_twisted.ensureDeferred
async def test_each_exit_code_is_a_verdict_and_the_program_says_why(
    tmp_path: Path, plugin: Command, code: int, verdict: Verdict
) -> None:
    found = await refusal(plugin, case(tmp_path, f"print('junk'); sys.stderr.write('the reason\\n'); sys.exit({code})"))
    assert (found.verdict, found.code) == (verdict, f"exit {code}")
    assert found.text.endswith("the reason")
    assert bool(found.advice) == (verdict is Verdict.FATAL)


@pytest.mark.parametrize(
    ("code", "verdict", "text"),
    [
        ("pass", Verdict.FATAL, "get credential printed nothing"),
        ("print('passphrase: x')", Verdict.FATAL, "get credential printed nothing"),
        ("while True: print('x' * 100_000)", Verdict.FATAL, "get credential printed more than it may and was killed"),
        ("os.kill(os.getpid(), 11)", Verdict.FATAL, "get credential was killed by signal 11"),
        ("time.sleep(1000)", Verdict.RETRY, "get credential was not done after 1 seconds and was killed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whatever_a_program_does_ends_in_a_verdict(
    tmp_path: Path, plugin: Command, code: str, verdict: Verdict, text: str
) -> None:
    found = await refusal(plugin, case(tmp_path, code, seconds=1 if "sleep" in code else 60))
    assert (found.verdict, found.text) == (verdict, text)


@pytest.mark.parametrize("content", [b"garbage", b"-----BEGIN CERTIFICATE-----", bytes(MAX_OCTETS), b"\x30\x80"])
@pytest_twisted.ensureDeferred
async def test_garbage_is_an_answer_that_does_not_open(tmp_path: Path, plugin: Command, content: bytes) -> None:
    with pytest.raises(OperatorError, match="does not open"):
        await answer(plugin, case(tmp_path, prints(tmp_path, content)))


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(sys.stdin.read())",
        "sys.exit('Traceback:\\n  url = https://user:hunter2@host')",
        "sys.exit('-----BEGIN PRIVATE KEY-----')",
        "print('passphrase: printed'); sys.exit('it was printed')",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_secret_that_a_program_complains_with_is_shown_nowhere(
    tmp_path: Path, plugin: Command, code: str
) -> None:
    found = await refusal(plugin, case(tmp_path, code, password="store"))
    assert "(what it said holds a secret and is not shown)" in found.text
    assert "hunter2" not in repr(found)


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_not_there_is_a_fault_of_the_definition_and_no_credential(
    tmp_path: Path, plugin: Command
) -> None:
    asked = case(tmp_path, "pass")
    assert list(plugin.check(asked.options)) == []
    program = tmp_path / "get credential"
    program.chmod(0o600)
    (fault,) = plugin.check(asked.options)
    assert fault == f"{program} is no program that the station can run; correct the path, or say 'chmod +x {program}'"
    found = await refusal(plugin, asked)
    assert found.verdict is Verdict.FATAL
    assert found.text.endswith("ended with exit code 127: it cannot be started: Permission denied")
