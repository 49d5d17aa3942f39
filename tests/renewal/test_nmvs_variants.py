"""The plugin for NMVS at the stand-in: notifications, ping, passwords, choices of a profile (nmvs.md 8.3, points 9 to 11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pytest_twisted

from oftp2d.ledger import CandidateState
from oftp2d.renewal.interface import Verdict
from oftp2d.vault import Secret
from tests.renewal.site import DAY, DUE, PASSWORD, Site
from tools.nmvs.faults import Fault
from tools.nmvs.standin import StandIn

ACTIVE, FORMER, EMPTY = CandidateState.ACTIVE, CandidateState.FORMER, CandidateState.EMPTY
SET = "pharmacy-1"
ROOT = Path(__file__).parents[2]
NINETY_DAYS = [("[password]\n", "[password]\nvalid_days = 90\nlead_days = 14\n")]
ROTATION = "password_rotation = true"


# --- 9: notifications, ping, a new password -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_9_notifications_reach_the_administrator(standin: StandIn, site: Site) -> None:
    user = (await site.holds(SET, aged=DUE)).user
    user.terms_until = standin.clock.now() + 9 * DAY
    standin.change(password_days=676)
    await site.attend()
    record = await site.record(SET)
    warned = " ".join(each.text for each in site.renewer.concerns(site.context.now()))

    assert {each.code for each in record.notifications} == {"NMVS_NOTIFY_AU_02", "NMVS_NOTIFY_PMS_01"}
    assert "Password expires in 6 days." in warned
    assert "9 days left to confirm" in warned
    now = standin.clock.now()
    assert f"source said on {now:%Y-%m-%d}" in warned
    assert f"days left to confirm. (that is on {now + 9 * DAY:%Y-%m-%d})" in warned


@pytest_twisted.ensureDeferred
async def test_9_a_ping_tries_the_new_certificate_and_a_failed_one_leaves_the_old_in_use(
    standin: StandIn, site: Site
) -> None:
    user = (await site.holds(SET, aged=DUE)).user
    standin.faults.on(Fault.HTTP_503, calls=1, process="ping")
    await site.attend()
    found = await site.standing(SET)
    assert await site.states(SET) == [ACTIVE, CandidateState.VALIDATED]
    assert found.candidate
    assert found.candidate.trial_ok is False
    await site.attend(DAY)

    assert await site.states(SET) == [FORMER, ACTIVE]
    pings = [each for each in standin.seen if each.process == "ping"]
    assert [each.certificate for each in pings[-2:]] == [f"{user.issues[1].serial:x}"] * 2
    assert {each.login for each in pings} == {""}
    assert standin.counters()["requests: G615"] == 1


@pytest_twisted.ensureDeferred
async def test_9_the_password_is_changed_before_it_ends_and_the_new_one_counts(standin: StandIn, site: Site) -> None:
    standin.change(password_days=90)
    site.profile(edits=NINETY_DAYS)
    user = (await site.holds(SET, nmvs=ROTATION)).user
    await site.attend(75 * DAY)
    assert "requests: G445" not in standin.counters()
    await site.attend(DAY)
    assert standin.counters()["requests: G445"] == 1
    assert user.password != PASSWORD
    assert len(user.password) == 20
    for _ in range(40):
        await site.attend(15 * DAY)
    assert (await site.states(SET)) == [FORMER, ACTIVE]

    assert standin.counters()["authentication failures"] == 0
    assert standin.counters()["requests: G445"] == 7
    assert (await site.record(SET)).blocked == ""


@pytest_twisted.ensureDeferred
async def test_9_without_rotation_the_password_is_left_alone(standin: StandIn, site: Site) -> None:
    site.profile(edits=NINETY_DAYS)
    await site.holds(SET)
    await site.attend(200 * DAY)

    assert "requests: G445" not in standin.counters()


@pytest.mark.parametrize("fault", [Fault.CLOSE, Fault.CUT_OFF, Fault.HTML])
@pytest_twisted.ensureDeferred
async def test_9_a_change_of_which_nobody_knows_the_outcome_stops_all_logins(
    standin: StandIn, site: Site, fault: Fault
) -> None:
    site.profile(edits=NINETY_DAYS)
    user = (await site.holds(SET, aged=DUE - 80 * DAY, nmvs=ROTATION)).user
    standin.faults.on(fault, calls=1, process="G445")
    await site.attend(76 * DAY)
    record = await site.record(SET)
    assert (record.verdict, record.blocked) == (Verdict.LOCKED, Verdict.LOCKED)
    assert "portal" in record.blocked_advice
    await site.live(6)
    assert standin.counters()["authentications"] == 1

    # A person has logged in to the portal, and says which one counts.
    await site.renewer.keep_secret(SET, "password", Secret(user.password))
    await site.renewer.unblock(SET)
    await site.attend(DAY)
    assert (await site.states(SET))[-1] is ACTIVE
    assert standin.counters()["authentication failures"] == 0


@pytest_twisted.ensureDeferred
async def test_9_a_change_that_is_refused_keeps_the_old_password(standin: StandIn, site: Site) -> None:
    site.profile(edits=NINETY_DAYS)
    user = (await site.holds(SET, aged=DUE - 77 * DAY, nmvs=ROTATION)).user
    standin.faults.on(Fault.CODE, calls=1, process="G445", code="NMVS_FE_PMS_04")
    await site.attend(76 * DAY)
    assert (await site.record(SET)).code == "NMVS_FE_PMS_04"
    assert user.password == PASSWORD
    await site.live(2)

    assert (await site.states(SET))[-1] is ACTIVE
    assert user.password != PASSWORD
    assert standin.counters()["authentication failures"] == 0


# --- 10: the choices of a profile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["omit", "empty", "fixed"])
@pytest_twisted.ensureDeferred
async def test_10_each_mode_of_the_tan_fits_the_server_of_its_kind(standin: StandIn, site: Site, mode: str) -> None:
    standin.change(tan_mode=mode, fixed_tan="CERTIFICATE")
    await site.holds(SET, aged=DUE)
    await site.attend()

    assert await site.states(SET) == [FORMER, ACTIVE]
    (asked,) = [each for each in standin.seen if each.process == "G615"]
    assert asked.tan == {"omit": "absent", "empty": "empty", "fixed": "there"}[mode]


@pytest_twisted.ensureDeferred
async def test_10_where_every_renewal_wants_a_tan_nothing_is_asked_without_one(standin: StandIn, site: Site) -> None:
    standin.change(tan_mode="tan")
    await site.holds(SET, aged=DUE)
    await site.live(2)
    assert "requests: G615" not in standin.counters()
    assert "TAN" in (await site.standing(SET)).plan.reason  # type: ignore[union-attr]
    await site.renewer.run(SET, tan=Secret(standin.tan("PHARMACY-1", "machine")))

    assert await site.states(SET) == [FORMER, ACTIVE]


@pytest_twisted.ensureDeferred
async def test_10_the_element_may_be_another_where_the_certificate_authenticates(standin: StandIn, site: Site) -> None:
    standin.change(element="G617Request")
    await site.holds(SET, aged=DUE)
    await site.attend()

    assert await site.states(SET) == [FORMER, ACTIVE]
    assert {each.wrapper for each in standin.seen if each.process == "G615"} == {"G617Request"}


@pytest_twisted.ensureDeferred
async def test_10_a_whole_template_takes_the_place_of_all_keys(standin: StandIn, site: Site) -> None:
    (site.profiles / "whole.xml").write_text(
        "<x:Envelope xmlns:x='http://www.w3.org/2003/05/soap-envelope' xmlns:q='urn:wsdltypes.nmvs.eu:v4.0'"
        " xmlns='urn:types.nmvs.eu:v4.0' xmlns:p='urn:types.nmvs.eu:v4.0'><x:Body><q:G615Request><Header>"
        "<Auth><ClientLoginId>{client_login_id}</ClientLoginId><UserId>{user_id}</UserId>"
        "<Password>{password}</Password></Auth>"
        "<UserSoftware p:name='{software_name}' p:supplier='{software_supplier}' p:version='{software_version}'/>"
        "<Transaction><ClientTrxId>{client_trx_id}</ClientTrxId><Language>{language}</Language></Transaction></Header>"
        "<Body/></q:G615Request></x:Body></x:Envelope>",
        encoding="utf-8",
    )
    site.profile(edits=[("[request]\n", '[request]\ntemplate = "whole.xml"\n')])
    user = (await site.holds(SET, aged=DUE, nmvs="software_name = \"a & b <'c'>\"")).user
    user.password = "<&>\"'{tan}1aA"
    await site.renewer.keep_secret(SET, "password", Secret(user.password))
    await site.attend()

    assert await site.states(SET) == [FORMER, ACTIVE]
    (asked,) = [each for each in standin.seen if each.process == "G615"]
    assert "<x:Envelope" in asked.text


# --- 11: loopback -------------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_11_a_profile_that_nobody_verified_leads_nowhere_but_here(standin: StandIn, site: Site) -> None:
    site.profile(edits=[("127.0.0.1", "nmvs.example")])
    site.define(SET)
    read = await site.renewer.reload()

    assert SET not in read.sets
    assert any("verified" in str(fault) and "nmvs.example" in str(fault) for fault in read.faults)


def test_11_no_file_of_the_project_names_a_host_of_a_real_nmvs() -> None:
    # The namespaces are names, and no addresses.
    hosts = re.compile(r"(?<!urn:)\b(?!types\.|wsdltypes\.|services\.)[a-z0-9-]+\.nmvs\.eu\b", re.IGNORECASE)
    assert hosts.search("https://ws-pki-xx.nmvs.eu:8458/")
    paths = [path for name in ("oftp2d", "tools") for path in (ROOT / name).rglob("*")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths if path.suffix in {".py", ".toml"}}

    assert {"profile.toml", "papers.py", "messages.py"} <= texts.keys()
    assert [name for name, text in texts.items() if hosts.search(text)] == []
