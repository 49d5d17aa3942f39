"""The plugin for NMVS at the stand-in, by the real engine and ledger over real sockets: points 1 to 7 of nmvs.md 8.3.

Point 8 is in ``test_nmvs_faults``, points 9 to 11 in ``test_nmvs_variants``.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import pkcs12

from oftp2d.errors import OperatorError
from oftp2d.ledger import CandidateState
from oftp2d.renewal.interface import Verdict
from oftp2d.renewal.timetable import Blocked, Due, NotDue, Phase
from oftp2d.vault import Secret
from tests import pki
from tests.renewal.site import DAY, DUE, PASSWORD, Site
from tools.nmvs import issuing
from tools.nmvs.containers import Encryption
from tools.nmvs.faults import Fault
from tools.nmvs.standin import StandIn

ACTIVE, FORMER, ENDED = CandidateState.ACTIVE, CandidateState.FORMER, CandidateState.ENDED
EMPTY, UNREADABLE = CandidateState.EMPTY, CandidateState.UNREADABLE
SET = "pharmacy-1"


# --- the whole life -----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_two_years_and_two_more(standin: StandIn, site: Site) -> None:
    user = (await site.holds(SET)).user
    first = site.exported(SET)
    for _ in range(22):
        await site.attend(30 * DAY)
    await site.attend(9 * DAY)
    day_61 = await site.standing(SET)
    assert (day_61.phase, day_61.days_left) == (Phase.VALID, 61)
    assert day_61.plan == NotDue(day_61.now + DAY)
    assert standin.counters()["authentications"] == 0
    asked = await site.renewer.run(SET)
    assert (asked.record.verdict, asked.record.code) == (Verdict.NOT_YET, "NMVS_FE_PKI_07")

    await site.attend(DAY)
    day_60 = await site.standing(SET)
    assert day_60.record.verdict == Verdict.FETCHED
    assert await site.states(SET) == [FORMER, EMPTY, ACTIVE]
    assert day_60.current
    assert day_60.current.serial == f"{user.issues[1].serial:x}"
    assert day_60.current.transaction_id == day_60.record.transaction_id != ""
    assert (day_60.current.trial_ok, day_60.current.problems) == (True, ())
    assert [each.consumer for each in day_60.tellings if each.state == "done"] == ["export", "source"]
    assert standin.counters()["authentications"] == 2
    made = [each.event for each in await site.audit() if each.detail.get("credential") == day_60.current.id]
    assert made == [f"credential {word}" for word in ("received", "staged", "validated", "probed", "activated")]
    second = site.exported(SET)
    assert second != first

    # The old one is kept as long as it is valid; then the new one goes the same way.
    await site.attend(59 * DAY)
    assert (await site.states(SET))[0] is FORMER
    await site.attend(2 * DAY)
    assert (await site.states(SET))[0] is ENDED
    for _ in range(20):
        await site.attend(30 * DAY)
    assert standin.counters()["authentications"] == 2
    await site.attend(9 * DAY)
    assert await site.states(SET) == [ENDED, EMPTY, FORMER, ACTIVE]
    assert [issue.downloads for issue in user.issues] == [0, 1, 1]
    assert site.exported(SET) != second


# --- 1: the two listeners, and how a certificate is refused -------------------------------------------------------------

REFUSED = {
    ("handshake", "revoked"): "refused us",
    ("http", "revoked"): "403",
    ("handshake", "ahead"): "refused us: our certificate is outside its period",
    ("http", "ahead"): "403",
}


@pytest.mark.parametrize(("refusal", "why"), REFUSED)
@pytest_twisted.ensureDeferred
async def test_1_a_certificate_that_is_refused_stops_at_a_person(
    standin: StandIn, site: Site, refusal: str, why: str
) -> None:
    standin.change(refusal=refusal)
    user = await site.holds(SET, aged=timedelta(days=729, hours=23, minutes=30))
    assert user.issue
    if why == "revoked":
        standin.authorities.revoked.add(user.issue.serial)
    else:
        standin.clock.advance(timedelta(hours=1))
        site.skew = timedelta(hours=-1)
    await site.attend()
    record = await site.record(SET)

    assert record.verdict == Verdict.FATAL
    assert REFUSED[refusal, why] in f"{record.code} {record.text}"
    assert record.advice
    assert standin.counters()["authentications"] == 0
    assert (await site.states(SET))[0] is ACTIVE


@pytest.mark.parametrize("refusal", ["handshake", "http"])
@pytest_twisted.ensureDeferred
async def test_1_a_certificate_of_another_authority_is_tried_in_vain_and_not_used(
    standin: StandIn, site: Site, refusal: str
) -> None:
    standin.change(refusal=refusal)
    await site.defined(SET)
    other = pki.make(subject="CN=machine,OU=PHARMACY-1", issuer=pki.root("A"), days=(-3000, 9000))
    standing = await site.renewer.bring(SET, Secret(other.pkcs12(b"passphrase")), Secret(b"passphrase"))

    assert (standing.current, standing.candidate and standing.candidate.state) == (None, CandidateState.VALIDATED)
    assert standing.candidate
    assert standing.candidate.trial_ok is False
    assert (
        "refused us" if refusal == "handshake" else "the server refuses our certificate"
    ) in standing.candidate.trial


@pytest_twisted.ensureDeferred
async def test_1_one_that_has_ended_is_not_even_shown_and_the_process_would_say_why(
    standin: StandIn, site: Site
) -> None:
    standin.change(refusal="process")
    await site.holds(SET, aged=timedelta(days=729, hours=23, minutes=50))
    site.skew = timedelta(minutes=-20)
    standin.clock.advance(timedelta(minutes=20))
    await site.attend()
    assert (await site.record(SET)).code == "NMVS_FE_PKI_01"
    site.skew = timedelta()
    await site.live(3)

    assert isinstance((await site.standing(SET)).plan, Blocked)
    assert standin.counters()["requests: G615"] == 1


@pytest_twisted.ensureDeferred
async def test_1_without_a_certificate_nothing_is_asked_but_with_a_tan(standin: StandIn, site: Site) -> None:
    standin.enrol("PHARMACY-1", "machine", PASSWORD, certificate=False)
    await site.defined(SET)
    await site.live(3)
    assert isinstance((await site.standing(SET)).plan, Blocked)
    with pytest.raises(OperatorError, match="TAN"):
        await site.renewer.run(SET)
    assert "requests" not in standin.counters()
    standing = await site.renewer.run(SET, tan=Secret(standin.tan("PHARMACY-1", "machine")))

    assert await site.states(SET) == [ACTIVE]
    assert standing.record.verdict == Verdict.FETCHED
    assert [(each.place, each.certificate) for each in standin.seen if each.process == "G615"] == [("tan", "")]


# --- 2: the messages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "soap"), [("2.0", "1.2"), ("4.0", "1.1"), ("5.0", "1.2")])
@pytest_twisted.ensureDeferred
async def test_2_each_version_of_interface_and_envelope(standin: StandIn, site: Site, version: str, soap: str) -> None:
    standin.change(version=version, soap=soap, error_status=500)
    await site.holds(SET, aged=DUE - DAY)
    await site.renewer.run(SET)
    assert (await site.record(SET)).code == "NMVS_FE_PKI_07"
    await site.attend(DAY)

    assert await site.states(SET) == [FORMER, EMPTY, ACTIVE]
    asked = [each for each in standin.seen if each.process == "G615"]
    assert len({each.transaction for each in asked}) == 2
    assert all(1 <= len(each.transaction) <= 32 for each in asked)
    assert all(each.content_type.startswith("text/xml" if soap == "1.1" else "application/soap+xml") for each in asked)


MISFITS = {
    "another process": ([("G615Request", "G699Request"), ("G615Response", "G699Response")], "NMVS_TE_REQ_02"),
    "another version": ([('version = "4.0"', 'version = "5.0"'), ("ServiceV40", "ServiceV50")], ""),
    "a TAN that is too much": ([('tan_mode = "omit"', 'tan_mode = "empty"')], "NMVS_TE_XM_02"),
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest_twisted.ensureDeferred
async def test_2_a_profile_that_does_not_fit_costs_one_attempt_a_day_and_no_login(
    standin: StandIn, site: Site, misfit: str
) -> None:
    edits, code = MISFITS[misfit]
    await site.holds(SET, aged=DUE)
    site.profile(edits=edits)
    await site.attend()
    await site.live(3)
    record = await site.record(SET)

    assert (record.verdict, record.code) == (Verdict.FATAL, code)
    assert "profile" in record.advice
    assert len([each for each in standin.seen if each.process != "ping"]) == (4 if code else 0)
    assert standin.counters()["authentications"] == 0


# --- 3: users, and what costs them their account ------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_3_one_wrong_password_and_not_another_try_until_the_secret_is_another(
    standin: StandIn, site: Site
) -> None:
    await site.holds(SET, aged=DUE)
    await site.renewer.keep_secret(SET, "password", Secret("Wrong-password-1"))
    await site.attend()
    record = await site.record(SET)
    assert (record.verdict, record.code) == (Verdict.AUTH_FAILED, "NMVS_FE_AU_06")
    await site.live(15)
    with pytest.raises(OperatorError, match="blocked"):
        await site.renewer.run(SET)
    await site.renewer.keep_secret(SET, "password", Secret("Wrong-password-1"))
    await site.attend(DAY)
    assert (await site.record(SET)).blocked == Verdict.AUTH_FAILED
    assert standin.counters()["authentications"] == standin.counters()["authentication failures"] == 1

    await site.renewer.keep_secret(SET, "password", Secret(PASSWORD))
    await site.attend()
    assert await site.states(SET) == [FORMER, EMPTY, ACTIVE]
    assert standin.counters()["authentications"] == 2
    assert standin.counters()["authentication failures"] == 1


@pytest_twisted.ensureDeferred
async def test_3_a_password_in_a_file_frees_the_set_when_the_file_changes(standin: StandIn, site: Site) -> None:
    path = site.home / "password"
    path.touch(mode=0o600)
    path.write_text("Wrong-password-1\n", encoding="utf-8")
    await site.holds(SET, aged=DUE)
    definition = site.home / "renewal" / f"{SET}.toml"
    definition.write_text(definition.read_text().replace('"store"', f'"file:{path}"'))
    await site.renewer.reload()
    await site.attend()
    await site.live(5)
    assert standin.counters()["authentications"] == 1
    path.write_text(PASSWORD, encoding="utf-8")
    await site.attend(DAY)

    assert (await site.states(SET))[-1] is ACTIVE
    assert standin.counters()["authentications"] == 2


@pytest_twisted.ensureDeferred
async def test_3_an_operator_who_unblocks_takes_one_more_try_and_no_second(standin: StandIn, site: Site) -> None:
    await site.holds(SET, aged=DUE)
    await site.renewer.keep_secret(SET, "password", Secret("Wrong-password-1"))
    await site.attend()
    await site.renewer.unblock(SET)
    await site.live(5)

    assert standin.counters()["authentication failures"] == 2
    assert (await site.record(SET)).blocked == Verdict.AUTH_FAILED


ACCOUNTS = {
    "locked": ({"locked": True}, Verdict.LOCKED, "NMVS_FE_AU_02"),
    "initial password": ({"initial": True}, Verdict.AUTH_FAILED, "NMVS_FE_AU_11"),
    "terms not accepted": ({"terms_until": True}, Verdict.LOCKED, "NMVS_FE_AU_23"),
    "certificate of another": ({"other": True}, Verdict.LOCKED, "NMVS_FE_AU_03"),
    "unknown client": ({"login": "SOMEBODY"}, Verdict.LOCKED, "NMVS_FE_AU_04"),
    "unknown user": ({"user": "somebody"}, Verdict.AUTH_FAILED, "NMVS_FE_AU_01"),
}


@pytest.mark.parametrize("case", ACCOUNTS)
@pytest_twisted.ensureDeferred
async def test_3_an_account_that_needs_a_person_is_asked_once(standin: StandIn, site: Site, case: str) -> None:
    change, verdict, code = ACCOUNTS[case]
    user = (await site.holds(SET, aged=DUE)).user
    user.locked, user.initial = "locked" in change, "initial" in change
    user.terms_until = standin.clock.now() if "terms_until" in change else None
    if "other" in change:
        user.issues.clear()
    definition = site.home / "renewal" / f"{SET}.toml"
    text = definition.read_text().replace('"machine"', f'"{change.get("user", "machine")}"')
    definition.write_text(text.replace('"PHARMACY-1"', f'"{change.get("login", "PHARMACY-1")}"'))
    await site.renewer.reload()
    await site.attend()
    await site.live(2)
    record = await site.record(SET)

    assert (record.verdict, record.code, record.blocked) == (verdict, code, verdict)
    assert record.blocked_advice
    assert standin.counters()["authentications"] == 1
    assert await site.states(SET) == [ACTIVE, EMPTY]


# --- 4: the life of a certificate, and TANs -----------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_4_a_successor_that_comes_later_than_it_should_is_asked_for_once_a_day(
    standin: StandIn, site: Site
) -> None:
    standin.change(lead_days=30)
    site.profile(edits=[("lead_days = 30", "lead_days = 38")])
    await site.holds(SET, aged=DUE + 21 * DAY)
    await site.live(9)

    asked = [each for each in standin.seen if each.process == "G615"]
    assert [each.code for each in asked] == [*["NMVS_FE_PKI_07"] * 8, "NMVS_SUCCESS"]
    assert len({each.at.date() for each in asked}) == 9
    assert (await site.states(SET))[-1] is ACTIVE


@pytest_twisted.ensureDeferred
async def test_4_what_was_left_too_long_is_a_matter_for_the_help_desk(standin: StandIn, site: Site) -> None:
    standin.change(store_days=10)
    await site.holds(SET, aged=DUE + 20 * DAY)
    await site.attend()
    record = await site.record(SET)

    assert (record.verdict, record.code) == (Verdict.FATAL, "NMVS_FE_PKI_08")
    assert "TAN" in record.advice


@pytest_twisted.ensureDeferred
async def test_4_behind_its_end_only_a_new_tan_helps(standin: StandIn, site: Site) -> None:
    await site.holds(SET, aged=DUE + 55 * DAY, more="auto_renew = false")
    old = standin.tan("PHARMACY-1", "machine")
    standin.clock.advance(6 * DAY)
    await site.live(3)
    assert isinstance((await site.standing(SET)).plan, Blocked)
    assert "requests: G615" not in standin.counters()
    standing = await site.renewer.run(SET, tan=Secret(old))
    assert (standing.record.verdict, standing.record.code) == (Verdict.FATAL, "NMVS_FE_PKI_01")
    standing = await site.renewer.run(SET, tan=Secret(standin.tan("PHARMACY-1", "machine")))

    assert standing.record.code == "NMVS_SUCCESS"
    assert (await site.states(SET))[-1] is ACTIVE


@pytest_twisted.ensureDeferred
async def test_4_a_wrong_tan_blocks_like_a_wrong_password_and_a_used_one_brings_nothing(
    standin: StandIn, site: Site
) -> None:
    standin.change(again="refused")
    await site.holds(SET, aged=DUE, more="auto_renew = false")
    tan = standin.tan("PHARMACY-1", "machine")
    standing = await site.renewer.run(SET, tan=Secret("NOT-A-TAN-AT-ALL"))
    assert "or it was the TAN" in standing.record.blocked_advice
    assert (standing.record.code, standing.record.blocked) == ("NMVS_FE_AU_10", Verdict.AUTH_FAILED)
    with pytest.raises(OperatorError, match="blocked"):
        await site.renewer.run(SET, tan=Secret(tan))
    await site.renewer.unblock(SET)
    await site.renewer.run(SET, tan=Secret(tan))
    assert (await site.states(SET))[-1] is ACTIVE
    standing = await site.renewer.run(SET, tan=Secret(tan))

    assert (standing.record.verdict, standing.record.code) == (Verdict.ALREADY, "NMVS_FE_PKI_09")


# --- 5: containers and passphrases --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encryption", Encryption)
@pytest_twisted.ensureDeferred
async def test_5_containers_of_every_encryption_are_used(standin: StandIn, site: Site, encryption: Encryption) -> None:
    standin.change(encryption=encryption)
    user = (await site.holds(SET, aged=DUE)).user
    await site.attend()
    container, secret = site.exported(SET)
    key, certificate, above = pkcs12.load_key_and_certificates(container, secret.strip())

    assert certificate == user.issues[1].pair.certificate
    assert key
    assert key.public_key() == certificate.public_key()
    assert above == [standin.authorities.roots[0].certificate]


PASSPHRASES = ["&<>\"'&amp;&lt;]]>", "  spaces at its ends  ", "&" * 60, "pässwört-€"]


@pytest.mark.parametrize("secret", PASSPHRASES)
@pytest_twisted.ensureDeferred
async def test_5_passphrases_come_through_as_they_are(
    standin: StandIn, site: Site, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    await site.holds(SET, aged=DUE)
    monkeypatch.setattr(issuing, "passphrase", lambda: secret)
    await site.attend()

    assert await site.states(SET) == [FORMER, ACTIVE]


@pytest_twisted.ensureDeferred
async def test_5_a_new_generation_of_the_authority_changes_nothing(standin: StandIn, site: Site) -> None:
    await site.holds(SET, aged=DUE)
    standin.authorities.roll_over()
    await site.attend()

    assert await site.states(SET) == [FORMER, ACTIVE]


# --- 6: asking again, when the first answer was lost --------------------------------------------------------------------


@pytest.mark.parametrize("again", ["same", "new passphrase", "limited", "refused"])
@pytest_twisted.ensureDeferred
async def test_6_a_lost_answer_is_asked_for_again_unless_the_server_refuses(
    standin: StandIn, site: Site, again: str
) -> None:
    standin.change(again=again)
    await site.holds(SET, aged=DUE)
    standin.faults.on(Fault.CUT_OFF, calls=1)
    await site.attend()
    assert (await site.record(SET)).verdict == Verdict.RETRY
    await site.live(2)
    record = await site.record(SET)

    if again == "refused":
        assert (record.verdict, record.code, record.blocked) == (Verdict.ALREADY, "NMVS_FE_PKI_09", "")
        assert "help desk" in record.advice
        assert (await site.states(SET))[0] is ACTIVE
    else:
        assert await site.states(SET) == [FORMER, ACTIVE]
        assert standin.counters()["requests: G615"] == 2


@pytest_twisted.ensureDeferred
async def test_6_the_installation_is_confirmed_where_the_profile_says_so(standin: StandIn, site: Site) -> None:
    site.profile(edits=[("[confirm]\n", '[confirm]\nenabled = true\noperation = "G616Confirm"\n')])
    user = (await site.holds(SET, aged=DUE)).user
    standin.faults.on(Fault.HTTP_503, calls=1, process="confirm")
    await site.attend()
    assert await site.states(SET) == [FORMER, ACTIVE]
    assert not user.issues[1].confirmed
    await site.attend(DAY)

    assert user.issues[1].confirmed
    (told,) = [each for each in (await site.standing(SET)).tellings if each.consumer == "source"]
    assert (told.state, told.attempts) == ("done", 2)
    assert "NMVS_SUCCESS" in told.text


# --- 7: the old certificate ---------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_7_the_old_one_goes_on_in_parallel_and_can_be_returned_to(standin: StandIn, site: Site) -> None:
    await site.holds(SET, aged=DUE)
    before = site.exported(SET)[0]
    await site.attend()
    await site.renewer.rollback(SET)
    await site.attend()

    assert await site.states(SET) == [ACTIVE, CandidateState.ROLLED_BACK]
    assert (await site.renewer.probe(SET)).ok
    old = pkcs12.load_pkcs12(site.exported(SET)[0], site.exported(SET)[1].strip()).cert
    assert old
    assert site.exported(SET)[0] != before or old
    assert f"{old.certificate.serial_number:x}" == (await site.renewer.candidates(SET))[1].serial


@pytest_twisted.ensureDeferred
async def test_7_where_the_old_one_is_revoked_at_the_first_use_of_the_new_one_all_goes_on_with_that(
    standin: StandIn, site: Site
) -> None:
    standin.change(revoke_old=True)
    user = (await site.holds(SET, aged=DUE)).user
    await site.attend()
    assert await site.states(SET) == [FORMER, ACTIVE]
    assert standin.authorities.revoked == {user.issues[0].serial}
    await site.renewer.rollback(SET)
    back = await site.renewer.probe(SET)
    assert back.ok is False
    assert "refused us" in back.text
    await site.renewer.activate(SET, candidate=(await site.newest(SET)).id)

    assert await site.states(SET) == [FORMER, ACTIVE]
    assert (await site.renewer.probe(SET)).ok


@pytest_twisted.ensureDeferred
async def test_it_is_due_from_day_60_on_and_not_asked_by_itself_where_that_is_switched_off(
    standin: StandIn, site: Site
) -> None:
    await site.holds(SET, aged=DUE, more="auto_renew = false")
    await site.live(2)

    assert (await site.standing(SET)).plan == Due(Phase.DUE)
    assert "requests: G615" not in standin.counters()
