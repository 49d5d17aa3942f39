"""Commands against the real administration interface: what people see, what scripts get."""

from __future__ import annotations

import io
import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from oftp2 import commands as c
from oftp2.certs.facts import CertificateFacts
from oftp2.cms.suites import SUITES, WEAK
from oftp2.values import Role
from oftp2d.cli.app import execute
from oftp2d.cli.partners import SUITES_IN_WORDS
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Exit, Terminal, console
from oftp2d.ledger import FileIdentity, Transfer
from oftp2d.probe import TestReport, TestStep
from tests import pki
from tests.oftp2.wire import on_the_wire
from tests.oftp2d.desk import OURS, THEIRS, Office, deliver, open_office, refuse


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    monkeypatch.setenv("OFTP2D_PASSWORD_OURS", "OURS")
    monkeypatch.setenv("OFTP2D_PASSWORD_THEIRS", "THEIRS")
    async with open_office(tmp_path) as opened:
        yield opened


async def good(office: Office, *arguments: str) -> dict[str, Any]:
    """The document of a command that must succeed."""
    code, out, err = await office.run(*arguments, "--json")
    assert code == Exit.DONE, out + err
    document: dict[str, Any] = json.loads(out)
    return document


async def seen(office: Office, *arguments: str) -> str:
    """What people see of a command that must succeed."""
    code, out, err = await office.run(*arguments)
    assert code == Exit.DONE, out + err
    return out


async def add_partner(office: Office, *more: str) -> None:
    await good(office, "partner", "add", THEIRS, "--name", "Partner Ltd", "--host", "127.0.0.1", *more)


