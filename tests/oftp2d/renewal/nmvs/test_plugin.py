"""The plugin against small TLS servers on loopback: what it asks, what it makes of answers, and what it does about passwords."""

from __future__ import annotations

import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from html import escape
from typing import Any

import attrs
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import Answer, Fetched, Notification, Refusal, SourceRefusedError, Verdict
from oftp2d.renewal.material import opened
from oftp2d.renewal.nmvs import passwords
from oftp2d.renewal.nmvs.account import Account, new_transaction
from oftp2d.renewal.nmvs.contract import FOLDER, shipped
from oftp2d.renewal.nmvs.markup import parsed
from oftp2d.renewal.nmvs.profile import PasswordChange
from oftp2d.renewal.timetable import Blocked, Due, NotDue, Phase
from oftp2d.settings import UnfitError
from oftp2d.vault import Secret
from tests.oftp2d.renewal.nmvs.service import (
    NOW,
    PASSWORD,
    Served,
    Service,
    Site,
    cert,
    client_identity,
    envelope,
    http,
    material,
    trusting,
)

P12 = b"a container"
TAN = "TAN<12345>"


@pytest.fixture
def open_service() -> Iterator[Service]:
    """One that demands no certificate, as that for TANs."""
    service = Service()
    yield service
    pytest_twisted.blockon(Deferred.fromCoroutine(service.stop()))


async def asked(site: Site, tan: str | None = None) -> Fetched | Refusal:
    answer = await site.plugin.fetch(site.case, NOW, Secret(tan) if tan else None)
    return await site.plugin.read(site.case, answer, NOW) if isinstance(answer, Answer) else answer


def sent(service: Service) -> Any:
    """The element in the body of the last request."""
    return parsed(service.requests[-1].partition(b"\r\n\r\n")[2])[0][0]


def text(element: Any, name: str) -> str | None:
    found: str | None = element.findtext(f".//{{urn:types.nmvs.eu:v5.0}}{name}")
    return found


# --- fetching ---------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_new_certificate_comes_with_the_current_one(site: Site, service: Service) -> None:
    new = client_identity()
    note = '<a:Notification a:notificationCode="NMVS_NOTIFY_AU_02" a:notificationDesc="5 days"/>'
    service.answers(http(envelope("NMVS_SUCCESS", cert=cert(new.pkcs12(b"geheim&1")), header=note)))
    site.account = {"sub_user_id": "till 7"}
    site.profile(trusting(service.url))
    fetched = await asked(site)
    assert isinstance(fetched, Fetched), fetched
    assert opened(fetched.container).certificate == new.certificate
    assert (fetched.code, fetched.transaction) == ("NMVS_SUCCESS", "0123456789ABCDEF0123456789ABCDEF")
    assert fetched.notifications == (Notification(code="NMVS_NOTIFY_AU_02", text="5 days", days=5),)
    request = sent(service)
    assert request.tag == "{urn:wsdltypes.nmvs.eu:v5.0}G615Request"
    names = ["ClientLoginId", "UserId", "Password", "SubUserId", "Language", "Tan"]
    assert [text(request, name) for name in names] == ["PHARMACY-1", "USER0001", PASSWORD, "till 7", "eng", None]
    assert set(text(request, "ClientTrxId") or "") <= set(string.ascii_letters + string.digits + "-")
    assert len(text(request, "ClientTrxId") or "") == 32


