"""The routes of credential sets over the real socket: what they take, what they refuse, and that they repeat no secret."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from oftp2d.client import RefusedError
from oftp2d.renewal.interface import Refusal, Verdict
from tests import pki
from tests.oftp2d.desk import Office, open_office
from tests.oftp2d.scripted import Scripted, credential, scripted_registry

SETS = "/v1/credential-sets"
SECRET = "Very-Secret-1"


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path, registry=scripted_registry) as opened:
        (tmp_path / "renewal").mkdir()
        (tmp_path / "renewal" / "a.toml").write_text('[[set]]\nname = "a"\nplugin = "scripted"\n')
        await opened.ask("post", f"{SETS}/plan", {})
        await opened.ask("post", f"{SETS}/a/secret", {"value": SECRET})
        yield opened


def source(office: Office) -> Scripted:
    found = office.renewer.registry.plugin("scripted")
    assert isinstance(found, Scripted)
    return found


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("a/run", {"tan": 5}, 400),
        ("a/run", {"tan": f"{SECRET}\n"}, 400),
        ("a/run", {"tan": SECRET * 100}, 400),
        ("a/run", {"anyway": True}, 400),
        ("a/secret", {}, 400),
        ("a/secret", {"value": f"{SECRET}\x00"}, 400),
        ("a/secret", {"value": SECRET, "name": "nothing"}, 400),
        ("a/import", {}, 400),
        ("a/import", {"content_base64": f"{SECRET}!"}, 400),
        ("a/import", {"content_base64": base64.b64encode(b"no container").decode(), "passphrase": SECRET}, 409),
        ("a/activate", {"candidate": 0}, 400),
        ("a/activate", {"candidate": 99}, 409),
        ("a/activate", {"anyway": "yes"}, 400),
        ("a/rollback", {}, 409),
        ("a/probe", {}, 409),
        ("plan", {"set": "nobody"}, 404),
        ("nobody/run", {"tan": SECRET}, 404),
        ("nobody/secret", {"value": SECRET}, 404),
        ("nobody/unblock", {}, 404),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_is_refused_with_advice_and_no_secret_is_repeated(
    office: Office, path: str, body: dict[str, Any], status: int
) -> None:
    with pytest.raises(RefusedError) as caught:
        await office.ask("post", f"{SETS}/{path}", body)
    assert caught.value.status == status, str(caught.value)
    assert caught.value.advice
    assert SECRET not in str(caught.value)
    assert not source(office).asked


@pytest_twisted.ensureDeferred
async def test_whatever_is_due_is_looked_after_without_anybody_waiting_for_it(office: Office) -> None:
    source(office).says = [Refusal(verdict=Verdict.NOT_YET)]
    office.ledger.credential_sets.plan("a", datetime.now(UTC) - timedelta(minutes=1))
    assert await office.ask("post", f"{SETS}/run", {}) == {"due": ["a"]}
    while (await office.ask("get", f"{SETS}/a"))["verdict"] != "not yet":
        await deferLater(reactor, 0.01)
    assert await office.ask("post", f"{SETS}/run", {}) == {"due": []}


@pytest_twisted.ensureDeferred
async def test_a_set_says_how_it_stands_before_and_behind_an_attempt(office: Office) -> None:
    before = await office.ask("get", f"{SETS}/a")
    assert (before["phase"], before["current"], before["why"]) == ("none", None, "there is no credential yet")
    source(office).says = [credential(pki.make(subject="CN=a", issuer=pki.issuing("A"), days=(-1, 40)))]
    after = await office.ask("post", f"{SETS}/a/run", {"tan": "1234"})
    assert (after["phase"], after["why"], after["current"]["subject"]) == ("due", "it ends within 60 days", "CN=a")
    assert after["extra"] == {}
    assert (await office.ask("get", f"{SETS}/a"))["extra"] == {"mood": "of a: good"}
    assert (await office.ask("get", "/v1/status"))["credential_sets"] == {"total": 1, "due": 1}
    events = [each["event"] for each in (await office.ask("get", f"{SETS}/a/history", limit=2))["entries"]]
    assert len(events) == 2
    assert all(each.startswith("credential ") for each in events)
