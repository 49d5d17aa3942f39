"""The decision on an arriving certificate: acx.md 4.2 to 4.4 with the choices of its section 12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from oftp2.certs.acceptance import (
    FINAL,
    Announced,
    Approval,
    Assurance,
    Limits,
    Message,
    Mode,
    Retirement,
    Rule,
    Scope,
    TrustVerdict,
    Verdict,
    crowded,
    deliver_ours,
    judge,
    overrulable,
    rejected,
    repeated,
    unreadable,
)
from oftp2.certs.clid import Clid, Identification
from oftp2.certs.content import ContentError
from oftp2.certs.facts import CertificateFacts
from oftp2.certs.matching import Held, Place
from oftp2.certs.names import DistinguishedName
from oftp2.certs.usages import FILE_USAGES, TLS_USAGES, Usage
from tests import pki

ALL = frozenset(Usage)
SIGNS = frozenset({Usage.SIGNATURE, Usage.EERP_SIGNATURE})
ENCIPHERS = frozenset({Usage.ENCRYPTION, Usage.AUTHENTICATION})
TRUSTED = TrustVerdict(trusted=True, text="issued under CN=OFTP2 Test Issuing A")
UNTRUSTED = TrustVerdict(trusted=False, text="its issuer is no anchor")
REVOKED = TrustVerdict(trusted=False, text="revoked on 2026-01-02", barred=True)
AUTHENTICATED = Assurance(authenticated=True)
BOOTSTRAP = Assurance(bootstrap=True)
PLAIN = Assurance()


def facts_of(label: str) -> CertificateFacts:
    return CertificateFacts.of(pki.certificate(label).der)


def held(label: str, key: int = 1, usages: frozenset[Usage] = ALL, place: Place = Place.CURRENT) -> Held:
    return Held(key=key, facts=facts_of(label), usages=usages, place=place)


def announced(key: int = 7, usages: frozenset[Usage] = ALL, **identification: object) -> Announced:
    entered = Identification(**identification)  # type: ignore[arg-type]
    return Announced(key=key, identification=entered, usages=usages)


def decide(
    facts: CertificateFacts | str,
    *,
    mode: Mode = Mode.KNOWN,
    message: Message = Message.DELIVER,
    replaces: str | None = None,
    held: Sequence[Held] = (),
    announced: Sequence[Announced] = (),
    trust: TrustVerdict = TRUSTED,
    session: Assurance = PLAIN,
    limits: Limits | None = None,
    minutes: float = 0,
    scope: Scope = Scope.SLOTS,
    approval: Approval | None = None,
) -> Verdict:
    return judge(
        mode=mode,
        message=message,
        facts=facts_of(facts) if isinstance(facts, str) else facts,
        clid=None if replaces is None else Clid.of(facts_of(replaces)),
        held=held,
        announced=announced,
        trust=trust,
        session=session,
        now=pki.NOW + timedelta(minutes=minutes),
        limits=limits,
        scope=scope,
        approval=approval,
    )


def refused(verdict: Verdict, rule: Rule, *words: str) -> None:
    assert not verdict.accepted
    assert verdict.rule is rule
    for word in words:
        assert word in verdict.text
    assert not verdict.stores
    assert not verdict.retire


# --- rows 1 to 4
# ---------------------------------------------------------------------------------------------


def test_a_partner_with_the_exchange_switched_off_is_told_so() -> None:
    refused(decide("CA01", mode=Mode.OFF), Rule.SWITCHED_OFF, "switched off")
    refused(unreadable(Mode.OFF, ContentError("x")), Rule.SWITCHED_OFF, "switched off")


def test_unreadable_content_is_refused_with_its_own_text() -> None:
    refused(unreadable(Mode.KNOWN, ContentError("the file is empty")), Rule.UNREADABLE, "the file is empty")


def test_the_certificate_of_an_authority_is_refused() -> None:
    authority = CertificateFacts.of(pki.issuing("A").der)
    refused(decide(authority, mode=Mode.TRUSTED), Rule.UNFIT, "certification authority")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key_bits": 1024}, ("1024 bits", "2048")),
        ({"key_bits": None}, ("required are at least 2048",)),
        ({"key_type": "EC", "key_bits": 256}, ("EC", "RSA")),
        ({"signature_hash": "sha1"}, ("sha1",)),
        ({"signature_hash": "md5"}, ("md5",)),
    ],
)
def test_a_weak_certificate_is_refused_with_its_figures(change: dict[str, object], words: tuple[str, ...]) -> None:
    weak = replace(facts_of("CA02"), **change)  # type: ignore[arg-type]
    refused(decide(weak, held=[held("CA01")]), Rule.UNFIT, *words)


def test_an_administrator_may_set_the_floor() -> None:
    weak = replace(facts_of("CA02"), signature_hash="sha1")
    assert decide(weak, held=[held("CA01")], limits=Limits(weak_hashes=frozenset())).accepted


def test_an_expired_certificate_is_refused_with_its_period() -> None:
    expired = CertificateFacts.of(pki.make(issuer=pki.issuing("A"), days=(-30, -1)).der)
    year = f"{expired.not_after:%Y-%m-%d}"
    refused(decide(expired, mode=Mode.TRUSTED), Rule.PERIOD, "expired", year, "now is")


def test_a_certificate_of_the_future_is_refused_beyond_five_minutes() -> None:
    soon = CertificateFacts.of(pki.make(issuer=pki.issuing("A"), days=(1, 30)).der)
    day = 24 * 60
    refused(decide(soon, mode=Mode.TRUSTED, minutes=day - 6), Rule.PERIOD, "not valid yet")
    assert decide(soon, mode=Mode.TRUSTED, minutes=day - 5).accepted


# --- rows 5 to 7: trust, predecessor, announcement
# -------------------------------------------------------------


def test_a_renewal_takes_exactly_the_slots_of_its_predecessor() -> None:
    verdict = decide("CA02", held=[held("CA01", usages=SIGNS), held("CA09", 2, ENCIPHERS)])
    assert verdict.accepted
    assert verdict.rule is Rule.RENEWAL
    assert verdict.usages == SIGNS
    assert verdict.retire == (Retirement(key=1, usages=SIGNS, place=Place.PREVIOUS),)
    assert verdict.predecessor is not None
    assert verdict.stores


def test_a_changed_subject_needs_the_description() -> None:
    refused(decide("CA04", held=[held("CA01")]), Rule.UNKNOWN, "subject", "administrator")
    assert decide("CA04", held=[held("CA01")], replaces="CA01").accepted


def test_a_changed_key_usage_is_named() -> None:
    narrowed = replace(facts_of("CA02"), key_usage=frozenset({"digitalSignature"}))
    refused(decide(narrowed, held=[held("CA01")]), Rule.UNKNOWN, "key usage")


def test_a_successor_leaves_what_its_key_usage_does_not_allow() -> None:
    verdict = decide("CA05", held=[held("CA01", usages=FILE_USAGES)], replaces="CA01")
    assert verdict.usages == SIGNS
    assert verdict.retire == (Retirement(key=1, usages=SIGNS, place=Place.PREVIOUS),)
    assert "does not allow encryption, authentication" in verdict.text


def test_a_successor_that_may_serve_none_of_the_slots_is_refused() -> None:
    verdict = decide("CA06", held=[held("CA01", usages=SIGNS)], replaces="CA01")
    refused(verdict, Rule.USAGES, "does not allow signature, eerp signature", "encryption")


def test_an_extended_key_usage_on_one_side_only_counts_as_equal() -> None:
    bare = replace(facts_of("CA02"), extended=None)
    assert decide(bare, held=[held("CA01")]).accepted
    other = replace(facts_of("CA02"), extended=frozenset({"1.2.3"}))
    refused(decide(other, held=[held("CA01")]), Rule.UNKNOWN, "extended key usage")


@pytest.mark.parametrize("label", ["CB05", "CB06"])
@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.ANNOUNCED, Mode.TRUSTED])
def test_an_untrusted_chain_is_refused_whatever_is_held_or_announced(label: str, mode: Mode) -> None:
    verdict = decide(
        label,
        mode=mode,
        trust=UNTRUSTED,
        held=[held("CB01")],
        announced=[announced(common_name="b.test")],
        replaces="CB01",
        session=AUTHENTICATED,
    )
    refused(verdict, Rule.UNTRUSTED, "not trusted: its issuer is no anchor")


def test_an_untrusted_certificate_of_another_issuer_is_told_both() -> None:
    entry = announced(common_name="b.test", issuer=DistinguishedName.parse("CN=OFTP2 Test Issuing B"))
    verdict = decide("CB06", trust=UNTRUSTED, announced=[entry], mode=Mode.ANNOUNCED)
    refused(verdict, Rule.UNTRUSTED, "not trusted", "issuer is CN=Unlisted Issuing", "OFTP2 Test Issuing B")


OLD = CertificateFacts.of(pki.make(subject="CN=self.test", days=(-300, 10)).der)
NEW = CertificateFacts.of(pki.make(subject="CN=self.test").der)
HELD_SELF = Held(key=3, facts=OLD, usages=ALL)


@pytest.mark.parametrize("session", [AUTHENTICATED, Assurance(mutual_tls=True)])
def test_a_self_signed_renewal_is_accepted_in_a_proven_session(session: Assurance) -> None:
    verdict = decide(NEW, trust=UNTRUSTED, held=[HELD_SELF], session=session)
    assert verdict.accepted
    assert verdict.rule is Rule.RENEWAL
    assert verdict.usages == ALL


@pytest.mark.parametrize("session", [PLAIN, BOOTSTRAP, Assurance(mutual_tls=True, bootstrap=True)])
@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.ANNOUNCED, Mode.TRUSTED])
def test_a_self_signed_renewal_is_refused_without_proof_and_in_the_bootstrap(session: Assurance, mode: Mode) -> None:
    verdict = decide(NEW, trust=UNTRUSTED, held=[HELD_SELF], session=session, mode=mode)
    refused(verdict, Rule.UNTRUSTED, "self-signed renewal")


def test_a_first_self_signed_certificate_is_refused_even_when_announced_and_proven() -> None:
    verdict = decide(
        NEW,
        trust=UNTRUSTED,
        session=AUTHENTICATED,
        mode=Mode.TRUSTED,
        announced=[announced(common_name="self.test")],
    )
    refused(verdict, Rule.UNTRUSTED, "self-signed", "renewal of a known one")


def test_an_announcement_adds_nothing_to_an_untrusted_renewal() -> None:
    signs = Held(key=3, facts=OLD, usages=SIGNS)
    verdict = decide(
        NEW,
        trust=UNTRUSTED,
        session=AUTHENTICATED,
        held=[signs],
        announced=[announced(common_name="self.test")],
    )
    assert verdict.usages == SIGNS
    assert verdict.announcement is None


@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.ANNOUNCED])
def test_an_unannounced_certificate_is_refused(mode: Mode) -> None:
    refused(decide("CA01", mode=mode), Rule.UNKNOWN, "not announced", "administrator")


@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.ANNOUNCED, Mode.TRUSTED])
def test_an_announced_certificate_takes_the_announced_usages(mode: Mode) -> None:
    entry = announced(usages=FILE_USAGES, common_name="a0.test")
    verdict = decide("CA01", mode=mode, announced=[announced(6, common_name="else"), entry])
    assert verdict.accepted
    assert verdict.rule is Rule.ANNOUNCEMENT
    assert verdict.usages == FILE_USAGES
    assert verdict.announcement == 7


def test_in_the_bootstrap_an_announcement_counts_only_in_mode_announced_or_trusted() -> None:
    entry = announced(common_name="a0.test")
    for mode in (Mode.ANNOUNCED, Mode.TRUSTED):
        assert decide("CA01", mode=mode, announced=[entry], session=BOOTSTRAP).accepted
    refused(decide("CA01", announced=[entry], session=BOOTSTRAP), Rule.UNKNOWN, "without authentication")


@pytest.mark.parametrize(
    ("identification", "word"),
    [
        ({"common_name": "other.test"}, "common name is a0.test"),
        ({"subject": DistinguishedName.parse("O=Else")}, "subject is"),
        ({"common_name": "a0.test", "issuer": DistinguishedName.parse("CN=Z")}, "issuer is"),
        ({"common_name": "a0.test", "key_usages": frozenset({"keyAgreement"})}, "key usage is"),
    ],
)
@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.ANNOUNCED, Mode.TRUSTED])
def test_a_certificate_other_than_the_announced_one_is_told_what_differs(
    mode: Mode, identification: dict[str, object], word: str
) -> None:
    verdict = decide("CA01", mode=mode, announced=[announced(**identification)])  # type: ignore[arg-type]
    refused(verdict, Rule.NOT_ANNOUNCED, "not as announced", word)


def test_an_announced_certificate_moves_down_what_held_its_slots() -> None:
    verdict = decide("CA04", held=[held("CA01")], announced=[announced(common_name="a0-new.test")])
    assert verdict.retire == (Retirement(key=1, usages=ALL, place=Place.PREVIOUS),)


def test_a_renewal_that_was_announced_as_well_takes_both() -> None:
    entry = announced(usages=ENCIPHERS, common_name="a0.test")
    verdict = decide("CA02", held=[held("CA01", usages=SIGNS)], announced=[entry])
    assert verdict.usages == SIGNS | ENCIPHERS
    assert verdict.announcement == 7
    assert "as announced" in verdict.text


def test_in_the_bootstrap_a_description_alone_does_not_heal_another_subject() -> None:
    entries = [held("CA01")]
    refused(decide("CA04", held=entries, replaces="CA01", session=BOOTSTRAP), Rule.UNKNOWN)
    assert decide("CA04", held=entries, replaces="CA01", session=BOOTSTRAP, mode=Mode.TRUSTED).accepted
    assert decide("CA02", held=entries, session=BOOTSTRAP).accepted
    entry = announced(common_name="a0-new.test")
    assert decide(
        "CA04", held=entries, replaces="CA01", session=BOOTSTRAP, announced=[entry], mode=Mode.ANNOUNCED
    ).accepted


# --- rule B
# ----------------------------------------------------------------------------------------------------


def test_a_first_trusted_certificate_fills_every_slot_it_may() -> None:
    verdict = decide("CA01", mode=Mode.TRUSTED)
    assert verdict.rule is Rule.FIRST
    assert verdict.usages == ALL
    assert decide("CA05", mode=Mode.TRUSTED).usages == SIGNS
    assert decide("CA06", mode=Mode.TRUSTED).usages == ENCIPHERS


def test_a_second_trusted_certificate_fills_empty_slots_only() -> None:
    verdict = decide("CA06", mode=Mode.TRUSTED, held=[held("CA05", usages=SIGNS)])
    assert verdict.usages == ENCIPHERS
    assert not verdict.retire


def test_an_unknown_predecessor_with_occupied_slots_is_refused() -> None:
    verdict = decide("CA04", mode=Mode.TRUSTED, held=[held("CA01", usages=FILE_USAGES)])
    refused(verdict, Rule.OCCUPIED, "replaces none of them", "subject")


def test_previous_and_withdrawn_certificates_do_not_occupy() -> None:
    entries = [held("CA01", place=Place.PREVIOUS), held("CA03", 2, place=Place.WITHDRAWN)]
    assert decide("CA04", mode=Mode.TRUSTED, held=entries).usages == ALL


def test_a_certificate_that_may_serve_nothing_is_refused() -> None:
    agrees = replace(facts_of("CA04"), key_usage=frozenset({"keyAgreement"}))
    refused(decide(agrees, mode=Mode.TRUSTED), Rule.USAGES, "allows none")


# --- row 8 and REPLACE
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [Message.DELIVER, Message.REQUEST])
def test_a_duplicate_is_accepted_and_changes_nothing(message: Message) -> None:
    verdict = decide("CA01", message=message, held=[held("CA01")])
    assert verdict.accepted
    assert verdict.rule is Rule.DUPLICATE
    assert "already configured" in verdict.text
    assert not verdict.stores
    assert not verdict.retire


def test_a_duplicate_of_a_previous_one_stays_previous() -> None:
    entries = [held("CA01", place=Place.PREVIOUS), held("CA02", 2)]
    verdict = decide("CA01", held=entries)
    assert verdict.text == "already configured as a previous one"
    assert not verdict.stores


def test_a_self_signed_duplicate_needs_no_proof() -> None:
    assert decide(OLD, trust=UNTRUSTED, held=[HELD_SELF], session=BOOTSTRAP).rule is Rule.DUPLICATE


def test_a_duplicate_that_is_no_longer_trusted_is_refused() -> None:
    refused(decide("CA01", held=[held("CA01")], trust=UNTRUSTED), Rule.UNTRUSTED)


def test_replace_withdraws_the_slots_of_the_predecessor_and_their_previous_ones() -> None:
    entries = [
        held("CA01", 1, SIGNS),
        held("CA02", 2, ALL, Place.PREVIOUS),
        held("CA09", 3, ENCIPHERS),
        held("CA04", 4, SIGNS, Place.WITHDRAWN),
    ]
    verdict = decide("CA03", message=Message.REPLACE, held=entries)
    assert verdict.usages == SIGNS
    assert verdict.retire == (
        Retirement(key=1, usages=SIGNS, place=Place.WITHDRAWN),
        Retirement(key=2, usages=SIGNS, place=Place.WITHDRAWN),
    )


def test_replace_withdraws_all_slots_even_when_the_new_one_serves_fewer() -> None:
    entries = [held("CA01", usages=FILE_USAGES)]
    verdict = decide("CA05", message=Message.REPLACE, held=entries, replaces="CA01")
    assert verdict.usages == SIGNS
    assert verdict.retire == (Retirement(key=1, usages=FILE_USAGES, place=Place.WITHDRAWN),)


def test_replace_twice_with_changed_subjects_works_by_the_description() -> None:
    first = decide("CA13", message=Message.REPLACE, held=[held("CA08")], replaces="CA08")
    second = decide("CA14", message=Message.REPLACE, held=[held("CA13")], replaces="CA13")
    assert first.accepted
    assert second.accepted


def test_replace_of_an_unknown_one_is_judged_like_a_first_one() -> None:
    refused(decide("CA13", message=Message.REPLACE, replaces="CA08"), Rule.UNKNOWN)


def test_replace_sent_again_withdraws_what_stood_beside_it() -> None:
    entries = [held("CA03", 1), held("CA01", 2, SIGNS, Place.PREVIOUS)]
    verdict = decide("CA03", message=Message.REPLACE, held=entries)
    assert verdict.rule is Rule.DUPLICATE
    assert not verdict.stores
    assert verdict.retire == (Retirement(key=2, usages=SIGNS, place=Place.WITHDRAWN),)


def test_replace_may_bring_a_previous_one_back() -> None:
    entries = [held("CA01", 1, place=Place.PREVIOUS), held("CA02", 2)]
    verdict = decide("CA01", message=Message.REPLACE, held=entries)
    assert verdict.usages == ALL
    assert {item.key for item in verdict.retire} == {1, 2}


@pytest.mark.parametrize("mode", [Mode.KNOWN, Mode.TRUSTED])
@pytest.mark.parametrize("message", list(Message))
def test_a_recalled_certificate_never_comes_back(mode: Mode, message: Message) -> None:
    entries = [held("CA01", place=Place.WITHDRAWN), held("CA03", 2)]
    refused(decide("CA01", mode=mode, message=message, held=entries), Rule.WITHDRAWN, "withdrawn earlier")


# --- answers
# ------------------------------------------------------------------------------------------------------


def test_every_request_is_answered_with_ours_unless_switched_off() -> None:
    assert deliver_ours(Mode.KNOWN, Message.REQUEST)
    assert not deliver_ours(Mode.OFF, Message.REQUEST)
    assert not deliver_ours(Mode.TRUSTED, Message.DELIVER)
    assert not deliver_ours(Mode.TRUSTED, Message.REPLACE)


def test_the_text_of_a_refusal_fits_into_a_nerp_however_much_is_announced() -> None:
    many = [announced(key, common_name="x" * 60) for key in range(40)]
    assert len(decide("CA01", announced=many).text.encode()) <= 999


def test_tls_slots_alone_are_no_reason_to_take_a_certificate() -> None:
    entries = [held("CA01", usages=FILE_USAGES)]
    assert facts_of("CA04").allowed.issuperset(TLS_USAGES)
    refused(decide("CA04", mode=Mode.TRUSTED, held=entries), Rule.OCCUPIED)


def test_a_revoked_certificate_is_refused_whether_it_is_held_or_not() -> None:
    for entries in ([], [held("CA01")]):
        refused(decide("CA01", held=entries, trust=REVOKED), Rule.BARRED, "revoked on 2026-01-02")


def test_replace_withdraws_everything_where_that_is_its_scope() -> None:
    entries = [
        held("CA01", 1, SIGNS),
        held("CA09", 2, ENCIPHERS),
        held("CA02", 3, TLS_USAGES, Place.PREVIOUS),
        held("CA04", 4, ALL, Place.WITHDRAWN),
    ]
    verdict = decide("CA03", message=Message.REPLACE, held=entries, scope=Scope.ALL)
    assert verdict.usages == SIGNS
    assert {(item.key, item.usages) for item in verdict.retire} == {(1, SIGNS), (2, ENCIPHERS), (3, TLS_USAGES)}
    assert decide("CA03", held=entries, scope=Scope.ALL).retire == decide("CA03", held=entries).retire


def test_a_public_certificate_that_is_here_already_withdraws_nothing_in_the_bootstrap() -> None:
    entries = [held("CA01", 1, SIGNS), held("CA09", 2, ENCIPHERS)]
    repeated = decide("CA01", message=Message.REPLACE, held=entries, scope=Scope.ALL, session=BOOTSTRAP)
    refused(repeated, Rule.UNTRUSTED, "needs a session with authentication")
    assert decide("CA01", message=Message.REPLACE, held=entries[:1], scope=Scope.ALL, session=BOOTSTRAP).accepted


# --- the word of an operator


@pytest.mark.parametrize(
    ("verdict", "asked"),
    [
        (decide("CA02", held=[held("CA01")]), True),
        (decide("CA01"), True),
        (decide("CB06", trust=UNTRUSTED), True),
        (decide("CA01", held=[held("CA01")]), False),
        (decide("CA01", message=Message.REPLACE, held=[held("CA01")]), False),
        (decide("CA01", message=Message.REPLACE, held=[held("CA01"), held("CA02", 2)]), True),
        (decide("CA01", trust=REVOKED), False),
        (decide("CA01", mode=Mode.OFF), False),
    ],
)
def test_an_operator_is_asked_where_there_is_something_to_decide(verdict: Verdict, asked: bool) -> None:
    assert overrulable(verdict) is asked
    assert (verdict.rule in FINAL and not verdict.retire) is not asked


def test_an_operator_accepts_what_is_unknown_and_it_fills_the_empty_slots() -> None:
    verdict = decide("CA01", approval=Approval(), held=[held("CA09", 1, frozenset({Usage.ENCRYPTION}))])
    assert verdict.rule is Rule.APPROVED
    assert verdict.usages == ALL - {Usage.ENCRYPTION}
    assert verdict.text.startswith("accepted by an administrator; takes ")
    assert verdict.retire == ()


def test_an_operator_accepts_what_is_not_trusted() -> None:
    assert decide("CB06", trust=UNTRUSTED, approval=Approval()).accepted


def test_an_operator_accepts_a_renewal_into_the_slots_of_its_predecessor() -> None:
    verdict = decide("CA02", approval=Approval(), held=[held("CA01", 1, SIGNS)], trust=UNTRUSTED)
    assert (verdict.rule, verdict.usages) == (Rule.APPROVED, SIGNS)
    assert verdict.predecessor is not None
    assert "replaces the certificate with serial" in verdict.text
    assert verdict.retire == (Retirement(key=1, usages=SIGNS, place=Place.PREVIOUS),)


def test_an_operator_says_for_what_it_is_taken_and_it_displaces_what_serves_that() -> None:
    entries = [held("CA01", 1, ALL)]
    verdict = decide("CA04", approval=Approval(usages=SIGNS), held=entries)
    assert verdict.usages == SIGNS
    assert verdict.retire == (Retirement(key=1, usages=SIGNS, place=Place.PREVIOUS),)
    refused(decide("CA05", approval=Approval(usages=ENCIPHERS)), Rule.USAGES)


def test_an_operator_must_say_for_what_where_everything_is_occupied() -> None:
    refused(decide("CA04", approval=Approval(), held=[held("CA01")]), Rule.OCCUPIED, "say for which usages")
    nothing = replace(facts_of("CA01"), key_usage=frozenset({"keyCertSign"}))
    refused(decide(nothing, approval=Approval()), Rule.USAGES)


def test_an_operator_takes_another_certificate_for_the_one_that_was_announced() -> None:
    expected = [announced(7, SIGNS, common_name="other.test")]
    verdict = decide("CA01", approval=Approval(), announced=expected)
    assert (verdict.usages, verdict.announcement) == (SIGNS, 7)
    assert decide("CA01", approval=Approval(usages=ENCIPHERS), announced=expected).announcement is None
    two = [*expected, announced(8, ENCIPHERS, common_name="more.test")]
    verdict = decide("CA01", approval=Approval(), announced=two)
    assert (verdict.usages, verdict.announcement) == (ALL, None)


def test_an_operator_does_not_accept_what_cannot_be_used_or_is_here_already() -> None:
    refused(decide("CA01", approval=Approval(usages=ALL), trust=REVOKED), Rule.BARRED)
    refused(decide("CA01", approval=Approval(), minutes=60 * 24 * 4000), Rule.PERIOD)
    refused(decide("CA01", approval=Approval(), held=[held("CA01", place=Place.WITHDRAWN)]), Rule.WITHDRAWN)
    assert decide("CA01", approval=Approval(), held=[held("CA01")]).rule is Rule.DUPLICATE


def test_an_operator_gives_a_known_certificate_more_usages() -> None:
    verdict = decide("CA01", approval=Approval(usages=ALL), held=[held("CA01", 1, SIGNS), held("CA09", 2, ENCIPHERS)])
    assert verdict.usages == ALL
    assert verdict.retire == (Retirement(key=2, usages=ENCIPHERS, place=Place.PREVIOUS),)


def test_an_operator_refuses_with_words_of_its_own_or_without() -> None:
    refused(rejected(), Rule.REJECTED, "refused by an administrator")
    refused(rejected("call us first"), Rule.REJECTED, "call us first")
    refused(crowded(20), Rule.CROWDED, "20 certificates of yours wait")
    refused(repeated(), Rule.CROWDED, "this certificate waits for an administrator already")