@pytest_twisted.ensureDeferred
async def test_a_tan_goes_to_its_own_address_and_no_certificate_with_it(
    site: Site, service: Service, open_service: Service
) -> None:
    site.current = None
    site.profile(trusting(service.url, tan=open_service.url))
    open_service.answers(http(envelope("NMVS_SUCCESS", cert=cert(P12))))
    fetched = await asked(site, TAN)
    assert isinstance(fetched, Fetched)
    assert fetched.container.content.reveal() == P12
    assert fetched.container.passphrase == Secret(b"geheim&1")
    assert text(sent(open_service), "Tan") == TAN
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_tan_may_be_the_passphrase_of_what_came_also_when_it_is_read_much_later(
    site: Site, service: Service, open_service: Service
) -> None:
    site.profile(trusting(service.url, '[response]\npassphrase_from = "tan"\n', tan=open_service.url))
    open_service.answers(http(envelope("NMVS_SUCCESS", cert=cert(P12, None))))
    answer = await site.plugin.fetch(site.case, NOW, Secret(TAN))
    assert isinstance(answer, Answer)
    assert TAN not in repr(answer)
    kept = Answer(content=answer.content, passphrase=answer.passphrase, transaction=answer.transaction)
    fetched = await site.plugin.read(site.case, kept, NOW)
    assert isinstance(fetched, Fetched)
    assert fetched.container.passphrase == Secret(TAN.encode())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("omit", None), ("empty", ""), ("fixed", "00000000")],
)
@pytest_twisted.ensureDeferred
async def test_what_stands_for_the_tan_is_a_matter_of_the_profile(
    site: Site, service: Service, mode: str, expected: str | None
) -> None:
    site.profile(trusting(service.url, f'[request]\ntan_mode = "{mode}"\ntan = "00000000"\n'))
    assert isinstance(await asked(site), Refusal)
    assert text(sent(service), "Tan") == expected


@pytest_twisted.ensureDeferred
async def test_a_template_says_the_whole_request(site: Site, service: Service) -> None:
    site.profile(trusting(service.url, '[request]\ntemplate = "whole.xml"\n'))
    template = '<e:E xmlns:e="urn:e"><e:B><e:Get who="{user_id}">{password}</e:Get></e:B></e:E>'
    (site.home / FOLDER / "whole.xml").write_text(template)
    await asked(site)
    assert (sent(service).tag, sent(service).get("who"), sent(service).text) == ("{urn:e}Get", "USER0001", PASSWORD)


@pytest_twisted.ensureDeferred
async def test_a_passphrase_that_was_agreed_on_comes_from_its_reference(site: Site, service: Service) -> None:
    site.profile(trusting(service.url, '[response]\npassphrase_from = "secret"\n'))
    service.answers(http(envelope("NMVS_SUCCESS", cert=cert(P12, None))))
    site.account, site.secrets.values["passphrase"] = {"passphrase": "store"}, "agr33d"
    fetched = await asked(site)
    assert isinstance(fetched, Fetched)
    assert fetched.container.passphrase == Secret(b"agr33d")


@pytest_twisted.ensureDeferred
async def test_a_refusal_names_the_set_in_its_advice_and_repeats_no_secret(site: Site, service: Service) -> None:
    service.answers(http(envelope("NMVS_FE_AU_06", desc=f"wrong: {escape(PASSWORD, quote=True)}")))
    site.profile(trusting(service.url))
    found = await asked(site)
    assert isinstance(found, Refusal)
    assert (found.verdict, found.text) == (Verdict.AUTH_FAILED, "the password is wrong (wrong: ***)")
    assert "oftp2d renew secret pharmacy-1 password" in found.advice
    assert PASSWORD not in repr(found)


@pytest_twisted.ensureDeferred
async def test_what_is_kept_and_is_no_answer_is_said(site: Site, service: Service) -> None:
    site.profile(trusting(service.url))
    found = await site.plugin.read(site.case, Answer(content=Secret(b"junk"), transaction="T1"), NOW)
    assert found == Refusal(verdict=Verdict.FATAL, text="what is kept is no answer", transaction="T1")


@pytest_twisted.ensureDeferred
async def test_nothing_is_asked_with_a_certificate_that_has_ended_or_is_about_to(site: Site, service: Service) -> None:
    site.profile(trusting(service.url))
    ends = site.current.valid_until if site.current else NOW
    for now in (ends + timedelta(days=1), ends - timedelta(minutes=1)):
        found = await site.plugin.fetch(site.case, now)
        assert isinstance(found, Refusal)
        assert "renew run pharmacy-1 --tan" in found.advice
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_a_value_that_is_longer_than_the_contract_allows_is_not_sent(site: Site, service: Service) -> None:
    site.profile(trusting(service.url))
    site.secrets.values["password"] = "s3cret" * 20
    with pytest.raises(OperatorError, match="password has 120 characters, and the profile allows 60") as error:
        await asked(site)
    assert "s3cret" not in str(error.value)
    site.secrets.values["password"] = "s3cret\x00"
    with pytest.raises(OperatorError, match="control character") as error:
        await asked(site)
    assert "s3cret" not in str(error.value)
    assert not service.requests


