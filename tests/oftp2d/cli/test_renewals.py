"""Renewals on the command line: what people see of them, what scripts get, what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from rich.console import Console
from twisted.internet.threads import deferToThread

from oftp2d.cli import renewals
from oftp2d.cli.app import execute
from oftp2d.cli.renewals import view
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Exit, Terminal
from oftp2d.ledger import AcxMode, NewPartner
from tests import pki
from tests.oftp2d.desk import OURS, THEIRS, Office, open_office

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """A station with a certificate ``old``, a newer one ``new``, and a partner that must get it by hand."""
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    monkeypatch.setattr(renewals, "POLL_SECONDS", 0.01)
    async with open_office(tmp_path) as opened:
        for alias, begins in (("old", -300), ("new", -1)):
            issued = pki.make(subject=f"CN={alias}", issuer=pki.issuing("A"), days=(begins, 365))
            opened.renewals._context.certificates.adopt(
                issued.key, issued.certificate, alias=alias, now=datetime.now(UTC), station=OURS
            )
        partner = NewPartner(code=THEIRS, name="Partner Ltd", station=OURS, acx=AcxMode.OFF)
        opened.ledger.partners.add(partner, datetime.now(UTC))
        yield opened


async def told(office: Office, *arguments: str, code: int = Exit.DONE) -> str:
    """All that is said by a command that ends with this code."""
    ended, out, err = await office.run(*arguments)
    assert ended == code, out + err
    return out + err


@pytest_twisted.ensureDeferred
async def test_a_renewal_shows_who_is_missing_and_what_to_do(office: Office) -> None:
    begun = await told(office, "exchange", "deliver", "--all", "--certificate", "new")
    assert "Renewal 1: new takes the place of old" in begun
    assert "0 of 1 partners have it" in begun
    assert f"when it has it: oftp2d cert confirm {THEIRS} new" in await told(office, "exchange", "renewal")
    await told(office, "cert", "confirm", THEIRS, "new")
    watched = await told(office, "exchange", "renewal", "1", "--watch")
    assert f"{THEIRS}: confirmed, entered by hand" in watched
    assert "finished: old only decrypts now, until" in watched
    listed = await told(office, "exchange", "renewals")
    assert [word in listed for word in ("new", "old", "finished", "1 of 1")] == [True] * 4
    document = json.loads(await told(office, "exchange", "renewal", "1", "--watch", "--json"))
    assert (document["state"], document["counts"]["confirmed"], document["missing"]) == ("finished", 1, 0)


@pytest_twisted.ensureDeferred
async def test_a_wait_is_over_in_time_and_a_cancelled_renewal_is_no_success(office: Office) -> None:
    waiting = ("exchange", "deliver", "--all", "--cert", "new", "--wait", "--timeout", "1s")
    assert "by hand, the certificate exchange is off for it" in await told(office, *waiting, code=Exit.TIMEOUT)
    cancelled = await told(office, "exchange", "renewal", "--cancel")
    assert "cancelled by hand" in cancelled
    assert "cancelled: cancelled by hand" in await told(office, "exchange", "renewal", "--watch", code=Exit.FAILED)


@pytest_twisted.ensureDeferred
async def test_a_renewal_that_is_kept_on_says_until_when(office: Office) -> None:
    until = datetime.now(UTC) + timedelta(days=9)
    said = await told(office, "exchange", "deliver", "--all", "--cert", "new", "--until", f"{until:%Y-%m-%d %H:%M}")
    assert f"and is used at least until {until:%Y-%m-%d %H:%M}:00Z" in said


@pytest_twisted.ensureDeferred
async def test_leaving_the_view_leaves_the_renewal_running(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(renewals.time, "sleep", leave)
    said = await told(office, "exchange", "deliver", "--all", "--cert", "new", "--wait", code=Exit.INTERRUPTED)
    assert "the renewal goes on: see 'oftp2d exchange renewal 1'" in said


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "name a partner, or say --all"),
        ((THEIRS, "--all"), "name a partner, or say --all"),
        ((THEIRS, "--until", "2099-01-01"), "--until goes with --all"),
        (("--all",), "Name the new certificate with --certificate"),
        (("--all", "--cert", "new", "--to", THEIRS), "--station and --to go with one partner"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_does_not_go_together_is_said(office: Office, arguments: tuple[str, ...], what: str) -> None:
    assert what in await told(office, "exchange", "deliver", *arguments, code=Exit.USAGE)


@pytest_twisted.ensureDeferred
async def test_without_any_renewal_it_is_said_how_one_begins(office: Office) -> None:
    assert "begin one with 'oftp2d exchange deliver --all" in await told(
        office, "exchange", "renewal", code=Exit.FAILED
    )
    assert "no renewals yet" in await told(office, "exchange", "renewals")


@pytest_twisted.ensureDeferred
async def test_on_a_terminal_it_is_a_table_that_lives(office: Office) -> None:
    await told(office, "exchange", "deliver", "--all", "--cert", "new")
    office.ledger.certificates.confirm(
        1, office.renewals._context.certificates.find("new").fingerprint, datetime.now(UTC), "manual"
    )
    out = io.StringIO()
    screen = Screen(file=out, width=100, force_terminal=True, color_system="standard")
    terminal = Terminal(out=lambda: screen, err=lambda: screen, serve=lambda _config: 0)
    watching = deferToThread(execute, ("exchange", "renewal", "--watch"), terminal)
    office.renewals.confirmed()
    assert await watching == Exit.DONE
    assert "\x1b[" in out.getvalue()
    assert "1 of 1 partners have it" in out.getvalue()


def document(*partners: tuple[str, str], **more: Any) -> dict[str, Any]:
    stands = [
        {"partner": code, "stage": stage, "since": "2027-03-01T11:00:00Z", "text": stage, "advice": f"do {stage}"}
        for code, stage in partners
    ]
    return {
        "id": 3,
        "state": "running",
        "certificate": {"alias": "new", "fingerprint": "ab" * 32},
        "previous": None,
        "started_at": "2027-03-01T11:00:00Z",
        "partners_total": len(partners),
        "counts": {"confirmed": sum(stage == "confirmed" for _, stage in partners)},
        "partners": stands,
    } | more


def seen(shown: dict[str, Any], rows: int | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(view(shown, rows=rows, now=NOW))
    return out.getvalue()


def test_many_partners_fit_on_a_screen_those_who_need_a_hand_first() -> None:
    crowd = [(f"O00130000{number:02}", "confirmed") for number in range(40)]
    shown = seen(document(*crowd, ("O0013000099", "refused")), rows=10)
    assert shown.index("O0013000099") < shown.index("O0013000000")
    assert "and 36 more" in shown
    assert "60 minutes" in shown
    assert seen(document(*crowd)).count("do confirmed") == 40


def test_a_renewal_without_partners_and_one_whose_certificate_is_gone_can_be_shown() -> None:
    assert "no partner needs it" in seen(document())
    gone = document(("O0013000002", "odd"), certificate={"alias": None, "fingerprint": "ab" * 32})
    gone["partners"][0]["since"] = None
    assert "Renewal 3: abababababababab" in seen(gone)
    assert "?" in seen(gone)


def test_what_partners_are_called_is_never_taken_for_markup() -> None:
    assert "[red]X" in seen(document(("[red]X", "refused")))
