"""The hook: a real program that is told of an activation, and all that can become of it."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted

from oftp2d.errors import OperatorError
from oftp2d.renewal.consumers import Consumers
from oftp2d.renewal.definitions import CredentialSet, Export, Hook
from tests.oftp2d.desk import Office, open_office
from tests.oftp2d.renewal.tellings import activation, defined, issued, rollback

EXPORT = Export(folder=Path("out"), name="site")


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


@pytest.fixture
def consumers(office: Office) -> Consumers:
    return Consumers(office.renewals._context, office.renewals, changed=office.house.certificates_changed)


def program(tmp_path: Path, code: str) -> Hook:
    path = tmp_path / "hook"
    path.write_text(f"#!{sys.executable} -I\n{code}")
    path.chmod(0o700)
    return Hook(command=(str(path), "an argument"))


TELLS_ALL = """
import json, os, sys
with open("told.json", "w") as file:
    json.dump({"arguments": sys.argv[1:], "environment": dict(os.environ), "given": sys.stdin.read()}, file)
"""


async def refused(consumers: Consumers, definition: CredentialSet) -> str:
    with pytest.raises(OperatorError) as caught:
        await consumers.tell("hook", activation(definition, issued()))
    return str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_program_is_told_what_has_changed_and_where_the_files_are_but_no_secret(
    tmp_path: Path, consumers: Consumers
) -> None:
    old, new = issued(begins=-300), issued(subject="CN=$(touch evil),O=Site")
    definition = defined(export=EXPORT, hook=program(tmp_path, TELLS_ALL))
    telling = activation(definition, new, old)
    await consumers.tell("export", telling)
    assert await consumers.tell("hook", telling) == "hook is done"
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["arguments"], told["given"]) == (["an argument"], "")
    environment = told["environment"]
    assert {name: value for name, value in environment.items() if name not in {"PATH", "LC_CTYPE"}} == {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "OFTP2D_SET": "site",
        "OFTP2D_EVENT": "activated",
        "OFTP2D_FINGERPRINT": new.fingerprint,
        "OFTP2D_SERIAL": f"{new.certificate.serial_number:x}",
        "OFTP2D_SUBJECT": "CN=$(touch evil),O=Site",
        "OFTP2D_VALID_FROM": f"{new.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "OFTP2D_VALID_UNTIL": f"{new.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "OFTP2D_FORMER_FINGERPRINT": old.fingerprint,
        "OFTP2D_EXPORT": str(tmp_path / "out" / "current"),
    }
    passphrase = (tmp_path / "out" / "current" / "site.passphrase").read_text().strip()
    assert passphrase not in json.dumps(told)
    assert stat.S_IMODE((tmp_path / "told.json").stat().st_mode) == 0o600, "what it writes is for its user alone"
    back = rollback(definition, old, new)
    await consumers.tell("export", back)
    await consumers.tell("hook", back)
    told = json.loads((tmp_path / "told.json").read_text())["environment"]
    assert (told["OFTP2D_EVENT"], told["OFTP2D_FINGERPRINT"]) == ("rolled back", old.fingerprint)


@pytest_twisted.ensureDeferred
async def test_a_program_waits_for_the_files_that_it_may_read(tmp_path: Path, consumers: Consumers) -> None:
    definition = defined(export=EXPORT, hook=program(tmp_path, TELLS_ALL))
    assert "are not exported yet" in await refused(consumers, definition)
    await consumers.tell("export", activation(definition, issued(begins=-300)))
    assert "are not exported yet" in await refused(consumers, definition), "those of another credential"
    assert not (tmp_path / "told.json").exists()


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (
            "import sys; sys.exit('the web server does not answer')",
            "ended with exit code 1: the web server does not answer",
        ),
        ("raise SystemExit(7)", "ended with exit code 7"),
        ("import os; os.kill(os.getpid(), 11)", "was killed by signal 11"),
        ("while True: print('x' * 100_000)", "printed more than it may and was killed"),
        (
            "import sys; sys.stderr.buffer.write(b'\\x1b]0;\\xff\\x07'); sys.exit(1)",
            "ended with exit code 1:  ]0;\ufffd ",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_program_that_fails_is_told_with_what_it_said(
    tmp_path: Path, consumers: Consumers, code: str, text: str
) -> None:
    told = await refused(consumers, defined(hook=program(tmp_path, code)))
    assert told == f"hook {text}: correct it"


@pytest_twisted.ensureDeferred
async def test_a_program_that_hangs_is_killed_when_its_time_is_over(tmp_path: Path, consumers: Consumers) -> None:
    slow = program(tmp_path, "import time; time.sleep(1000)")
    told = await refused(consumers, defined(hook=Hook(command=slow.command, seconds=1)))
    assert "was not done after 1 seconds and was killed" in told


@pytest_twisted.ensureDeferred
async def test_a_program_that_is_not_there_is_told(tmp_path: Path, consumers: Consumers) -> None:
    told = await refused(consumers, defined(hook=Hook(command=("/no/such/program",))))
    assert "ended with exit code 127: it cannot be started: No such file or directory" in told


@pytest_twisted.ensureDeferred
async def test_the_passphrase_that_a_program_read_is_repeated_nowhere(tmp_path: Path, consumers: Consumers) -> None:
    code = "import os, sys; sys.exit(open(os.environ['OFTP2D_EXPORT'] + '/site.passphrase').read())"
    definition = defined(export=EXPORT, hook=program(tmp_path, code))
    telling = activation(definition, issued())
    await consumers.tell("export", telling)
    with pytest.raises(OperatorError, match=r"\(what it said holds a secret and is not shown\)") as caught:
        await consumers.tell("hook", telling)
    assert (tmp_path / "out" / "current" / "site.passphrase").read_text().strip() not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_who_is_not_in_the_definition_any_more_is_not_told(consumers: Consumers) -> None:
    with pytest.raises(OperatorError, match="credential set site has no section hook any more"):
        await consumers.tell("hook", activation(defined(), issued()))
    assert await consumers.problems(defined(export=EXPORT), activation(defined(), issued()).current) == []