@pytest_twisted.ensureDeferred
async def test_without_an_address_for_tans_none_is_sent(site: Site, service: Service) -> None:
    site.profile(trusting(service.url))
    with pytest.raises(OperatorError, match="no address for a TAN"):
        await asked(site, TAN)


@pytest_twisted.ensureDeferred
async def test_a_profile_that_is_not_verified_calls_nobody_elsewhere(site: Site) -> None:
    site.profile(trusting("https://nmvs.example:8458/"))
    with pytest.raises(OperatorError, match="nobody has verified it"):
        await asked(site)
    assert any("nobody has verified it" in fault for fault in site.plugin.check(site.case.options))


# --- planning ---------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_it_is_due_within_the_days_of_the_profile(site: Site) -> None:
    site.profile(trusting("https://localhost/"))
    assert site.current is not None
    ends = site.current.valid_until
    assert isinstance(await site.plugin.plan(site.case, ends - timedelta(days=90)), NotDue)
    assert await site.plugin.plan(site.case, ends - timedelta(days=50)) == Due(Phase.DUE)


@pytest_twisted.ensureDeferred
async def test_without_a_certificate_only_a_tan_helps(site: Site) -> None:
    site.profile(trusting("https://localhost/"))
    assert site.current is not None
    ended = await site.plugin.plan(site.case, site.current.valid_until + timedelta(days=1))
    site.current = None
    missing = await site.plugin.plan(site.case, NOW)
    for plan in (ended, missing):
        assert isinstance(plan, Blocked)
        assert "TAN" in plan.advice
        assert "renew import pharmacy-1" in plan.advice


@pytest_twisted.ensureDeferred
async def test_where_each_fetch_wants_a_tan_a_person_is_asked_when_it_is_due(site: Site) -> None:
    site.profile(trusting("https://localhost/", '[request]\ntan_mode = "tan"\n'))
    assert site.current is not None
    ends = site.current.valid_until
    assert isinstance(await site.plugin.plan(site.case, ends - timedelta(days=90)), NotDue)
    assert isinstance(await site.plugin.plan(site.case, ends - timedelta(days=50)), Blocked)


# --- trying and confirming --------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_new_certificate_is_tried_with_a_ping_that_has_no_login(site: Site, service: Service) -> None:
    site.profile(trusting("https://localhost/", probe=service.url))
    service.answers(http(envelope(None, response="SupportPingResponse")))
    new = client_identity()
    trial = await site.plugin.probe(site.case, material(new), NOW)
    assert trial.ok is True
    assert service.shown == [new.certificate]
    assert b"Password" not in service.requests[0]
    assert b"USER0001" not in service.requests[0]


@pytest.mark.parametrize(
    "answer", [http(b"", "403 Forbidden"), http(b"<html/>", kind="text/html"), b"", http(envelope("NMVS_SUCCESS"))]
)
@pytest_twisted.ensureDeferred
async def test_a_ping_that_is_not_answered_is_a_failed_trial(site: Site, service: Service, answer: bytes) -> None:
    site.profile(trusting("https://localhost/", probe=service.url))
    service.answers(answer)
    trial = await site.plugin.probe(site.case, material(client_identity()), NOW)
    assert (trial.ok, bool(trial.text), bool(trial.advice)) == (False, True, True)


@pytest_twisted.ensureDeferred
async def test_without_an_address_nothing_is_tried(site: Site) -> None:
    site.profile(trusting("https://localhost/"))
    assert (await site.plugin.probe(site.case, material(client_identity()), NOW)).ok is None


CONFIRM = """[confirm]
enabled = true
url = "{url}"
element = "wsdltypes:ConfirmRequest"
operation = "Confirm"
response = "wsdltypes:ConfirmResponse"
"""


