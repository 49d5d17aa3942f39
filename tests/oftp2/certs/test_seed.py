"""The examples of the source of our selection rules, in its own words: systems are ILNs, parties e-mail addresses.

An ILN is a station's code and an e-mail address a party that owns one or more stations; the rules know nothing of OFTP.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from oftp2.certs.facts import CertificateFacts
from oftp2.certs.selection import (
    DECRYPTION,
    ENCRYPTION,
    SIGNING,
    VERIFICATION,
    Entry,
    Situation,
    select,
)
from oftp2.certs.usages import Usage
from tests import pki

NOW = pki.NOW
DAY = timedelta(days=1)
BASE = CertificateFacts.of(pki.certificate("CA01").der)

SYSTEM, OTHER_SYSTEM, SYSTEM_MAIL = "4012345000009", "4012345000016", "edi@system.example"
PARTNER, PARTNER_MAIL = "4054321000005", "edi@partner.example"
TWO_WEEKS = 14 * DAY


def key(
    name: str,
    alias: str,
    *,
    begins: float = -300,
    ends: float = 300,
    usage: Usage | None = None,
    active: bool = True,
    timeslice: tuple[float | None, float | None] = (None, None),
) -> Entry:
    facts = replace(BASE, fingerprint=name, not_before=NOW + begins * DAY, not_after=NOW + ends * DAY)
    from_, until = (None if days is None else NOW + days * DAY for days in timeslice)
    usages = frozenset(Usage) if usage is None else frozenset({usage})
    return Entry(facts=facts, usages=usages, alias=alias, active=active, slice_from=from_, slice_until=until)


def chosen(
    situation: Situation, *entries: Entry, iln: str, mail: str, days: float = 0, oldest: bool = False
) -> list[str]:
    found = select(situation, entries, station=iln, party=mail, now=NOW + days * DAY, oldest=oldest)
    return [entry.facts.fingerprint for entry in found.entries]


def test_inbound_decryption_tries_every_active_and_valid_key_whatever_its_alias_and_timeslice() -> None:
    keys = (
        key("of the system", SYSTEM),
        key("of the mail address", SYSTEM_MAIL),
        key("of another system", OTHER_SYSTEM),
        key("its timeslice is over", SYSTEM, timeslice=(None, -1)),
        key("only for signatures", SYSTEM, usage=Usage.SIGNATURE),
        key("inactive", SYSTEM, active=False),
        key("ended", SYSTEM, ends=-1),
    )
    tried = chosen(DECRYPTION, *keys, iln=SYSTEM, mail=SYSTEM_MAIL)
    assert set(tried) == {
        "of the system",
        "of the mail address",
        "of another system",
        "its timeslice is over",
        "only for signatures",
    }


@pytest.mark.parametrize(
    ("situation", "usage", "iln", "mail"),
    [(SIGNING, Usage.SIGNATURE, SYSTEM, SYSTEM_MAIL), (ENCRYPTION, Usage.ENCRYPTION, PARTNER, PARTNER_MAIL)],
    ids=["outbound signature", "outbound encryption"],
)
class TestOutbound:
    def test_the_alias_is_the_iln_or_the_mail_address(
        self, situation: Situation, usage: Usage, iln: str, mail: str
    ) -> None:
        foreign = key("of another", OTHER_SYSTEM, usage=usage)
        assert chosen(situation, key("iln", iln, usage=usage), foreign, iln=iln, mail=mail) == ["iln"]
        assert chosen(situation, key("mail", mail, usage=usage), foreign, iln=iln, mail=mail) == ["mail"]
        assert chosen(situation, foreign, iln=iln, mail=mail) == []

    def test_only_the_right_usage_will_do(self, situation: Situation, usage: Usage, iln: str, mail: str) -> None:
        wrong = key("wrong", iln, usage=next(iter(set(Usage) - {usage})))
        assert chosen(situation, wrong, iln=iln, mail=mail) == []

    def test_validity_and_timeslice_must_be_satisfied(
        self, situation: Situation, usage: Usage, iln: str, mail: str
    ) -> None:
        for unfit in (
            key("ended", iln, usage=usage, ends=-1),
            key("to come", iln, usage=usage, begins=1),
            key("its timeslice is over", iln, usage=usage, timeslice=(None, 0)),
            key("its timeslice is to come", iln, usage=usage, timeslice=(1, None)),
            key("inactive", iln, usage=usage, active=False),
        ):
            assert chosen(situation, unfit, iln=iln, mail=mail) == []

    def test_where_validity_and_timeslice_overlap_the_newer_is_used_or_by_the_setting_the_oldest(
        self, situation: Situation, usage: Usage, iln: str, mail: str
    ) -> None:
        both = key("older", iln, usage=usage, begins=-300), key("newer", iln, usage=usage, begins=-10)
        assert chosen(situation, *both, iln=iln, mail=mail) == ["newer"]
        assert chosen(situation, *both, iln=iln, mail=mail, oldest=True) == ["older"]


def test_inbound_signatures_are_verified_by_active_and_valid_ones_of_the_partner_without_regard_to_timeslices() -> None:
    certificates = (
        key("of the partner", PARTNER),
        key("of its mail address", PARTNER_MAIL),
        key("its timeslice is over", PARTNER, timeslice=(None, -1)),
        key("only for encryption", PARTNER, usage=Usage.ENCRYPTION),
        key("of a system", SYSTEM),
        key("inactive", PARTNER, active=False),
        key("ended", PARTNER, ends=-1),
    )
    assert set(chosen(VERIFICATION, *certificates, iln=PARTNER, mail=PARTNER_MAIL)) == {
        "of the partner",
        "of its mail address",
        "its timeslice is over",
    }


def test_best_practice_two_certificates_of_one_alias_overlap_two_weeks_with_gapless_timeslices() -> None:
    """The outbound choice switches at the planned instant; both are good for inbound during the whole overlap."""
    old = key("old", SYSTEM, begins=-351, ends=14, timeslice=(None, 7))
    new = key("new", SYSTEM, begins=0, ends=365, timeslice=(7, None))
    second = 1 / 86_400
    for days, signer in ((0.0, "old"), (7 - second, "old"), (7.0, "new"), (13.9, "new"), (100.0, "new")):
        assert chosen(SIGNING, old, new, iln=SYSTEM, mail=SYSTEM_MAIL, days=days) == [signer]
        inbound = chosen(DECRYPTION, old, new, iln=SYSTEM, mail=SYSTEM_MAIL, days=days)
        verifying = chosen(VERIFICATION, old, new, iln=SYSTEM, mail=SYSTEM_MAIL, days=days)
        expected = {"old", "new"} if days * DAY <= TWO_WEEKS else {"new"}
        assert set(inbound) == set(verifying) == expected
