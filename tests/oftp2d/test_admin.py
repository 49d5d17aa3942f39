"""The administration interface over its real socket, with the real ledger, spool and client."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from oftp2.values import Level
from oftp2d import config
from oftp2d.admin.fields import dataset_name
from oftp2d.admin.server import AdminServer
from oftp2d.client import AdminClient, RefusedError
from oftp2d.errors import OperatorError
from oftp2d.ledger import Authentication, Kind, NewOutgoing
from oftp2d.logs import LineObserver
from oftp2d.metrics import Gauge
from oftp2d.offers import Route
from oftp2d.partners import least_level
from oftp2d.probe import TestReport, TestStep
from tests import pki
from tests.oftp2d.desk import OURS, STARTED, THEIRS, Office, begin, deliver, open_office, refuse


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


async def partner(office: Office, **settings: Any) -> dict[str, Any]:
    wanted = {"code": THEIRS, "name": "Partner", "host": "127.0.0.1"} | settings
    return await office.ask("post", "/v1/partners", wanted)


async def refused(office: Office, status: int, method: str, *arguments: Any, **parameters: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await office.ask(method, *arguments, **parameters)
    assert caught.value.status == status, str(caught.value)
    assert caught.value.advice
    return caught.value


async def raw(office: Office, request: bytes) -> tuple[int, bytes]:
    """Send octets as they are; the status and body of the answer."""

    def talk() -> tuple[int, bytes]:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.settimeout(20)
            plug.connect(str(office.home / "admin.sock"))
            plug.sendall(request)
            answer = http.client.HTTPResponse(plug)
            answer.begin()
            return answer.status, answer.read()

    result: tuple[int, bytes] = await deferToThread(talk)
    return result


# --- the server itself ---------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_only_the_owner_can_open_the_socket(office: Office) -> None:
    state = (office.home / "admin.sock").stat()
    assert stat.S_ISSOCK(state.st_mode)
    assert stat.S_IMODE(state.st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_a_second_daemon_on_the_same_home_folder_is_refused_and_does_no_harm(office: Office) -> None:
    second = AdminServer(reactor, office.home / "admin.sock", _desk_of(office))
    with pytest.raises(OperatorError, match="already"):
        second.start()
    await second.stop()
    assert (await office.ask("get", "/v1/status"))["version"] == "0.1.0"


@pytest_twisted.ensureDeferred
async def test_a_socket_left_by_a_killed_daemon_is_no_obstacle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "admin.sock"))
    async with open_office(tmp_path) as opened:
        assert (await opened.ask("get", "/v1/status"))["version"] == "0.1.0"


@pytest_twisted.ensureDeferred
async def test_what_does_not_exist_is_a_404_in_json(office: Office) -> None:
    await refused(office, 404, "get", "/v1/nonsense")
    await refused(office, 404, "get", "/v1/partners/O0013NOBODY")
    await refused(office, 404, "get", "/v1/transfers/NOSUCH")
    await refused(office, 405, "delete", "/v1/status")


@pytest_twisted.ensureDeferred
async def test_a_mistake_of_ours_is_a_500_without_details_and_one_line_in_the_log(office: Office) -> None:
    logged = io.StringIO()
    observer = LineObserver(logged, config.LogLevel.INFO, config.LogFormat.TEXT)
    globalLogPublisher.addObserver(observer)
    office.house.fails = True
    fault = await refused(office, 500, "get", "/v1/status")
    globalLogPublisher.removeObserver(observer)
    assert "hush" not in str(fault)
    lines = [line for line in logged.getvalue().splitlines() if "hush" in line]
    assert len(lines) == 1
    assert "RuntimeError" in lines[0]
    assert "Traceback" not in logged.getvalue()
    office.house.fails = False
    assert await office.ask("get", "/v1/status")


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"code": 5}', b'{"code": "\\u0000"}', b'{"name": "x", "odd": 1}'],
    ids=lambda content: content[:12].decode("latin-1"),
)
@pytest_twisted.ensureDeferred
async def test_a_body_that_is_not_what_it_should_be_is_a_400(office: Office, content: bytes) -> None:
    head = f"POST /v1/stations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    status, answer = await raw(office, head.encode("ascii") + content)
    assert status == 400
    assert set(json.loads(answer)["error"]) == {"what", "advice"}


@pytest_twisted.ensureDeferred
async def test_a_client_that_vanishes_in_the_middle_of_a_body_harms_nobody(office: Office) -> None:
    def vanish() -> None:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.connect(str(office.home / "admin.sock"))
            plug.sendall(b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")

    await deferToThread(vanish)
    assert await office.ask("get", "/v1/status")


def _desk_of(office: Office) -> Any:
    class Desk:
        limits = config.Limits()
        upload_folder = office.home

    return Desk()


# --- status and stations -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_the_status_has_times_in_rfc_3339_and_names_in_snake_case(office: Office) -> None:
    status = await office.ask("get", "/v1/status")
    assert status == {
        "version": "0.1.0",
        "started_at": "2026-01-02T03:04:05.678Z",
        "stations": [{"code": OURS, "name": "Test Ltd", "main": True}],
        "listeners": [{"transport": "tls", "host": "127.0.0.1", "port": 6619}],
        "sessions": [
            {
                "partner": THEIRS,
                "role": "responder",
                "state": "idle",
                "since": "2026-01-02T03:04:05.678Z",
                "remote": "192.0.2.1:5",
            }
        ],
        "transfers": {},
        "end_responses_owed": 0,
        "unopened": 0,
        "partners": 0,
        "unreachable": [],
        "credential_sets": {"total": 0},
        "warnings": ["certificate station ends on 2026-02-01"],
    }
    assert STARTED.year == 2026


@pytest_twisted.ensureDeferred
async def test_the_status_counts_what_could_not_be_opened_within_the_last_day(office: Office) -> None:
    added = await partner(office)
    for number, reason in enumerate((30, 31, 34, 35), 1):
        refuse(office, added["id"], b"no envelope", reason, number=number)
    refuse(office, added["id"], b"no envelope", 33, number=9, ago=timedelta(hours=25))
    assert (await office.ask("get", "/v1/status"))["unopened"] == 2


@pytest_twisted.ensureDeferred
async def test_a_station_is_added_once(office: Office) -> None:
    await office.ask("post", "/v1/stations", {"code": "O0013000001PLANT2", "name": "Plant 2"})
    codes = [each["code"] for each in (await office.ask("get", "/v1/stations"))["stations"]]
    assert codes == [OURS, "O0013000001PLANT2"]
    await refused(office, 409, "post", "/v1/stations", {"code": OURS, "name": "again"})
    await refused(office, 400, "post", "/v1/stations", {"code": "lower", "name": "x"})
    await refused(office, 400, "post", "/v1/stations", {"name": "x"})


# --- partners ------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_passwords_are_sealed_in_the_ledger_and_never_come_back(office: Office) -> None:
    added = await partner(office, password_ours="HUSHHUSH", password_theirs="")
    assert added["password_ours_set"] is True
    assert added["password_theirs_set"] is False
    assert "HUSHHUSH" not in json.dumps(added)
    stored = office.ledger.partners.by_code(THEIRS)
    assert stored is not None
    assert stored.password_ours
    assert b"HUSHHUSH" not in stored.password_ours
    assert stored.password_theirs == b""
    assert b"HUSHHUSH" not in (office.home / "ledger.sqlite").read_bytes()
    for entry in (await office.ask("get", "/v1/audit"))["entries"]:
        assert "HUSH" not in json.dumps(entry)


@pytest_twisted.ensureDeferred
async def test_a_password_that_can_not_be_used_is_refused_without_repeating_it(office: Office) -> None:
    for password in ("HUSHHUSH9", "hüsh", "hu\nsh", 5):
        fault = await refused(office, 400, "post", "/v1/partners", {"code": THEIRS, "password_ours": password})
        assert "hush" not in str(fault).lower()


@pytest_twisted.ensureDeferred
async def test_a_partner_is_added_changed_and_removed(office: Office) -> None:
    added = await partner(office)
    assert (added["station"], added["port"], added["transport"], added["acx"]) == (OURS, 6619, "tls", "off")
    changed = await office.ask(
        "patch",
        f"/v1/partners/{THEIRS}",
        {"acx": "announced", "host": "", "sub_stations": ["O0013000002SUB"], "active": False},
    )
    assert (changed["acx"], changed["host"], changed["active"]) == ("announced", None, False)
    assert changed["sub_stations"] == ["O0013000002SUB"]
    assert changed["name"] == "Partner"
    assert office.dialler.nudges == [added["id"], added["id"]]
    await office.ask("delete", f"/v1/partners/{THEIRS}")
    assert (await office.ask("get", "/v1/partners"))["partners"] == []
    events = [each["event"] for each in (await office.ask("get", "/v1/audit"))["entries"]]
    assert events == ["partner removed", "partner changed", "partner added"]


@pytest.mark.parametrize(
    "settings",
    [{"port": 0}, {"port": "x"}, {"port": True}, {"credit": 1000}, {"acx": "yes"}, {"active": "yes"},
     {"sub_stations": "O1"}, {"sub_stations": ["bad_code"]}, {"host": "a\nb"}, {"host": "bad host"},
     {"cipher_suite": 0}, {"cipher_suite": 11}, {"cipher_suite": ""}, {"least_rsa_bits": 1023},
     {"least_rsa_bits": 4097}, {"incoming_signed": "maybe"}, {"incoming_compressed": "required"}, {"sign_files": "yes"},
     {"call_every": 59}, {"text_charset": "klingon"}, {"text_line_ends": "cr"}, {"name": 5}, {"odd": 1}, {}],
    ids=json.dumps,
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_setting_out_of_bounds_is_a_400_and_changes_nothing(office: Office, settings: dict[str, Any]) -> None:
    before = await partner(office)
    await refused(office, 400, "patch", f"/v1/partners/{THEIRS}", settings)
    assert await office.ask("get", f"/v1/partners/{THEIRS}") == before


@pytest_twisted.ensureDeferred
async def test_how_certificates_of_a_partner_are_taken_is_set_and_stands_in_the_audit_trail(office: Office) -> None:
    added = await office.ask("post", "/v1/partners", {"code": THEIRS})
    names = ("hold_certificates", "replace_scope", "only_own_anchors")
    assert [added[name] for name in names] == [False, "slots", False]
    wanted = {"hold_certificates": True, "replace_scope": "all", "only_own_anchors": True}
    changed = await office.ask("patch", f"/v1/partners/{THEIRS}", wanted)
    assert {name: changed[name] for name in names} == wanted
    entry = office.ledger.audit.list()[0]
    assert (entry.event, entry.detail) == ("partner changed", wanted)
    await refused(office, 400, "patch", f"/v1/partners/{THEIRS}", {"replace_scope": "some"})


@pytest_twisted.ensureDeferred
async def test_the_text_of_a_partner_is_set_and_cleared(office: Office) -> None:
    added = await partner(office)
    assert (added["text_charset"], added["text_line_ends"]) == (None, "as-is")
    path = f"/v1/partners/{THEIRS}"
    changed = await office.ask("patch", path, {"text_charset": "IBM1047", "text_line_ends": "lf"})
    assert (changed["text_charset"], changed["text_line_ends"]) == ("cp1047", "lf")
    cleared = await office.ask("patch", path, {"text_charset": ""})
    assert (cleared["text_charset"], cleared["text_line_ends"]) == (None, "lf")


@pytest_twisted.ensureDeferred
async def test_a_code_with_a_slash_and_blanks_can_be_named(office: Office) -> None:
    code = "O0013 A/B & C"
    await partner(office, code=code)
    with_slash = "/v1/partners/O0013%20A%2FB%20%26%20C"
    assert (await office.ask("get", with_slash))["code"] == code
    await office.ask("post", f"{with_slash}/call")
    assert office.dialler.calls == [code]


@pytest_twisted.ensureDeferred
async def test_a_test_and_a_call_go_to_the_dialler(office: Office) -> None:
    await partner(office)
    report = await office.ask("post", f"/v1/partners/{THEIRS}/test")
    assert report == {"ok": True, "steps": [{"step": "tcp", "ok": True, "text": "connected"}], "advice": None}
    await office.ask("post", f"/v1/partners/{THEIRS}/call")
    assert office.dialler.calls == [f"test {THEIRS}", THEIRS]
    await office.ask("patch", f"/v1/partners/{THEIRS}", {"host": ""})
    await refused(office, 409, "post", f"/v1/partners/{THEIRS}/call")


@pytest_twisted.ensureDeferred
async def test_where_authentication_fails_the_advice_is_about_certificates(office: Office) -> None:
    added = await partner(office)
    steps = (TestStep(step="level", ok=False, text="ended by the peer, ESID 12"),)
    office.dialler.report = TestReport(ok=False, steps=steps)
    path = f"/v1/partners/{THEIRS}/test"
    assert "'oftp2d partner show'" in (await office.ask("post", path))["advice"]
    office.ledger.partners.change(added["id"], authentication=Authentication.ON)
    advice = (await office.ask("post", path))["advice"]
    assert f"'oftp2d cert explain --partner {THEIRS} --for challenge'" in advice
    assert "exchange request" not in advice  # cannot reach it


# --- transfers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [0, 1, 70_000, 3_000_000])
@pytest_twisted.ensureDeferred
async def test_an_uploaded_file_is_in_the_spool_before_it_is_in_the_ledger(office: Office, octets: int) -> None:
    added = await partner(office)
    content = os.urandom(octets)
    sent = await office.send(content, partner=THEIRS, file_name="orders (1).edi")
    assert sent["dataset"] == "ORDERS (1).EDI"
    assert (sent["originator"], sent["destination"]) == (OURS, THEIRS)
    assert (sent["octets"], sent["sha256"]) == (octets, sha256(content).hexdigest())
    assert (sent["state"], sent["octets_moved"], sent["partner"]) == ("queued", 0, THEIRS)
    transfer = office.ledger.transfers.get(sent["id"])
    with office.spool.open_outgoing(transfer.spool_name) as file:
        assert file.read() == content
    assert office.dialler.nudges[-1] == added["id"]
    assert "spool_name" not in sent
    assert "claim_owner" not in sent


@pytest.mark.parametrize(
    "parameters",
    [{}, {"partner": THEIRS, "dataset": "lower"}, {"partner": THEIRS, "dataset": "A" * 27},
     {"partner": THEIRS, "dataset": "../UP*"}, {"partner": THEIRS, "originator": "O0013STRANGER"},
     {"partner": THEIRS, "destination": "O0013STRANGER"}, {"partner": THEIRS, "description": "ü" * 500},
     {"partner": THEIRS, "odd": "1"}, {"partner": THEIRS, "dataset": "ODETTE_CERTIFICATE_DELIVER"}],
    ids=json.dumps,
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_file_that_can_not_be_addressed_is_refused_and_leaves_nothing(
    office: Office, parameters: dict[str, str]
) -> None:
    await partner(office)
    with pytest.raises(RefusedError) as caught:
        await office.send(b"content", **parameters)
    assert caught.value.status == 400
    assert list((office.home / "spool" / "outgoing").iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_file_above_the_limit_is_refused_and_not_kept(tmp_path: Path) -> None:
    async with open_office(tmp_path, config.Limits(max_file_octets=200_000)) as opened:
        await partner(opened)
        await opened.send(bytes(200_000), partner=THEIRS, file_name="fits")
        with pytest.raises(RefusedError) as caught:
            await opened.send(bytes(200_001), partner=THEIRS, file_name="too large")
        assert caught.value.status == 413
        assert len(list((tmp_path / "spool" / "outgoing").iterdir())) == 1


@pytest_twisted.ensureDeferred
async def test_the_progress_of_a_transfer_is_what_its_session_says(office: Office) -> None:
    await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    office.house.moved[sent["id"]] = 4
    assert (await office.ask("get", f"/v1/transfers/{sent['id']}"))["octets_moved"] == 4


@pytest_twisted.ensureDeferred
async def test_a_dataset_name_may_have_underscores(office: Office) -> None:
    await partner(office)
    sent = await office.send(b"x", partner=THEIRS, dataset="ORDERS_2026")
    assert sent["dataset"] == "ORDERS_2026"
    assert (await office.send(b"x", partner=THEIRS, file_name="stock_list.txt"))["dataset"] == "STOCK_LIST.TXT"


@pytest.mark.parametrize("field", ["dataset", "file_name"])
@pytest.mark.parametrize("message", ["REQUEST", "DELIVER", "REPLACE"])
@pytest_twisted.ensureDeferred
async def test_a_file_cannot_pass_for_a_message_of_the_certificate_exchange(
    office: Office, field: str, message: str
) -> None:
    await partner(office)
    with pytest.raises(RefusedError, match="'oftp2d exchange'"):
        await office.send(b"x", partner=THEIRS, **{field: f"ODETTE_CERTIFICATE_{message}"})
    assert office.ledger.transfers.list() == []


@pytest.mark.parametrize("code", [" O0013", "O0013 ", "O0013_X", "X" * 26])
@pytest_twisted.ensureDeferred
async def test_a_code_that_no_partner_could_send_is_refused(office: Office, code: str) -> None:
    fault = await refused(office, 400, "post", "/v1/partners", {"code": code})
    assert "code is no" in str(fault)


@pytest_twisted.ensureDeferred
async def test_a_transfer_is_cancelled_and_retried_but_only_where_that_is_possible(office: Office) -> None:
    await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    path = f"/v1/transfers/{sent['id']}"
    assert (await office.ask("post", f"{path}/cancel"))["state"] == "cancelled"
    await refused(office, 409, "post", f"{path}/cancel")
    assert (await office.ask("post", f"{path}/retry"))["state"] == "queued"
    await refused(office, 409, "post", f"{path}/retry")


@pytest_twisted.ensureDeferred
async def test_a_retry_keeps_the_stamp_of_what_failed_unless_a_new_one_is_asked_for(office: Office) -> None:
    await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    now, path = office.ledger.transfers.get(sent["id"]).created_at, f"/v1/transfers/{sent['id']}/retry"
    office.ledger.transfers.failed(sent["id"], now, "SFNA 13", "had it")
    again = await office.ask("post", path)
    assert (again["date"], again["time"]) == (sent["date"], sent["time"])
    office.ledger.transfers.failed(sent["id"], now, "SFNA 13", "had it")
    await refused(office, 400, "post", path, {"new_stamp": "yes"})
    anew = await office.ask("post", path, {"new_stamp": True})
    assert anew["state"] == "queued"
    assert (anew["date"], anew["time"]) > (sent["date"], sent["time"])


@pytest_twisted.ensureDeferred
async def test_the_content_of_a_cancelled_file_of_ours_is_kept_for_a_retry(office: Office) -> None:
    await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    await office.ask("post", f"/v1/transfers/{sent['id']}/cancel")
    with office.spool.open_outgoing(office.ledger.transfers.get(sent["id"]).spool_name) as kept:
        assert kept.read() == b"content"


@pytest_twisted.ensureDeferred
async def test_what_is_there_of_a_broken_reception_goes_when_it_is_cancelled(office: Office) -> None:
    await partner(office)
    broken = begin(office, office.ledger.partners.list()[0].id)
    with office.spool.part(broken.spool_name) as part:
        part.write(b"half of it")
    office.ledger.transfers.interrupted(broken.id, broken.updated_at)
    parts = office.home / "spool" / "parts"
    assert [path.name for path in parts.iterdir()] == [broken.spool_name]
    assert (await office.ask("post", f"/v1/transfers/{broken.id}/cancel"))["state"] == "cancelled"
    assert list(parts.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_transfers_are_listed_by_state_direction_and_partner(office: Office) -> None:
    await partner(office)
    first = await office.send(b"1", partner=THEIRS, file_name="first")
    second = await office.send(b"2", partner=THEIRS, file_name="second")
    await office.ask("post", f"/v1/transfers/{first['id']}/cancel")

    async def listed(**wanted: str | int) -> list[str]:
        return [each["id"] for each in (await office.ask("get", "/v1/transfers", **wanted))["transfers"]]

    assert await listed() == [second["id"], first["id"]]
    assert await listed(state="cancelled") == [first["id"]]
    assert await listed(direction="in") == []
    assert await listed(partner=THEIRS, limit=1) == [second["id"]]
    await refused(office, 400, "get", "/v1/transfers", state="nonsense")
    await refused(office, 400, "get", "/v1/transfers", limit=0)
    await refused(office, 404, "get", "/v1/transfers", partner="O0013NOBODY")


def test_a_dataset_name_is_made_of_the_characters_of_rfc_5024() -> None:
    assert dataset_name("orders_2026.edi") == "ORDERS_2026.EDI"
    assert dataset_name("orders*2026.edi") == "ORDERS-2026.EDI"
    assert dataset_name("übergröße.stp") == "-BERGR-SSE.STP"
    assert dataset_name("a/b\x00c") == "A-B-C"
    assert dataset_name("x" * 40) == "X" * 26
    assert dataset_name("") == "FILE"
    assert dataset_name("   ") == "FILE"


# --- file security -------------------------------------------------------------------------------------------

AGREED = {
    "sign_files": True,
    "compress_files": True,
    "encrypt_files": True,
    "cipher_suite": 6,
    "signed_receipts": True,
    "signer_certificate": True,
    "incoming_signed": "required",
    "incoming_encrypted": "refused",
    "incoming_compressed": "refused",
    "unsigned_receipts": True,
    "least_rsa_bits": 3072,
}


@pytest_twisted.ensureDeferred
async def test_file_security_is_agreed_with_a_partner_and_stands_in_the_audit_trail(office: Office) -> None:
    added = await partner(office)
    assert {name: added[name] for name in AGREED} == {
        "sign_files": False,
        "compress_files": False,
        "encrypt_files": False,
        "cipher_suite": 4,
        "signed_receipts": False,
        "signer_certificate": False,
        "incoming_signed": "allowed",
        "incoming_encrypted": "allowed",
        "incoming_compressed": "allowed",
        "unsigned_receipts": False,
        "least_rsa_bits": 2048,
    }
    changed = await office.ask("patch", f"/v1/partners/{THEIRS}", AGREED)
    assert {name: changed[name] for name in AGREED} == AGREED
    (entry, _) = (await office.ask("get", "/v1/audit"))["entries"]
    assert entry["detail"] == AGREED
    other = await partner(office, code="O0013OTHER", **AGREED)
    assert {name: other[name] for name in AGREED} == AGREED


@pytest.mark.parametrize(
    ("settings", "what", "way_out"),
    [
        ({"sign_files": True}, "no signed files", "--no-sign-files"),
        ({"compress_files": True}, "no compressed files", "--no-compress-files"),
        ({"encrypt_files": True}, "no encrypted files", "--no-encrypt-files"),
        ({"signed_receipts": True}, "no signed receipts", "--no-signed-receipts"),
        ({"incoming_signed": "required"}, "no signed files of the partner", "--incoming-signed allowed"),
        ({"incoming_encrypted": "required"}, "no encrypted files of the partner", "--incoming-encrypted allowed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_release_level_below_5_has_what_is_agreed(
    office: Office, settings: dict[str, Any], what: str, way_out: str
) -> None:
    path = f"/v1/partners/{THEIRS}"
    await refused(office, 409, "post", "/v1/partners", {"code": THEIRS, "level": 4, **settings})
    await partner(office, level=4)
    fault = await refused(office, 409, "patch", path, settings)
    assert what in fault.what
    assert way_out in fault.advice
    await office.ask("patch", path, {"level": 5, **settings})
    fault = await refused(office, 409, "patch", path, {"level": 2})
    assert what in fault.what
    stored = office.ledger.partners.by_code(THEIRS)
    assert stored is not None
    assert (least_level(stored), stored.level) == (Level.REVISION_2_0, 5)


@pytest_twisted.ensureDeferred
async def test_what_is_only_tolerated_needs_no_level(office: Office) -> None:
    await partner(office, level=1, incoming_signed="refused", incoming_encrypted="refused", signer_certificate=True)
    stored = office.ledger.partners.by_code(THEIRS)
    assert stored is not None
    assert least_level(stored) == Level.REVISION_1_2


async def keys(office: Office) -> None:
    """A certificate of ours, and one of the partner."""
    ours, theirs = pki.make(station=OURS), pki.certificate("CA01")
    own = {"holder": "own", "pem": ours.pem.decode(), "private_key_pem": ours.key_pem.decode(), "station": OURS}
    await office.ask("post", "/v1/certificates", own)
    held = {"holder": "partner", "partner": THEIRS, "pem": theirs.pem.decode()}
    await office.ask("post", "/v1/certificates", held)


FIELDS = ("state", "security", "cipher", "compression", "envelope", "signed_response", "original_size")


@pytest.mark.rfc("5.3.3")
@pytest.mark.parametrize(
    ("agreed", "wished", "sfid"),
    [
        ({}, {}, ("queued", 0, 0, 0, 0, False, None)),
        ({"sign_files": True}, {}, ("securing", 2, 4, 0, 1, False, 3)),
        ({"encrypt_files": True, "cipher_suite": 8}, {}, ("securing", 1, 8, 0, 1, False, 3)),
        ({"compress_files": True}, {}, ("securing", 0, 0, 1, 1, False, 3)),
        ({"signed_receipts": True}, {}, ("securing", 0, 4, 0, 0, True, None)),
        ({"sign_files": True, "encrypt_files": True, "compress_files": True}, {}, ("securing", 3, 4, 1, 1, False, 3)),
        ({"cipher_suite": 1, "sign_files": True}, {}, ("securing", 2, 1, 0, 1, False, 3)),
        ({}, {"sign": "true", "suite": "10"}, ("securing", 2, 10, 0, 1, False, 3)),
        ({}, {"signed_receipt": "true", "compress": "true"}, ("securing", 0, 4, 1, 1, True, 3)),
        ({"cipher_suite": 2}, {"encrypt": "true", "suite": "2"}, ("securing", 1, 2, 0, 1, False, 3)),
        (
            {"sign_files": True, "encrypt_files": True, "compress_files": True, "signed_receipts": True},
            {"sign": "false", "encrypt": "false", "compress": "false", "signed_receipt": "false"},
            ("queued", 0, 0, 0, 0, False, None),
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_file_is_secured_as_agreed_unless_something_else_is_wished_for_it(
    office: Office, agreed: dict[str, Any], wished: dict[str, str], sfid: tuple[Any, ...]
) -> None:
    await partner(office, **agreed)
    await keys(office)
    sent = await office.send(bytes(2049), partner=THEIRS, file_name="f", **wished)
    assert tuple(sent[name] for name in FIELDS) == sfid
    assert len(office.ledger.transfers.to_secure()) == office.securing.nudges == (sfid[0] == "securing")


@pytest.mark.parametrize(
    ("agreed", "wished", "what", "way_out"),
    [
        ({}, {"sign": "true"}, f"no certificate of {OURS} to sign files", "oftp2d cert generate"),
        ({}, {"encrypt": "true"}, f"no certificate of {THEIRS} to encrypt files", f"exchange request {THEIRS}"),
        ({"sign_files": True}, {}, f"no certificate of {OURS} to sign files", "oftp2d cert import"),
        ({}, {"compress": "true", "suite": "1"}, "suite 01 is not agreed", "--cipher-suite 1"),
        ({"cipher_suite": 1}, {"suite": "2"}, "suite 02 is not agreed", "--cipher-suite 2"),
        ({}, {"suite": "5"}, "a cipher suite (05) is for files that are signed or encrypted", "or leave out --suite"),
        (
            {"sign_files": True},
            {"sign": "false", "compress": "true", "suite": "4"},
            "a cipher suite (04)",
            "add --sign",
        ),
        ({"level": 4}, {"compress": "true"}, "came with release level 5", f"partner change {THEIRS} --level 5"),
        ({"level": 2}, {"signed_receipt": "true"}, "came with release level 5", "--level 5"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_done_to_a_file_is_refused_at_once(
    office: Office, agreed: dict[str, Any], wished: dict[str, str], what: str, way_out: str
) -> None:
    await partner(office, **agreed)
    with pytest.raises(RefusedError) as caught:
        await office.send(b"content", partner=THEIRS, file_name="f", **wished)
    assert caught.value.status == 409
    assert what in caught.value.what
    assert way_out in caught.value.advice
    assert list((office.home / "spool" / "outgoing").iterdir()) == []
    assert office.ledger.transfers.list() == []


@pytest_twisted.ensureDeferred
async def test_nothing_is_encrypted_for_a_key_that_is_too_short(office: Office) -> None:
    await partner(office, encrypt_files=True, sign_files=True, least_rsa_bits=3072)
    await keys(office)
    with pytest.raises(RefusedError, match="its key has 2048 bits, fewer than 3072"):
        await office.send(b"content", partner=THEIRS, file_name="f")


@pytest.mark.parametrize("wished", [{"sign": "yes"}, {"suite": "0"}, {"suite": "11"}, {"suite": "x"}], ids=json.dumps)
@pytest_twisted.ensureDeferred
async def test_a_wish_nobody_understands_is_a_400(office: Office, wished: dict[str, str]) -> None:
    await partner(office)
    with pytest.raises(RefusedError) as caught:
        await office.send(b"content", partner=THEIRS, file_name="f", **wished)
    assert caught.value.status == 400


@pytest_twisted.ensureDeferred
async def test_what_is_being_secured_is_shown_listed_and_cancelled(office: Office) -> None:
    await partner(office, sign_files=True, compress_files=True)
    await keys(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    path = f"/v1/transfers/{sent['id']}"
    office.house.moved[sent["id"]] = 4
    shown = await office.ask("get", path)
    assert (shown["octets_moved"], shown["waits_for"], shown["services"]) == (4, None, ["signed", "compressed"])
    assert shown["summary"] == "It is being signed and compressed; it was not tried yet."
    assert not {"plain_name", "plain_octets", "raw_name"} & set(shown)
    assert [each["id"] for each in (await office.ask("get", "/v1/transfers", state="securing"))["transfers"]] == [
        sent["id"]
    ]
    assert (await office.ask("get", "/v1/status"))["transfers"] == {"securing": 1}
    assert (await office.ask("post", f"{path}/cancel"))["state"] == "cancelled"
    assert (await office.ask("post", f"{path}/retry"))["state"] == "securing"


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_secured_anew_leaves_nothing_of_what_it_was(office: Office) -> None:
    await partner(office, compress_files=True)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    path, now, transfers = f"/v1/transfers/{sent['id']}/", datetime.now(UTC), office.ledger.transfers
    staged = office.spool.stage(io.BytesIO(b"compressed"))
    secured = {"octets": staged.octets, "spool_name": staged.name, "virtual_hash": b""}
    transfers.secured(sent["id"], now, **secured)
    outgoing = office.home / "spool" / "outgoing"
    await office.ask("post", path + "cancel")
    assert (await office.ask("post", path + "retry"))["state"] == "queued"
    assert len(list(outgoing.iterdir())) == 2
    await office.ask("post", path + "cancel")
    assert (await office.ask("post", path + "retry", {"new_stamp": True}))["state"] == "securing"
    assert [each.read_bytes() for each in outgoing.iterdir()] == [b"content"]


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_only_hashed_says_so(office: Office) -> None:
    await partner(office, signed_receipts=True, unsigned_receipts=True)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    assert sent["summary"] == "It is being hashed, for a signed receipt; it was not tried yet."


@pytest_twisted.ensureDeferred
async def test_what_was_refused_for_its_security_goes_as_is_agreed_by_then(office: Office) -> None:
    added = await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    path, now, transfers = f"/v1/transfers/{sent['id']}", datetime.now(UTC), office.ledger.transfers
    transfers.claim_next(added["id"], "session", now, timedelta(minutes=1))
    transfers.failed(sent["id"], now, "SFNA 20", "signed ones only")
    told = await office.ask("get", path)
    assert all(f"'oftp2d transfer retry {sent['id']} --as-agreed'" in told[each] for each in ("summary", "waits_for"))
    await office.ask("patch", f"/v1/partners/{THEIRS}", {"sign_files": True, "compress_files": True})
    error = await refused(office, 409, "post", f"{path}/retry", {"as_agreed": True})
    assert "there is no certificate" in error.what
    await keys(office)
    again = await office.ask("post", f"{path}/retry", {"as_agreed": True})
    assert (again["state"], again["services"], again["cipher"]) == ("securing", ["signed", "compressed"], 4)
    assert (again["time"], again["octets_before"]) != (sent["time"], None)
    new = NewOutgoing(
        kind=Kind.EXCHANGE,
        partner_id=added["id"],
        dataset="ODETTE_CERTIFICATE_REQUEST",
        originator=OURS,
        destination=THEIRS,
        format="U",
        octets=1,
        spool_name="exchange1",
    )
    exchange = transfers.queue(new, now)
    await refused(office, 400, "post", f"/v1/transfers/{exchange.id}/retry", {"as_agreed": True})


@pytest_twisted.ensureDeferred
async def test_no_file_goes_whose_signed_receipt_nobody_could_verify(office: Office) -> None:
    await partner(office, signed_receipts=True)
    with pytest.raises(RefusedError, match=r"no certificate of .* to verify its signed receipts"):
        await office.send(b"content", partner=THEIRS, file_name="f")
    await keys(office)
    assert (await office.send(b"content", partner=THEIRS, file_name="f"))["state"] == "securing"


@pytest.mark.parametrize(
    ("reason", "security", "told"),
    [
        (31, 2, "; get the certificate with which"),
        (31, 2, f"'oftp2d exchange request {THEIRS}'"),
        (31, 3, "; where that is what it lacks, get the certificate with which"),
        (32, 0, "raise limits.max_expansion"),
        (33, 1, f"'oftp2d exchange deliver {THEIRS}'"),
        (34, 0, f"; ask {THEIRS} to send it again"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_to_do_about_a_file_that_cannot_be_opened_is_told(
    office: Office, reason: int, security: int, told: str
) -> None:
    added = await partner(office)
    kept = refuse(office, added["id"], b"no envelope", reason, security=security)
    shown = await office.ask("get", f"/v1/transfers/{kept.id}")
    assert told in shown["summary"]
    assert f"'oftp2d transfer raw {kept.id}'" in shown["summary"]
    error = await refused(office, 409, "post", f"/v1/transfers/{kept.id}/retry")
    assert "came in" in error.what


@pytest_twisted.ensureDeferred
async def test_a_receipt_that_does_not_count_is_told_while_none_that_counts_has_come(office: Office) -> None:
    added = await partner(office)
    sent = await office.send(b"content", partner=THEIRS, file_name="f")
    now, transfers = datetime.now(UTC), office.ledger.transfers
    transfers.claim_next(added["id"], "session", now, timedelta(minutes=1))
    transfers.sent(sent["id"], now)
    transfers.not_accepted(sent["id"], now, "its EERP is not signed")
    shown = await office.ask("get", f"/v1/transfers/{sent['id']}")
    assert shown["state"] == "sent"
    assert "no receipt (EERP) that counts has come: its EERP is not signed" in shown["summary"]


@pytest.mark.parametrize("octets", [0, 5_000_000])
@pytest_twisted.ensureDeferred
async def test_a_refused_file_is_streamed_as_it_came_while_it_is_kept(office: Office, octets: int) -> None:
    added = await partner(office)
    content = os.urandom(octets)
    kept = refuse(office, added["id"], content)
    path = f"/v1/transfers/{kept.id}"

    def fetch() -> bytes:
        with AdminClient(office.home / "admin.sock") as client:
            return b"".join(client.download(f"{path}/raw", lambda _moved: None))

    assert (await office.ask("get", path))["raw_kept"] is True
    assert await deferToThread(fetch) == content
    office.spool.remove_refused(kept.id)
    await refused(office, 409, "get", f"{path}/raw")
    office.ledger.transfers.forget_raw(kept.id)
    assert (await office.ask("get", path))["raw_kept"] is False
    assert "is not kept" in (await refused(office, 404, "get", f"{path}/raw")).what
    await refused(office, 404, "get", "/v1/transfers/NOSUCH/raw")


# --- inbox ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [0, 5, 5_000_000])
@pytest_twisted.ensureDeferred
async def test_a_file_of_the_inbox_is_streamed_as_it_arrived(office: Office, octets: int) -> None:
    added = await partner(office)
    content = os.urandom(octets)
    transfer = deliver(office, added["id"], content)
    (listed,) = (await office.ask("get", "/v1/inbox"))["files"]
    assert (listed["id"], listed["octets"], listed["state"]) == (transfer.id, octets, "delivered")

    def fetch() -> bytes:
        with AdminClient(office.home / "admin.sock") as client:
            return b"".join(client.download(f"/v1/inbox/{transfer.id}/content", lambda _moved: None))

    assert await deferToThread(fetch) == content


@pytest_twisted.ensureDeferred
async def test_a_client_that_stops_reading_content_half_way_harms_nobody(office: Office) -> None:
    added = await partner(office)
    transfer = deliver(office, added["id"], bytes(5_000_000))

    def leave() -> None:
        with socket.socket(socket.AF_UNIX) as plug:
            plug.connect(str(office.home / "admin.sock"))
            plug.sendall(f"GET /v1/inbox/{transfer.id}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            plug.recv(1000)

    await deferToThread(leave)
    assert await office.ask("get", "/v1/status")


@pytest_twisted.ensureDeferred
async def test_content_that_is_gone_is_an_error_for_people(office: Office) -> None:
    added = await partner(office)
    transfer = deliver(office, added["id"], b"x")
    office.spool.inbox_path(transfer.spool_name).unlink()
    await refused(office, 409, "get", f"/v1/inbox/{transfer.id}/content")
    await refused(office, 404, "get", "/v1/inbox/NOSUCH/content")
    sent = await office.send(b"1", partner=THEIRS, file_name="out")
    await refused(office, 404, "get", f"/v1/inbox/{sent['id']}")


# --- certificates and their exchange -------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_certificate_is_generated_listed_shown_and_confirmed(office: Office) -> None:
    await partner(office)
    wish = {"alias": "new", "hosts": ["oftp.test.example"], "key_bits": 2048, "country": "de"}
    made = await office.ask("post", "/v1/certificates/generate", wish)
    assert (made["alias"], made["holder"], made["station"], made["private_key"]) == ("new", "own", OURS, True)
    assert made["self_signed"] is True
    assert made["key"] == "RSA 2048"
    assert made["pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE KEY" not in json.dumps(made)
    assert office.house.changes == 1
    (listed,) = (await office.ask("get", "/v1/certificates", holder="own"))["certificates"]
    assert listed["fingerprint"] == made["fingerprint"]
    path = f"/v1/certificates/{made['fingerprint'][:12]}"
    await office.ask("post", f"{path}/confirm", {"partner": THEIRS})
    assert (await office.ask("get", path))["confirmed_by"] == [THEIRS]
    await refused(office, 409, "get", "/v1/certificates/nonsense")


@pytest_twisted.ensureDeferred
async def test_what_waited_for_a_certificate_of_a_partner_goes_on_once_it_is_imported(office: Office) -> None:
    await partner(office)
    await office.ask("post", "/v1/certificates", {"holder": "anchor", "pem": pki.issuing("B").pem.decode("ascii")})
    assert office.exchange.came == []
    await keys(office)
    assert office.exchange.came == [THEIRS]


@pytest_twisted.ensureDeferred
async def test_only_the_database_thread_asks_the_ledger_when_certificates_come_and_go(office: Office) -> None:
    await partner(office)
    threads: set[str] = set()
    engine = office.ledger._database._engine

    def note(*_: object) -> None:
        threads.add(threading.current_thread().name)

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        wish = {"alias": "made", "key_bits": 2048}
        await office.ask("post", "/v1/certificates/generate", wish)
        await office.ask("post", "/v1/certificates/generate", {**wish, "alias": "asked", "csr": True})
        pair = pki.certificate("CB01")
        own = {"holder": "own", "pem": pair.pem.decode(), "private_key_pem": pair.key_pem.decode()}
        theirs = {"holder": "partner", "partner": THEIRS, "pem": pki.pem("CA01").decode()}
        anchor = {"holder": "anchor", "pem": pki.issuing("A").pem.decode()}
        for each in (own, theirs, anchor):
            await office.ask("post", "/v1/certificates", each)
        await office.ask("delete", "/v1/certificates/made")
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    assert len(threads) == 1
    assert "oftp2d-database" in threads.pop()


@pytest_twisted.ensureDeferred
async def test_a_request_for_a_certificate_keeps_its_key_here(office: Office) -> None:
    answer = await office.ask("post", "/v1/certificates/generate", {"alias": "ca", "key_bits": 2048, "csr": True})
    assert set(answer) == {"csr_pem"}
    assert answer["csr_pem"].startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert [pending.alias for pending in office.ledger.certificates.pending()] == ["ca"]


@pytest_twisted.ensureDeferred
async def test_certificates_of_partners_anchors_and_our_own_are_imported(office: Office) -> None:
    await partner(office)
    leaf, anchor, own = pki.certificate("CA01"), pki.issuing("A"), pki.make(station=OURS)
    added = await office.ask(
        "post", "/v1/certificates", {"pem": leaf.pem.decode(), "holder": "partner", "partner": THEIRS, "alias": "p"}
    )
    assert (added["holder"], added["partner"], added["station"]) == ("partner", THEIRS, THEIRS)
    der = base64.b64encode(anchor.der).decode()
    added = await office.ask("post", "/v1/certificates", {"der_base64": der, "holder": "anchor", "alias": "root"})
    assert (added["holder"], added["alias"]) == ("anchor", "root")
    with_key = {"pem": own.pem.decode(), "private_key_pem": own.key_pem.decode(), "holder": "own", "alias": "o"}
    added = await office.ask("post", "/v1/certificates", with_key)
    assert (added["holder"], added["private_key"]) == ("own", True)
    assert office.house.changes == 3


@pytest.mark.parametrize(
    "body",
    [{}, {"holder": "own"}, {"holder": "partner", "pem": "x"}, {"holder": "intermediate", "partner": THEIRS, "pem": "x"},
     {"holder": "own", "pem": "x", "der_base64": "eA=="}, {"holder": "own", "der_base64": "***"},
     {"holder": "own", "pem": "x", "usages": ["odd"]}],
    ids=json.dumps,
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_an_import_that_is_not_clear_is_a_400(office: Office, body: dict[str, Any]) -> None:
    await partner(office)
    await refused(office, 400, "post", "/v1/certificates", body)


@pytest_twisted.ensureDeferred
async def test_what_is_no_certificate_is_an_error_for_people(office: Office) -> None:
    await refused(office, 409, "post", "/v1/certificates", {"holder": "own", "pem": "nonsense"})
    own = pki.make(station=OURS)
    await refused(office, 409, "post", "/v1/certificates", {"holder": "own", "pem": own.pem.decode()})
    locked = own.encrypted_key_pem(b"hushhush").decode()
    body = {"holder": "own", "pem": own.pem.decode(), "private_key_pem": locked, "passphrase": "hushwrong"}
    assert "hush" not in str(await refused(office, 409, "post", "/v1/certificates", body))
    assert await office.ask("post", "/v1/certificates", body | {"passphrase": "hushhush"})


@pytest_twisted.ensureDeferred
async def test_a_private_key_is_no_authority_and_no_reason_tells_of_a_parser(office: Office) -> None:
    key = pki.make(station=OURS).key_pem.decode()
    error = await refused(office, 409, "post", "/v1/certificates", {"holder": "anchor", "pem": key})
    assert str(error).startswith("there is no certificate in the file, only a key")
    nonsense = {"holder": "anchor", "der_base64": base64.b64encode(b"UNA:+.? '").decode()}
    error = await refused(office, 409, "post", "/v1/certificates", nonsense)
    assert "ParseError" not in str(error)


@pytest_twisted.ensureDeferred
async def test_an_announcement_is_made_listed_and_withdrawn(office: Office) -> None:
    await partner(office, sub_stations=["O0013000002SUB"])
    anchor = {"pem": pki.issuing("A").pem.decode(), "holder": "anchor", "alias": "odette"}
    issuer = await office.ask("post", "/v1/certificates", anchor)
    wish = {
        "partner": THEIRS,
        "common_name": "a0.test",
        "issuer": "odette",
        "key_usages": ["digitalSignature"],
        "station": "O0013000002SUB",
    }
    made = await office.ask("post", "/v1/announcements", wish)
    assert made.pop("acx") == "off"
    assert (made["partner"], made["common_name"], made["fulfilled_by"]) == (THEIRS, "a0.test", None)
    assert made["issuer"] == issuer["fingerprint"]
    (listed,) = (await office.ask("get", "/v1/announcements", partner=THEIRS))["announcements"]
    assert listed == made | {"issuer_alias": "odette", "fulfilled_by_alias": None}
    await office.ask("delete", f"/v1/announcements/{made['id']}")
    assert (await office.ask("get", "/v1/announcements"))["announcements"] == []
    await refused(office, 404, "delete", f"/v1/announcements/{made['id']}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"partner": THEIRS}, 400),
        ({"common_name": "x"}, 400),
        ({"partner": THEIRS, "common_name": "x", "key_usages": ["odd"]}, 400),
        ({"partner": THEIRS, "subject": "this is no name"}, 409),
        ({"partner": THEIRS, "common_name": "x", "issuer": "nobody"}, 409),
        ({"partner": THEIRS, "common_name": "x", "station": "O0013STRANGER"}, 409),
        ({"partner": "O0013NOBODY", "common_name": "x"}, 404),
    ],
    ids=str,
)
@pytest_twisted.ensureDeferred
async def test_an_announcement_that_can_not_be_is_refused(office: Office, body: dict[str, Any], status: int) -> None:
    await partner(office)
    await refused(office, status, "post", "/v1/announcements", body)


@pytest_twisted.ensureDeferred
async def test_where_the_exchange_stands_is_told_of_every_partner(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oftp2d.admin.exchanges.TOGETHER", 2)
    for number in range(5):
        await partner(office, code=f"O001300000{number}", name=f"P{number}")
    told = (await office.ask("get", "/v1/exchange/standing"))["partners"]
    assert [each["partner"] for each in told] == [f"O001300000{number}" for number in range(5)]
    (one,) = (await office.ask("get", "/v1/exchange/standing", partner="O0013000003"))["partners"]
    assert one == told[3]


@pytest_twisted.ensureDeferred
async def test_exchanges_are_queued_with_the_certificates_named(office: Office) -> None:
    await partner(office)
    own = pki.make(station=OURS)
    with_key = {"pem": own.pem.decode(), "private_key_pem": own.key_pem.decode(), "holder": "own", "alias": "new"}
    await office.ask("post", "/v1/certificates", with_key)
    answer = await office.ask("post", "/v1/exchange/deliver", {"partner": THEIRS, "certificate": "new"})
    (queued,) = answer["exchanges"]
    assert (queued["partner"], queued["message"], queued["state"]) == (THEIRS, "DELIVER", "queued")
    await office.ask("post", "/v1/exchange/request", {"partner": THEIRS, "station": OURS, "to": THEIRS})
    assert office.exchange.routes == [Route(), Route(station=OURS, to=THEIRS)]
    await office.ask("post", "/v1/exchange/recall", {"partner": THEIRS, "certificate": "new", "previous": "new"})
    assert office.exchange.asked == [
        ("DELIVER", THEIRS, "new", None),
        ("REQUEST", THEIRS, None, None),
        ("REPLACE", THEIRS, "new", "new"),
    ]
    assert (await office.ask("get", "/v1/exchange", partner=THEIRS)) == {"exchanges": []}
    await refused(office, 400, "post", "/v1/exchange/deliver", {})
    await refused(office, 404, "post", "/v1/exchange/deliver", {"partner": "O0013NOBODY"})
    await refused(office, 409, "post", "/v1/exchange/deliver", {"partner": THEIRS, "certificate": "odd"})


@pytest_twisted.ensureDeferred
async def test_numbers_for_monitoring_are_told_in_the_text_format_of_prometheus(office: Office) -> None:
    office.metrics.add(lambda _now: [Gauge(name="oftp2d_warnings", help="To look after", values={(): 2})])
    expected = "# HELP oftp2d_warnings To look after\n# TYPE oftp2d_warnings gauge\noftp2d_warnings 2.0\n"
    assert await office.ask("text", "/metrics") == expected
    await refused(office, 400, "text", "/metrics?odd=1")
