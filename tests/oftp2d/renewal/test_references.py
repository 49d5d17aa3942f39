"""Secrets of credential sets: where they are, and what cannot be one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet import reactor

from oftp2d.errors import OperatorError
from oftp2d.ledger import Ledger
from oftp2d.renewal.interface import Held
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.references import MAX_OCTETS, References
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers

NOW = datetime(2027, 1, 2, tzinfo=UTC)
VAULT = Vault(bytes(32))


@pytest_twisted.async_yield_fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(reactor)  # type: ignore[arg-type]
    made.start()
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def ledger(tmp_path: Path, workers: Workers) -> AsyncIterator[Ledger]:
    opened = await workers.database(Ledger.open, f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    await workers.database(opened.close)


@pytest.fixture
def secrets(tmp_path: Path, ledger: Ledger, workers: Workers) -> References:
    options = SimpleNamespace(
        stored="store",
        kept="file:secret",
        whole=f"file:{tmp_path}/secret",
        given="env:SITE_PASSWORD",
        none="",
        number=3,
    )
    return References(
        "one",
        options,
        keeping=Keeping(ledger=ledger, vault=VAULT, workers=workers),
        home=tmp_path,
        now=lambda: NOW,
        environ={"SITE_PASSWORD": "from the environment"},
    )


async def refused(awaited: object) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await awaited  # type: ignore[misc]
    return caught.value


def holding(folder: Path, octets: bytes) -> list[Path]:
    return [each for each in folder.iterdir() if octets in each.read_bytes()]


@pytest_twisted.ensureDeferred
async def test_a_secret_in_a_file_is_read_anew_each_time_without_the_end_of_its_line(
    tmp_path: Path, secrets: References
) -> None:
    path = tmp_path / "secret"
    for content, value in (("one\n", "one"), ("two \r\n", "two "), ("three\nfour\n", "three\nfour")):
        path.write_bytes(content.encode())
        path.chmod(0o600)
        assert (await secrets.get("kept")).reveal() == value
        assert (await secrets.get("whole")).reveal() == value
    assert await secrets.held("kept") == Held()


@pytest_twisted.ensureDeferred
async def test_a_file_that_others_can_read_or_that_holds_no_secret_is_refused(
    tmp_path: Path, secrets: References
) -> None:
    path = tmp_path / "secret"
    assert "cannot be read from secret (No such file or directory)" in (await refused(secrets.get("kept"))).what
    path.write_text("hunter2")
    path.chmod(0o640)
    error = await refused(secrets.get("kept"))
    assert (error.what, error.advice) == (f"others can read the secret in {path}", f"run 'chmod 600 {path}'")
    path.chmod(0o600)
    for content in (b"", b"\n", b"\xff\xfe", b"x" * (MAX_OCTETS + 1)):
        path.write_bytes(content)
        await refused(secrets.get("kept"))
    path.unlink()
    os.mkfifo(path, 0o600)
    assert "is no file" in (await refused(secrets.get("kept"))).what


@pytest_twisted.ensureDeferred
async def test_a_secret_of_the_environment_must_be_there(secrets: References, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await secrets.get("given")).reveal() == "from the environment"
    secrets._environ = {}
    assert "is not in the environment (SITE_PASSWORD)" in (await refused(secrets.get("given"))).what
    secrets._environ = {"SITE_PASSWORD": "\udcff"}
    assert "(SITE_PASSWORD) is no UTF-8 text" in (await refused(secrets.get("given"))).what


@pytest_twisted.ensureDeferred
async def test_a_secret_in_the_store_is_sealed_and_says_since_when_it_counts(
    tmp_path: Path, secrets: References
) -> None:
    error = await refused(secrets.get("stored"))
    assert error.advice == "say 'oftp2d renew secret one stored'"
    assert await secrets.held("stored") == Held()
    assert "what is no character" in (await refused(secrets.keep("stored", Secret("\ud800")))).what
    await secrets.keep("stored", Secret("hunter2"))
    assert (await secrets.get("stored")).reveal() == "hunter2"
    assert await secrets.held("stored") == Held(changed_at=NOW)
    assert not holding(tmp_path, b"hunter2")


@pytest.mark.parametrize("accepted", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_proposed_value_waits_beside_the_one_that_counts_until_it_is_settled(
    secrets: References, accepted: bool
) -> None:
    await refused(secrets.propose("stored", Secret("new")))
    await secrets.keep("stored", Secret("old"))
    await secrets.propose("stored", Secret("new"))
    waiting = await secrets.proposed("stored")
    assert waiting is not None
    assert ((await secrets.get("stored")).reveal(), waiting.reveal()) == ("old", "new")
    assert await secrets.held("stored") == Held(changed_at=NOW, proposed_at=NOW)
    await secrets.settle("stored", accepted=accepted)
    assert (await secrets.get("stored")).reveal() == ("new" if accepted else "old")
    assert await secrets.proposed("stored") is None


@pytest_twisted.ensureDeferred
async def test_only_a_secret_in_the_store_is_the_stations_to_change(secrets: References) -> None:
    for name, where in (("kept", "is in a file"), ("given", "is in the environment")):
        for change in (
            secrets.propose(name, Secret("new")),
            secrets.settle(name, accepted=True),
            secrets.keep(name, Secret("new")),
        ):
            assert where in (await refused(change)).what
        assert await secrets.proposed(name) is None


@pytest_twisted.ensureDeferred
async def test_what_names_no_place_says_what_to_write(secrets: References) -> None:
    for name in ("none", "number", "unknown"):
        error = await refused(secrets.get(name))
        assert error.advice.startswith(f'write {name} = "store" into its definition')


@pytest_twisted.ensureDeferred
async def test_no_empty_and_no_endless_secret_is_kept(secrets: References) -> None:
    for value in ("", "x" * (MAX_OCTETS + 1)):
        error = await refused(secrets.keep("stored", Secret(value)))
        assert "xxx" not in str(error)
    assert repr(secrets) == "<References of one>"