@pytest.mark.parametrize(
    "arguments",
    ["status", "station list", "partner list", "cert list", "cert announcements", "exchange list", "transfer list",
     "inbox list", "audit", "trace list"],
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_every_listing_of_an_empty_station_works_for_people_and_scripts(office: Office, arguments: str) -> None:
    await seen(office, *arguments.split())
    assert await good(office, *arguments.split())


@pytest_twisted.ensureDeferred
async def test_the_status_shows_who_is_connected_and_what_waits(office: Office) -> None:
    out = await seen(office, "status")
    for word in (OURS, "tls 127.0.0.1:6619", THEIRS, "responder", "certificate station ends on"):
        assert word in out


@pytest_twisted.ensureDeferred
async def test_a_partner_added_with_passwords_from_the_environment_can_be_shown_and_changed(office: Office) -> None:
    await add_partner(office, "--acx", "announced", "--sub-station", "O0013000002SUB")
    out = await seen(office, "partner", "show", THEIRS)
    for word in ("Partner Ltd", "tls 127.0.0.1:6619", "announced", "O0013000002SUB", "set"):
        assert word in out
    assert "OURS" not in out
    document = await good(office, "partner", "change", THEIRS, "--transport", "tcp", "--inactive")
    assert (document["transport"], document["port"], document["active"]) == ("tcp", 3305, False)
    assert THEIRS in await seen(office, "partner", "list")
    await good(office, "partner", "remove", THEIRS, "--yes")
    assert (await good(office, "partner", "list"))["partners"] == []


@pytest_twisted.ensureDeferred
async def test_what_is_agreed_for_sessions_can_be_set_and_is_shown_in_words(office: Office) -> None:
    await add_partner(office, "--level", "1", "--mode", "receive", "--no-restart", "--no-compression")
    document = await good(office, "partner", "show", THEIRS)
    agreed = {name: document[name] for name in ("level", "mode", "restart", "compression")}
    assert agreed == {"level": 1, "mode": "receive", "restart": False, "compression": False}
    out = await seen(office, "partner", "show", THEIRS)
    for word in ("1 (OFTP 1.2)", "we receive, it sends"):
        assert word in out
    document = await good(
        office, "partner", "change", THEIRS, "--level", "5", "--mode", "both", "--restart", "--compression"
    )
    assert (document["level"], document["mode"], document["restart"], document["compression"]) == (
        5,
        "both",
        True,
        True,
    )
    out = await seen(office, "partner", "show", THEIRS)
    for word in ("5 (OFTP 2.0)", "both"):
        assert word in out


@pytest_twisted.ensureDeferred
async def test_file_security_can_be_set_and_is_shown_in_words(office: Office) -> None:
    await add_partner(office)
    out = await seen(office, "partner", "show", THEIRS)
    for line in (
        "files for it +as they are",
        r"cipher suite +04 \(AES-256, SHA-256\)",
        "its receipts +unsigned",
        "files from it +signed: allowed, compressed: allowed, encrypted: allowed",
        r"shortest key it may have +2048 bits \(RSA\)",
    ):
        assert re.search(line, out), line
    everything = (
        "--sign-files --compress-files --encrypt-files --cipher-suite 9 --signed-receipts --unsigned-receipts accept"
        " --signer-certificate --incoming-signed required --incoming-encrypted required --incoming-compressed refused"
        " --least-rsa-bits 4096"
    )
    document = await good(office, "partner", "change", THEIRS, *everything.split())
    assert (document["cipher_suite"], document["unsigned_receipts"], document["least_rsa_bits"]) == (9, True, 4096)
    out = await seen(office, "partner", "show", THEIRS)
    for line in (
        "files for it +signed, compressed, encrypted; our certificate goes with our signatures",
        r"cipher suite +09 \(AES-256, SHA-512, RSA OAEP and PSS\)",
        "its receipts +signed; unsigned ones count too",
        "files from it +signed: required, compressed: refused, encrypted: required",
    ):
        assert re.search(line, out), line
    code, _, err = await office.run("partner", "change", THEIRS, "--level", "4")
    assert code == Exit.FAILED
    assert "--no-sign-files" in err
    nothing = (
        "--no-sign-files --no-compress-files --no-encrypt-files --cipher-suite 4 --no-signed-receipts"
        " --unsigned-receipts refuse --no-signer-certificate --incoming-signed refused --incoming-encrypted allowed"
        " --incoming-compressed allowed --level 4"
    )
    document = await good(office, "partner", "change", THEIRS, *nothing.split())
    assert (document["sign_files"], document["unsigned_receipts"], document["level"]) == (False, False, 4)


def test_the_suites_in_words_are_those_of_the_standard() -> None:
    assert set(SUITES_IN_WORDS) == set(SUITES)
    for number, suite in SUITES.items():
        told = SUITES_IN_WORDS[number]
        assert told.startswith(f"{number:02} ({suite.cipher}, {suite.digest}")
        assert ("OAEP and PSS" in told) is suite.probabilistic
        assert ("broken" in told) is (number in WEAK)


@pytest_twisted.ensureDeferred
async def test_a_file_is_secured_as_the_command_line_wishes(office: Office, tmp_path: Path) -> None:
    await add_partner(office, "--compress-files", "--unsigned-receipts", "accept")
    file = tmp_path / "parts.txt"
    file.write_bytes(bytes(3000))
    document = await good(office, "send", THEIRS, str(file), "--signed-receipt", "--suite", "6")
    assert (document["state"], document["services"], document["cipher"]) == ("securing", ["compressed"], 6)
    out = await seen(office, "transfer", "show", document["id"])
    for line in (
        "state +securing",
        r"done to it +compressed \(cipher suite 06\)",
        "signed receipt asked for +yes",
        "in short +It is being compressed",
    ):
        assert re.search(line, out), line
    assert document["id"] in await seen(office, "transfer", "list", "--state", "securing")
    secured = office.ledger.transfers.secured(
        document["id"],
        datetime.now(UTC),
        octets=40,
        spool_name="secured1",
        virtual_hash=b"\xcd" * 64,
        signers=["01" * 32],
        recipients=["02" * 32],
        choice="newest of its station",
    )
    out = await seen(office, "transfer", "show", secured.id)
    for word in ("01" * 32, "02" * 32, "cd" * 64, "newest of its station"):
        assert word in out
    assert "2.9 KiB before it was secured" in out
    document = await good(office, "send", THEIRS, str(file), "--no-compress")
    assert (document["state"], document["services"]) == ("queued", [])
    await good(office, "transfer", "cancel", document["id"])
    document = await good(office, "transfer", "retry", document["id"], "--as-agreed")
    assert (document["state"], document["services"]) == ("securing", ["compressed"])
    office.house.moved[document["id"]] = 1024
    assert "1.0 KiB of 2.9 KiB are secured" in re.sub(r"\s+", " ", await seen(office, "transfer", "list"))
    code, _, err = await office.run("send", THEIRS, str(file), "--encrypt")
    assert code == Exit.FAILED
    assert "oftp2d exchange request" in err


@pytest_twisted.ensureDeferred
async def test_a_transfer_names_its_certificates_by_alias_and_subject(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    ours = (await good(office, "cert", "generate", "--alias", "signing", "--bits", "2048"))["fingerprint"]
    theirs = pki.certificate("CB01")
    file = tmp_path / "theirs.pem"
    file.write_bytes(theirs.pem)
    await good(office, "cert", "import", str(file), "--partner", THEIRS, "--alias", "their key")
    content = tmp_path / "parts.txt"
    content.write_bytes(b"parts")
    document = await good(office, "send", THEIRS, str(content), "--compress")
    signers, recipients = [ours, "01" * 32], [theirs.fingerprint]
    office.ledger.transfers.secured(
        document["id"],
        datetime.now(UTC),
        octets=40,
        spool_name="secured1",
        virtual_hash=None,
        signers=signers,
        recipients=recipients,
    )
    out = re.sub(r"\s+", " ", await seen(office, "transfer", "show", document["id"]))
    subject = str(CertificateFacts.of(theirs.der).subject)
    assert f"encrypted for their key: {subject} ({theirs.fingerprint[:16]}) chosen" in out
    assert re.search(rf"signed with signing: [^(]*{OURS}[^(]* \({ours[:16]}\) {'01' * 32} encrypted", out), out
    told = await good(office, "transfer", "show", document["id"])
    assert (told["signers"], told["recipients"]) == (signers, recipients)
    assert [each["alias"] for each in told["certificates"]] == ["signing", "their key"]


@pytest_twisted.ensureDeferred
async def test_a_refused_file_is_copied_out_as_it_came(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    partner = office.ledger.partners.by_code(THEIRS)
    assert partner is not None
    kept = refuse(office, partner.id, b"no envelope")
    assert f"oftp2d transfer raw {kept.id}" in await seen(office, "transfer", "show", kept.id)
    out = await seen(office, "status")
    assert (
        "! could not be opened within the last day and refused: 1 of partners' files, see 'oftp2d transfer list" in out
    )
    assert kept.id in await seen(office, "transfer", "list", "--direction", "in", "--state", "refused")
    target = tmp_path / "copy"
    document = await good(office, "transfer", "raw", kept.id, "-o", str(target))
    assert (document["path"], target.read_bytes()) == (str(target), b"no envelope")
    code, _, err = await office.run("transfer", "raw", kept.id, "-o", str(target))
    assert code != Exit.DONE
    assert "--force" in err
    folder = tmp_path / "folder"
    folder.mkdir()
    await good(office, "transfer", "raw", kept.id, "-o", str(folder))
    assert [path.read_bytes() for path in folder.iterdir()] == [b"no envelope"]
    office.ledger.transfers.forget_raw(kept.id)
    code, _, err = await office.run("transfer", "raw", kept.id, "-o", str(tmp_path / "other"))
    assert code != Exit.DONE
    assert "is not kept" in err
    assert not (tmp_path / "other").exists()


@pytest_twisted.ensureDeferred
async def test_passwords_come_from_files_too_and_only_when_asked_for(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    before = office.ledger.partners.by_code(THEIRS)
    (tmp_path / "password").write_text("NEWPASS\n")
    await good(office, "partner", "change", THEIRS, "--password-ours-file", str(tmp_path / "password"))
    after = office.ledger.partners.by_code(THEIRS)
    assert before is not None
    assert after is not None
    assert after.password_ours != before.password_ours
    assert after.password_theirs == before.password_theirs


@pytest_twisted.ensureDeferred
async def test_a_connection_test_that_fails_is_exit_code_1_and_names_the_step(office: Office) -> None:
    await add_partner(office)
    office.dialler.report = TestReport(
        ok=False,
        steps=(
            TestStep(step="tcp", ok=True, text="connected"),
            TestStep(step="tls", ok=False, text="host name differs\x1b[31m"),
        ),
    )
    code, out, _ = await office.run("partner", "test", THEIRS)
    assert code == Exit.FAILED
    assert "FAILED  tls: host name differs" in out
    assert "\x1b[31m" not in out
    code, out, _ = await office.run("partner", "test", THEIRS, "--json")
    assert code == Exit.FAILED
    assert json.loads(out)["steps"][1]["ok"] is False


@pytest_twisted.ensureDeferred
async def test_a_failed_connection_test_says_what_to_do_and_a_good_one_ends_the_back_off(office: Office) -> None:
    await add_partner(office)
    partner = office.ledger.partners.by_code(THEIRS)
    assert partner is not None
    now = datetime.now(UTC)
    office.ledger.partners.call_failed(partner.id, now, "no route to host", now + timedelta(hours=1))
    for word in (THEIRS, "calls failed: 1", "no route to host"):
        assert word in await seen(office, "status")
    good_report = office.dialler.report
    office.dialler.report = TestReport(ok=False, steps=(TestStep(step="password", ok=False, text="it is wrong"),))
    code, out, _ = await office.run("partner", "test", THEIRS)
    assert code == Exit.FAILED
    assert "compare both passwords" in out
    office.dialler.report = good_report
    await good(office, "partner", "test", THEIRS)
    after = office.ledger.partners.by_code(THEIRS)
    assert after is not None
    assert (after.call_failures, after.next_call_at, after.last_error) == (0, None, None)
    assert office.dialler.nudges


@pytest_twisted.ensureDeferred
async def test_regular_calls_begin_at_once_and_can_be_given_up(office: Office) -> None:
    await add_partner(office, "--call", "every", "60")
    assert (await good(office, "partner", "show", THEIRS))["next_call_at"] is not None
    document = await good(office, "partner", "change", THEIRS, "--call", "on-demand")
    assert (document["call_every"], document["next_call_at"]) == (None, None)


@pytest.mark.parametrize(
    ("words", "call", "every", "shown"),
    [
        (["on-demand"], "on-demand", None, "when something waits for it"),
        (["wait"], "wait", None, "never: we wait to be called"),
        (["every", "15"], "every", 900, "every 15 minutes, and when something waits for it"),
        (["every 15"], "every", 900, "every 15 minutes, and when something waits for it"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_call_policy_is_set_and_shown(
    office: Office, words: list[str], call: str, every: int | None, shown: str
) -> None:
    await add_partner(office, "--host", "oftp.partner.example", "--call", *words)
    document = await good(office, "partner", "show", THEIRS)
    assert (document["call"], document["call_every"]) == (call, every)
    _, out, _ = await office.run("partner", "show", THEIRS)
    (line,) = (line for line in out.splitlines() if line.startswith("called"))
    assert line.removeprefix("called").strip() == shown


@pytest.mark.parametrize(
    "words", [["sometimes"], ["every"], ["every", "0"], ["every", "10081"], ["every", "-1"], ["wait", "15"]]
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_call_policy_is_refused(office: Office, words: list[str]) -> None:
    await add_partner(office)
    assert (await office.run("partner", "change", THEIRS, "--call", *words))[0] == Exit.USAGE


@pytest_twisted.ensureDeferred
async def test_stations_are_added_made_the_main_one_and_removed(office: Office) -> None:
    plant = "O0013000001PLANT2"
    await good(office, "station", "add", plant, "--name", "Plant 2")
    _, _, err = await office.run("station", "remove", OURS, "--yes")
    assert f"{OURS} is the main station" in err
    assert (await good(office, "station", "main", plant))["main"]
    assert [(each["code"], each["main"]) for each in (await good(office, "station", "list"))["stations"]] == [
        (plant, True),
        (OURS, False),
    ]
    await add_partner(office, "--station", plant)
    await good(office, "station", "main", OURS)
    code, _, err = await office.run("station", "remove", plant, "--yes")
    assert (code, f"{plant} is in use: it is our code towards {THEIRS}" in err) == (Exit.FAILED, True)
    await good(office, "partner", "change", THEIRS, "--station", OURS)
    await good(office, "station", "remove", plant, "--yes")
    for arguments in (("remove", plant, "--yes"), ("main", plant)):
        code, _, err = await office.run("station", *arguments)
        assert (code, "is no station of ours" in err) == (Exit.FAILED, True)
    events = [entry["event"] for entry in (await good(office, "audit"))["entries"]]
    assert {"station added", "main station changed", "station removed"} <= set(events)


@pytest_twisted.ensureDeferred
async def test_further_codes_of_a_partner_can_be_forgotten(office: Office) -> None:
    await add_partner(office, "--sub-station", "O0013000002SUB")
    assert (await good(office, "partner", "change", THEIRS, "--no-sub-stations"))["sub_stations"] == []


@pytest_twisted.ensureDeferred
async def test_a_partner_is_not_added_twice_and_the_line_says_how_to_change_it(office: Office) -> None:
    await add_partner(office)
    code, _, err = await office.run("partner", "add", THEIRS)
    assert code == Exit.FAILED
    assert err == f"{THEIRS} is a partner already: change it with 'oftp2d partner change {THEIRS}'\n"


@pytest_twisted.ensureDeferred
async def test_call_asks_the_dialler(office: Office) -> None:
    await add_partner(office)
    assert "calling" in await seen(office, "call", THEIRS)
    assert office.dialler.calls == [THEIRS]


@pytest_twisted.ensureDeferred
async def test_send_without_waiting_ends_when_the_station_has_the_file(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    (tmp_path / "orders.edi").write_bytes(b"UNA:+.? '")
    sent = await good(office, "send", THEIRS, str(tmp_path / "orders.edi"), "--as", "ORDERS.D96A")
    assert (sent["dataset"], sent["state"], sent["octets"]) == ("ORDERS.D96A", "queued", 9)
    assert sent["id"] in await seen(office, "transfer", "list")
    out = await seen(office, "transfer", "show", sent["id"])
    assert "9 octets" in out
    assert "orders.edi" in out


@pytest_twisted.ensureDeferred
async def test_records_and_text_are_sent_as_they_are_agreed(office: Office, tmp_path: Path) -> None:
    await add_partner(office, "--text-charset", "ibm037", "--text-line-ends", "lf")
    out = await seen(office, "partner", "show", THEIRS)
    assert "in cp037, UTF-8 here; line ends CR-LF, LF here" in out
    (tmp_path / "cards").write_bytes(b"x" * 160)
    (tmp_path / "records").write_bytes(b"\0\3abc\0\0")
    (tmp_path / "lines").write_bytes(b"A\nB\n")
    cards = await good(office, "send", THEIRS, str(tmp_path / "cards"), "--format", "F", "--record-length", "80")
    records = await good(office, "send", THEIRS, str(tmp_path / "records"), "--format", "V")
    lines = await good(office, "send", THEIRS, str(tmp_path / "lines"), "--format", "T")
    assert [(each["octets"], each["records"], each["record_length"]) for each in (cards, records, lines)] == [
        (160, 2, 80),
        (3, 2, 3),
        (6, 0, 0),
    ]
    assert "F, 2 records of 80 octets" in await seen(office, "transfer", "show", cards["id"])
    assert "V, 2 records of up to 3 octets" in await seen(office, "transfer", "show", records["id"])
    await good(office, "partner", "change", THEIRS, "--text-charset", "")
    assert "line ends CR-LF, LF here" in await seen(office, "partner", "show", THEIRS)
    await good(office, "partner", "change", THEIRS, "--text-line-ends", "as-is")
    assert "as they are" in await seen(office, "partner", "show", THEIRS)


def _send(office: Office, transfer: Transfer) -> None:
    """What a session does before an end response can come."""
    now = datetime.now(UTC)
    office.ledger.transfers.claim_next(transfer.partner_id, "session", now, timedelta(minutes=1))
    office.ledger.transfers.sent(transfer.id, now)


def _acknowledge(office: Office, transfer: Transfer) -> None:
    _send(office, transfer)
    office.ledger.transfers.acknowledged(_key(transfer), datetime.now(UTC))


def _refuse(office: Office, transfer: Transfer) -> None:
    _send(office, transfer)
    office.ledger.transfers.refused(_key(transfer), datetime.now(UTC), "NERP 34", "no such process")


def _cancel(office: Office, transfer: Transfer) -> None:
    office.ledger.transfers.cancel(transfer.id, datetime.now(UTC))


def _nothing(_office: Office, _transfer: Transfer) -> None:
    """The partner never answers."""


def _key(transfer: Transfer) -> FileIdentity:
    return transfer.key


@pytest.mark.parametrize(
    ("end", "code", "state"),
    [
        (_acknowledge, Exit.DONE, "acknowledged"),
        (_refuse, Exit.REFUSED, "refused"),
        (_cancel, Exit.REFUSED, "cancelled"),
        (_nothing, Exit.TIMEOUT, "queued"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_send_and_wait_tells_the_end_by_its_exit_code(
    office: Office,
    tmp_path: Path,
    end: Callable[[Office, Transfer], None],
    code: Exit,
    state: str,
) -> None:
    await add_partner(office)
    (tmp_path / "file").write_bytes(b"content")

    def nudge(_partner_id: int) -> None:
        (transfer,) = office.ledger.transfers.list()
        end(office, transfer)

    office.dialler.nudge = nudge  # type: ignore[method-assign]  # the partner's answer, at once
    got, out, err = await office.run("send", THEIRS, str(tmp_path / "file"), "--wait", "--timeout", "1", "--json")
    assert got == code, err
    assert json.loads(out)["state"] == state


@pytest_twisted.ensureDeferred
async def test_who_watches_a_file_wait_sees_a_bar_and_what_it_waits_for(office: Office, tmp_path: Path) -> None:
    await good(office, "partner", "add", THEIRS)
    (tmp_path / "file").write_bytes(b"content")
    watched = io.StringIO()
    terminal = Terminal(
        out=lambda: console(io.StringIO()),
        err=lambda: Screen(file=watched, width=100, force_terminal=True),
        serve=lambda _config: 0,
    )
    arguments = ["send", THEIRS, str(tmp_path / "file"), "--wait", "--timeout", "1"]
    assert await deferToThread(execute, arguments, terminal) == Exit.TIMEOUT
    assert watched.getvalue().count("waits for the partner's call: there is no address to call it") == 1
    assert "queued" in watched.getvalue()


@pytest_twisted.ensureDeferred
async def test_a_transfer_that_waits_says_what_for(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    (tmp_path / "orders.edi").write_bytes(b"UNA")
    sent = await good(office, "send", THEIRS, str(tmp_path / "orders.edi"))
    assert sent["waits_for"] == "the next session"
    partner = office.ledger.partners.by_code(THEIRS)
    assert partner is not None
    now = datetime.now(UTC)
    office.ledger.partners.call_failed(partner.id, now, "connection refused", now + timedelta(hours=1))
    assert "connection refused" in await seen(office, "transfer", "list")
    await good(office, "partner", "change", THEIRS, "--host", "")
    assert "waits for the partner's call" in await seen(office, "transfer", "list")
    await good(office, "partner", "change", THEIRS, "--inactive")
    assert "it is inactive" in await seen(office, "transfer", "show", sent["id"].lower())
    await good(office, "transfer", "cancel", sent["id"])
    assert "waits for" not in await seen(office, "transfer", "list")
    code, _, err = await office.run("inbox", "get", "2NOTHERE")
    assert (code, err) == (Exit.FAILED, "there is no transfer 2NOTHERE: see 'oftp2d inbox list'\n")


@pytest_twisted.ensureDeferred
async def test_transfers_are_cancelled_and_retried(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    (tmp_path / "file").write_bytes(b"content")
    sent = await good(office, "send", THEIRS, str(tmp_path / "file"))
    assert "cancelled" in await seen(office, "transfer", "cancel", sent["id"])
    assert (await office.run("transfer", "cancel", sent["id"]))[0] == Exit.FAILED
    assert "queued" in await seen(office, "transfer", "retry", sent["id"])
    await good(office, "transfer", "cancel", sent["id"])
    await good(office, "transfer", "retry", sent["id"], "--new-stamp")
    again = await good(office, "transfer", "show", sent["id"])
    assert (again["date"], again["time"]) > (sent["date"], sent["time"])


@pytest_twisted.ensureDeferred
async def test_a_file_of_the_inbox_is_copied_out_but_never_over_another(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    partner = office.ledger.partners.by_code(THEIRS)
    assert partner is not None
    transfer = deliver(office, partner.id, b"content" * 100_000)
    assert transfer.id in await seen(office, "inbox", "list")
    target = tmp_path / "out"
    target.mkdir()
    document = await good(office, "inbox", "get", transfer.id, "-o", str(target))
    copy = Path(document["path"])
    assert copy.parent == target
    assert copy.read_bytes() == b"content" * 100_000  # noqa: ASYNC240 - a test may wait
    code, _, err = await office.run("inbox", "get", transfer.id, "-o", str(target))
    assert code == Exit.FAILED
    assert "--force" in err
    await good(office, "inbox", "get", transfer.id, "-o", str(target), "--force")
    assert [path.name for path in target.iterdir()] == [copy.name]
    assert (await office.run("inbox", "get", "NOSUCH", "-o", str(target)))[0] == Exit.FAILED


@pytest_twisted.ensureDeferred
async def test_certificates_from_the_command_line(office: Office, tmp_path: Path) -> None:
    await add_partner(office)
    for name, content in (("ca.pem", pki.issuing("A").pem), ("p.der", pki.certificate("CA01").der)):
        (tmp_path / name).write_bytes(content)
    await good(office, "cert", "import", str(tmp_path / "ca.pem"), "--anchor", "--alias", "odette-ca")
    await good(office, "cert", "import", str(tmp_path / "p.der"), "--partner", THEIRS, "--usage", "signature")
    made = await good(office, "cert", "generate", "--alias", "new", "--host", "oftp.test.example", "--bits", "2048")
    assert "Issuing A" in await seen(office, "cert", "show", "odette-ca")
    assert "BEGIN CERTIFICATE" in await seen(office, "cert", "show", "new", "--pem")
    assert (await good(office, "cert", "list", "--holder", "partner"))["certificates"][0]["usages"] == ["signature"]
    await good(office, "cert", "announce", THEIRS, "--cn", "a0.test", "--issuer", "odette-ca")
    (announced,) = (await good(office, "cert", "announcements"))["announcements"]
    assert "a0.test" in await seen(office, "cert", "announcements", THEIRS)
    await good(office, "cert", "unannounce", str(announced["id"]))
    await good(office, "cert", "confirm", THEIRS, "new")
    assert THEIRS in await seen(office, "cert", "show", made["fingerprint"][:10])
    out = await seen(office, "audit", THEIRS)
    for event in ("certificate announced", "certificate confirmed by hand", "certificate imported", "partner added"):
        assert event in out


@pytest_twisted.ensureDeferred
async def test_a_request_is_written_to_a_file_and_its_answer_imported(office: Office, tmp_path: Path) -> None:
    request, answer = tmp_path / "station.csr", tmp_path / "answer.pem"
    await seen(office, "cert", "generate", "--alias", "ca", "--bits", "2048", "--csr", "-o", str(request))
    issued = pki.sign_request(request.read_bytes(), issuer=pki.issuing("A"))
    answer.write_bytes(pki.Issued(issued, pki.new_key()).pem)
    document = await good(office, "cert", "import", str(answer), "--own")
    assert (document["alias"], document["private_key"]) == ("ca", True)


@pytest_twisted.ensureDeferred
async def test_a_request_that_waits_for_its_answer_is_listed(office: Office) -> None:
    await good(office, "cert", "generate", "--alias", "asked", "--csr", "--bits", "2048")
    assert "asked: requested for" in await seen(office, "cert", "list")
    assert "BEGIN CERTIFICATE REQUEST" in (await good(office, "cert", "list"))["requests"][0]["csr_pem"]
    assert (await good(office, "cert", "list", "--holder", "anchor"))["requests"] == []
    await good(office, "cert", "remove", "asked", "--yes")
    assert (await good(office, "cert", "list"))["requests"] == []


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_switched_off_and_on_and_removed(office: Office) -> None:
    await good(office, "cert", "generate", "--alias", "mine", "--bits", "2048")
    changes = office.house.changes
    assert (await good(office, "cert", "deactivate", "mine"))["active"] is False
    assert "inactive" in await seen(office, "cert", "list")
    assert (await good(office, "cert", "activate", "mine"))["active"] is True
    assert "removed" in await seen(office, "cert", "remove", "mine", "--yes")
    assert (await good(office, "cert", "list"))["certificates"] == []
    assert office.house.changes == changes + 3
    events = [entry["event"] for entry in (await good(office, "audit"))["entries"]]
    assert events[:3] == ["certificate removed", "certificate activated", "certificate deactivated"]


@pytest_twisted.ensureDeferred
async def test_who_has_accepted_no_other_certificate_is_named_when_it_is_switched_off(office: Office) -> None:
    await add_partner(office)
    for alias in ("old", "new"):
        await good(office, "cert", "generate", "--alias", alias, "--bits", "2048")
    await good(office, "cert", "confirm", THEIRS, "old")
    code, _, err = await office.run("cert", "deactivate", "old")
    assert (code, THEIRS in err, "'oftp2d cert activate old'" in err) == (Exit.DONE, True, True)
    await good(office, "cert", "activate", "old")
    await good(office, "cert", "confirm", THEIRS, "new")
    assert (await good(office, "cert", "deactivate", "old"))["no_other_for"] == []


@pytest_twisted.ensureDeferred
async def test_exchanges_from_the_command_line(office: Office) -> None:
    await add_partner(office)
    for name in ("deliver", "request", "recall"):
        assert "queued" in await seen(office, "exchange", name, THEIRS)
    assert [each[0] for each in office.exchange.asked] == ["DELIVER", "REQUEST", "REPLACE"]


@pytest_twisted.ensureDeferred
async def test_a_code_with_a_slash_can_be_named(office: Office) -> None:
    code = "O0013 A/B & C"
    await good(office, "partner", "add", code)
    assert (await good(office, "partner", "show", code))["code"] == code


@pytest_twisted.ensureDeferred
async def test_what_the_daemon_refuses_is_one_line_with_advice(office: Office) -> None:
    code, out, err = await office.run("partner", "show", "O0013NOBODY")
    assert code == Exit.FAILED
    assert out == ""
    assert err == "there is no partner O0013NOBODY: see 'oftp2d partner list'\n"


@pytest_twisted.ensureDeferred
async def test_sessions_are_recorded_listed_shown_and_removed(office: Office) -> None:
    await add_partner(office)
    out = await seen(office, "trace", "start", "--partner", THEIRS, "--for", "2h")
    assert f"recording sessions with {THEIRS} that begin until " in out
    (order,) = (await good(office, "trace", "list"))["orders"]
    assert order["partner"] == THEIRS
    until, since = (datetime.fromisoformat(order[name]) for name in ("until", "since"))
    assert until - since == timedelta(hours=2)
    session = office.traces.record("7", Role.INITIATOR, THEIRS)
    assert session is not None
    session.received(on_the_wire(c.Ssrm()))
    listing = await seen(office, "trace", "list")
    assert f"recording sessions with {THEIRS}" in listing
    session.closed("the connection was lost")
    shown = ""
    while "the connection was lost" not in shown:
        (found,) = (await good(office, "trace", "list"))["traces"]
        shown = await seen(office, "trace", "show", found["id"], "--follow")
    assert "R> SSRM" in shown
    assert (await good(office, "trace", "show", found["id"]))["text"] == shown
    assert f"{found['id']}  {THEIRS}  called" in await seen(office, "trace", "list")
    code, _, err = await office.run("trace", "show", found["id"], "--follow", "--json")
    assert (code, "--follow" in err) == (Exit.USAGE, True)
    assert "sessions with" in await seen(office, "trace", "stop")
    assert "nothing was being recorded" in await seen(office, "trace", "stop", "--partner", THEIRS)
    assert (await good(office, "trace", "remove", "--all", "--yes"))["removed"] == [found["id"]]
    assert "no traces" in await seen(office, "trace", "list")


@pytest.mark.parametrize(
    ("arguments", "code", "advice"),
    [
        ("trace start --for 10", Exit.USAGE, "90s, 10m, 2h or 1d"),
        ("trace start --for 8d", Exit.FAILED, "604800"),
        ("trace start --partner O0013000009NOBODY", Exit.FAILED, "partner list"),
        ("trace show 20260102T030405Z-1", Exit.FAILED, "trace list"),
        ("trace remove 20260102T030405Z-1", Exit.FAILED, "trace list"),
        ("trace remove", Exit.USAGE, "--all"),
        ("trace remove --all", Exit.USAGE, "--yes"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_traced_is_refused_with_advice(
    office: Office, arguments: str, code: Exit, advice: str
) -> None:
    done, _, err = await office.run(*arguments.split())
    assert (done, advice in err) == (code, True), err