@pytest_twisted.ensureDeferred
async def test_an_installation_is_confirmed_where_the_profile_says_so(site: Site, service: Service) -> None:
    site.profile(trusting("https://localhost/"))
    assert await site.plugin.activate(site.case, material(client_identity()), NOW) == ""
    site.profile(trusting("https://localhost/", CONFIRM.format(url=service.url)))
    new = client_identity()
    for code in ("NMVS_SUCCESS", "NMVS_FE_PKI_09"):
        service.answers(http(envelope(code, response="ConfirmResponse")))
        assert "was confirmed" in await site.plugin.activate(site.case, material(new), NOW)
    assert service.shown == [new.certificate] * 2
    assert text(sent(service), "Password") == PASSWORD
    service.answers(http(envelope("NMVS_FE_PKI_06", response="ConfirmResponse")))
    with pytest.raises(OperatorError, match=r"not confirmed \(NMVS_FE_PKI_06\)"):
        await site.plugin.activate(site.case, material(new), NOW)
    service.answers(b"")
    with pytest.raises(OperatorError, match="could not be confirmed"):
        await site.plugin.activate(site.case, material(new), NOW)
    service.answers(http(envelope("NMVS_FE_AU_06", response="ConfirmResponse")))
    with pytest.raises(SourceRefusedError) as caught:
        await site.plugin.activate(site.case, material(new), NOW)
    assert caught.value.refusal.verdict is Verdict.AUTH_FAILED
    # While nobody knows which password counts, neither is sent.
    calls = len(service.requests)
    site.secrets.proposed = "another"
    with pytest.raises(SourceRefusedError) as caught:
        await site.plugin.activate(site.case, material(new), NOW)
    assert caught.value.refusal.verdict is Verdict.LOCKED
    assert len(service.requests) == calls


# --- the password -----------------------------------------------------------------------------------------------------

OLD = timedelta(days=80)
POLICY = PasswordChange(**tomllib.loads(shipped())["password"])


def rotating(site: Site, service: Service, age: timedelta = OLD) -> None:
    site.account = {"password_rotation": True}
    site.secrets.changed_at = NOW - age
    site.profile(trusting(service.url, password=service.url))


@pytest_twisted.ensureDeferred
async def test_a_password_is_never_changed_unless_that_is_wanted_and_due(site: Site, service: Service) -> None:
    rotating(site, service)
    site.account = {}
    assert await site.plugin.tend(site.case, NOW) is None
    rotating(site, service, age=timedelta(days=75))
    assert await site.plugin.tend(site.case, NOW) is None
    rotating(site, service)
    site.secrets.changed_at = None
    assert await site.plugin.tend(site.case, NOW) is None
    assert not service.requests
    assert not site.secrets.done


@pytest_twisted.ensureDeferred
async def test_a_new_password_is_kept_before_the_server_hears_of_it_and_counts_when_it_agrees(
    site: Site, service: Service
) -> None:
    rotating(site, service)
    before: list[str | None] = []

    def agree(served: Served) -> None:
        before.append(site.secrets.proposed)
        served.say(http(envelope("NMVS_SUCCESS", response="G445Response")))

    service.answer = agree
    assert await site.plugin.tend(site.case, NOW) is None
    assert site.secrets.done == ["proposed", "accepted"]
    assert (text(sent(service), "Password"), text(sent(service), "NewPassword")) == (PASSWORD, before[0])
    # In the header is the password that counts, as in the body.
    assert service.requests[0].count(b"Pa55&amp;&lt;word") == 2
    assert site.secrets.values["password"] == before[0]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("NMVS_FE_PMS_04", Verdict.FATAL),
        ("NMVS_FE_AU_06", Verdict.AUTH_FAILED),
        ("NMVS_FE_AU_24", Verdict.LOCKED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_new_password_that_the_server_refuses_is_forgotten(
    site: Site, service: Service, code: str, verdict: Verdict
) -> None:
    rotating(site, service)
    service.answers(http(envelope(code, response="G445Response")))
    found = await site.plugin.tend(site.case, NOW)
    assert found is not None
    assert (found.verdict, found.code) == (verdict, code)
    assert site.secrets.done == ["proposed", "forgotten"]
    assert site.secrets.values["password"] == PASSWORD


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        http(b"<html/>"),
        http(b"", "503 Service Unavailable"),
        http(envelope("NMVS_TI_TO_01", response="G445Response")),
        http(envelope("NEW", response="G445Response")),
        http(envelope("NMVS_FE_PKI_07", response="G445Response")),
    ],
    ids=["lost", "html", "503", "time-out", "unknown", "odd"],
)
@pytest_twisted.ensureDeferred
async def test_while_nobody_knows_which_password_counts_neither_is_tried(
    site: Site, service: Service, answer: bytes
) -> None:
    rotating(site, service)
    service.answers(answer)
    found = await site.plugin.tend(site.case, NOW)
    assert found is not None
    assert found.verdict is Verdict.LOCKED
    assert "renew secret pharmacy-1 password" in found.advice
    assert site.secrets.done == ["proposed"]
    for again in (await site.plugin.tend(site.case, NOW), await asked(site)):
        assert isinstance(again, Refusal)
        assert again.verdict is Verdict.LOCKED
    assert len(service.requests) == 1
    # A person has found out, and given the one that counts.
    site.secrets.proposed = None
    service.answers(http(envelope("NMVS_FE_PKI_07")))
    answered = await asked(site)
    assert isinstance(answered, Refusal)
    assert answered.verdict is Verdict.NOT_YET


