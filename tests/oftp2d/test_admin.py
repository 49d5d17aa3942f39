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
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from oftp2d import config
from oftp2d.admin.fields import dataset_name
from oftp2d.admin.server import AdminServer
from oftp2d.client import AdminClient, RefusedError
from oftp2d.errors import OperatorError
from oftp2d.logs import LineObserver
from tests import pki
from tests.oftp2d.desk import OURS, STARTED, THEIRS, Office, begin, deliver, open_office


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
        "partners": 0,
        "unreachable": [],
        "warnings": ["certificate station ends on 2026-02-01"],
    }
    assert STARTED.year == 2026


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
     {"call_every": 59}, {"text_charset": "klingon"}, {"text_line_ends": "cr"}, {"name": 5}, {"odd": 1}, {}],
    ids=json.dumps,
)  # fmt: skip
@pytest_twisted.ensureDeferred
async def test_a_setting_out_of_bounds_is_a_400_and_changes_nothing(office: Office, settings: dict[str, Any]) -> None:
    before = await partner(office)
    await refused(office, 400, "patch", f"/v1/partners/{THEIRS}", settings)
    assert await office.ask("get", f"/v1/partners/{THEIRS}") == before


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
    [{}, {"holder": "own"}, {"holder": "partner", "pem": "x"}, {"holder": "anchor", "partner": THEIRS, "pem": "x"},
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
    assert (made["partner"], made["common_name"], made["fulfilled_by"]) == (THEIRS, "a0.test", None)
    assert made["issuer"] == issuer["fingerprint"]
    (listed,) = (await office.ask("get", "/v1/announcements", partner=THEIRS))["announcements"]
    assert listed == made
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
async def test_exchanges_are_queued_with_the_certificates_named(office: Office) -> None:
    await partner(office)
    own = pki.make(station=OURS)
    with_key = {"pem": own.pem.decode(), "private_key_pem": own.key_pem.decode(), "holder": "own", "alias": "new"}
    await office.ask("post", "/v1/certificates", with_key)
    answer = await office.ask("post", "/v1/exchange/deliver", {"partner": THEIRS, "certificate": "new"})
    (queued,) = answer["exchanges"]
    assert (queued["partner"], queued["message"], queued["state"]) == (THEIRS, "DELIVER", "queued")
    await office.ask("post", "/v1/exchange/request", {"partner": THEIRS})
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
