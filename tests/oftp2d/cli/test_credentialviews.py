"""What people see of credential sets, and how an attempt is judged: pure functions of the documents of the interface."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from oftp2d.cli import credentialviews as views
from oftp2d.cli.renewing import judged
from oftp2d.errors import OperatorError


def seen(view: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(view)
    return out.getvalue()


def certificate(**more: Any) -> dict[str, Any]:
    return {
        "id": 7,
        "state": "active",
        "subject": "CN=pharmacy-1",
        "serial": "0a1b",
        "fingerprint": "ab" * 32,
        "valid_from": "2027-01-01T00:00:00Z",
        "valid_until": "2029-01-01T00:00:00Z",
        "problems": [],
        "trial_ok": None,
    } | more


def standing(**more: Any) -> dict[str, Any]:
    return {
        "name": "pharmacy-1",
        "plugin": "local-ca",
        "phase": "due",
        "days_left": 59,
        "next_at": "2028-11-03T07:12:00Z",
        "last_answer": "not yet",
        "verdict": "not yet",
        "code": "",
        "blocked": "",
        "advice": "",
        "auto_activate": True,
        "current": certificate(),
        "candidate": None,
        "former": None,
        "consumers": [],
        "to_do": [],
    } | more


def test_the_table_says_of_each_set_how_long_it_lasts_and_what_there_is_to_do() -> None:
    blocked = standing(
        name="b",
        blocked="authentication failed",
        code="E1",
        to_do=[{"what": "it is blocked", "advice": "oftp2d renew secret b"}],
    )
    faults = [{"file": "a.toml", "set": "", "path": "(file)", "what": "it is not TOML", "advice": "correct it"}]
    document = {
        "credential_sets": [standing(), blocked],
        "faults": faults,
        "counts": {"total": 2, "due": 1, "blocked": 1, "valid": 0},
    }
    shown = seen(views.overview(document))
    lines = shown.splitlines()
    assert [word in lines[0] for word in ("set", "days left", "phase", "last answer", "next try")] == [True] * 5
    assert "2028-11-03 07:12:00Z" in next(line for line in lines if line.startswith("pharmacy-1"))
    assert "not before you act" in next(line for line in lines if line.startswith("b "))
    assert shown.index("What to do") < shown.index("oftp2d renew secret b")
    assert "a.toml: (file): it is not TOML; correct it" in shown
    assert "2 credential sets: 1 due, 1 blocked" in shown


def test_without_a_set_it_is_said_how_one_begins() -> None:
    assert "oftp2d renew example local-ca" in seen(views.overview({"credential_sets": [], "counts": {"total": 0}}))


def test_everything_about_one_set_is_shown() -> None:
    candidate = certificate(
        id=8,
        state="refused",
        problems=[
            {"key": "subject", "text": "it is for CN=other", "may_be_overruled": True},
            {"key": "expired", "text": "it ended on 2020-01-01", "may_be_overruled": False},
        ],
    )
    document = standing(
        candidate=candidate,
        former=certificate(id=6, state="former"),
        consumers=[
            {"name": "store", "state": "done", "text": "offered to 3 partners", "next_at": None},
            {"name": "hook", "state": "failed", "text": "exit code 1", "next_at": "2028-11-03T08:00:00Z"},
        ],
        notifications=[{"code": "N1", "text": "the password ends in 5 days"}],
        extra={"profile": "blueprint, not verified"},
        to_do=[{"what": "hook does not know", "advice": "put that right"}],
        transaction="T-42",
    )
    shown = seen(views.one(document))
    for told in (
        "In use",
        "On its way",
        "Before it",
        "✗ it is for CN=other\n",
        "✗ it ended on 2020-01-01 (cannot be overruled)",
        "offered to 3 partners",
        "exit code 1; next try 2028-11-03 08:00:00Z",
        "the source says: N1 the password ends in 5 days",
        "blueprint, not verified",
        "hook does not know: put that right",
        "T-42",
    ):
        assert told in "\n".join(line.rstrip() for line in shown.splitlines()) + "\n", told


def test_what_a_source_says_is_never_taken_for_markup_nor_moves_the_cursor() -> None:
    shown = seen(views.one(standing(last_answer="[red]\x1b[2Jhello", code="[bold]")))
    assert "[red]" in shown
    assert "\x1b" not in shown


def test_plans_come_in_the_order_of_time() -> None:
    later = {"name": "a", "next_at": "2028-01-02T00:00:00Z", "phase": "valid", "why": "its time has not come"}
    never = {"name": "b", "next_at": None, "phase": "none", "blocked": "it needs a TAN", "why": "it needs a TAN"}
    first = {"name": "c", "next_at": "2028-01-01T00:00:00Z", "phase": "due", "why": "due"}
    lines = seen(views.plans({"plans": [later, never, first]})).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("after", "outcome", "told"),
    [
        ({"current": certificate(fingerprint="cd" * 32)}, "done", "active, until 2029-01-01"),
        ({"candidate": certificate(state="probed"), "auto_activate": False}, "done", "ready"),
        ({"candidate": certificate(state="probed", trial_ok=False, trial="HTTP 403")}, "failed", "HTTP 403"),
        ({"candidate": certificate(state="unreadable")}, "failed", "it does not open"),
        (
            {"candidate": certificate(state="refused", problems=[{"text": "it is for CN=other"}])},
            "failed",
            "it is for CN=other",
        ),
        (
            {"blocked": "locked", "last_answer": "locked: call them", "code": "E7"},
            "refused",
            "locked: call them (E7)",
        ),
        ({"verdict": "not yet"}, "later", "not yet"),
        ({"verdict": "retry", "last_answer": "HTTP 503"}, "later", "HTTP 503"),
        ({"verdict": "fatal", "last_answer": "odd code"}, "refused", "odd code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_how_an_attempt_ended_follows_from_what_is_there_before_and_after(
    after: dict[str, Any], outcome: str, told: str
) -> None:
    ended = judged(standing(), standing(**after))
    assert ended["outcome"] == outcome
    assert told in ended["told"]
    assert ended["told"] in seen(views.ended(ended))


def test_an_attempt_that_was_refused_here_has_failed_whatever_is_there() -> None:
    ended = judged(
        standing(), standing(current=certificate(fingerprint="cd" * 32)), OperatorError("it is blocked", "x")
    )
    assert (ended["outcome"], ended["told"], ended["advice"]) == ("failed", "it is blocked", "x")