@pytest_twisted.ensureDeferred
async def test_a_change_that_never_reached_the_server_changes_nothing(site: Site, service: Service) -> None:
    rotating(site, service)
    await service.stop()
    found = await site.plugin.tend(site.case, NOW)
    assert found is not None
    assert found.verdict is Verdict.RETRY
    assert site.secrets.done == ["proposed", "forgotten"]


@given(length=st.integers(8, 60), signs=st.text(st.sampled_from("!#$%*+-.=?@_&<>'\""), min_size=1, max_size=16))
def test_a_new_password_is_as_the_policy_demands(length: int, signs: str) -> None:
    policy = attrs.evolve(POLICY, length=length, signs=signs)
    made = passwords.made(policy)
    assert len(made.reveal()) == length
    for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits, signs):
        assert set(kind) & set(made.reveal())
    assert set(made.reveal()) <= set(string.ascii_letters + string.digits + signs)
    assert made != passwords.made(policy)


# --- what people see --------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_people_see_where_it_leads_and_whether_anybody_has_verified_it(site: Site) -> None:
    site.profile(trusting("https://localhost/", tan="https://127.0.0.1/"))
    found = await site.plugin.status(site.case, NOW)
    assert found["profile"] == "here (of a test)"
    assert found["verified"].startswith("no")
    assert found["hosts"] == "localhost, 127.0.0.1"
    assert site.plugin.profile() == shipped()


def test_an_account_that_does_not_fit_its_profile_is_told_before_it_is_used(site: Site) -> None:
    site.profile(trusting("https://localhost/", '[response]\npassphrase_from = "secret"\n'))
    site.account = {"client_login_id": "x" * 21, "software_version": "1" * 11, "password_rotation": True}
    found = "\n".join(site.plugin.check(site.case.options))
    for what in (
        "client_login_id has 21",
        "software_version has 11",
        "passphrase",
        "password_rotation needs the address",
    ):
        assert what in found
    site.account = {"profile": "gone"}
    assert "there is no file" in "\n".join(site.plugin.check(site.case.options))
    assert site.plugin.usual(site.case.options) == site.plugin.terms


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"password": "env:P", "password_rotation": True}, "only one in the store can be changed"),
        ({"password": "store", "proxy_user": "me"}, "go together"),
        ({"password": "store", "proxy_user": "me:you", "proxy_password": "store"}, "colon"),
    ],
)
def test_an_account_that_contradicts_itself_is_refused(given: dict[str, Any], what: str) -> None:
    with pytest.raises(UnfitError, match=what):
        Account(profile="here", client_login_id="A", user_id="B", **given)


def test_numbers_of_transactions_are_never_the_same() -> None:
    assert len({new_transaction(32) for _ in range(1000)}) == 1000


def test_what_calls_web_servers_is_loaded_with_the_first_call_only() -> None:
    look = "import sys, oftp2d.renewal.nmvs.plugin; sys.exit('treq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
