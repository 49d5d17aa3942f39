"""Where the exchange with a partner stands, out of what the ledger says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oftp2.certs.acceptance import Rule
from oftp2.certs.usages import FILE_USAGES, TLS_USAGES, Usage
from oftp2d.ledger import (
    AcxMode,
    Announcement,
    Confirmation,
    Direction,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Holder,
    Ledger,
    NewPartner,
    Partner,
    Slot,
    Station,
    StoredCertificate,
    Transport,
)
from oftp2d.ledger import Authentication as Setting
from oftp2d.standing import Known, Offered, Place, Stage, Standing, standing

NOW = datetime(2026, 6, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
OURS, THEIRS = "O0013000001OURS", "O0013000002THEIRS"
ALL = frozenset(Usage)


@pytest.fixture
def partner(tmp_path: Path) -> Partner:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    try:
        ledger.stations.add(Station(code=OURS, name="", main=True))
        new = NewPartner(code=THEIRS, name="", station=OURS, transport=Transport.TLS, acx=AcxMode.ANNOUNCED)
        return ledger.partners.add(new, NOW)
    finally:
        ledger.close()


def certificate(alias: str, **changes: Any) -> StoredCertificate:
    usual: dict[str, Any] = {
        "id": 1,
        "fingerprint": alias * 8,
        "der": b"",
        "holder": Holder.PARTNER,
        "station": THEIRS,
        "alias": alias,
        "usages": ALL,
        "valid_from": NOW - YEAR,
        "valid_until": NOW + YEAR,
        "added_at": NOW,
    }
    return StoredCertificate(**(usual | changes))


def own(alias: str, **changes: Any) -> StoredCertificate:
    return certificate(alias, **({"holder": Holder.OWN, "station": OURS} | changes))


def message(entry: StoredCertificate, state: ExchangeState, **changes: Any) -> ExchangeRecord:
    usual: dict[str, Any] = {
        "id": 1,
        "partner_id": 1,
        "direction": Direction.OUT,
        "message": ExchangeMessage.DELIVER,
        "transfer_id": "T",
        "fingerprint": entry.fingerprint,
        "state": state,
        "created_at": NOW,
        "answered_at": NOW,
    }
    return ExchangeRecord(**(usual | changes))


def told(partner: Partner, **known: Any) -> Standing:
    parts = ("theirs", "ours", "announcements", "confirmations", "unanswered", "held")
    usual: dict[str, Any] = {**dict.fromkeys(parts, ()), "offers": {}}
    return standing(Known(partner=partner, **(usual | known)), NOW)


def stages(account: Standing, station: str = THEIRS) -> dict[Usage, Stage]:
    return {place.usage: place.stage for place in account.places if place.station == station}


def test_of_a_stranger_nothing_is_known_and_the_account_says_what_to_do_first(partner: Partner) -> None:
    account = told(partner)
    assert set(stages(account).values()) == {Stage.NONE}
    assert [wait.on for wait in account.waits] == ["you", "you"]
    assert f"'oftp2d exchange request {THEIRS}'" in account.waits[0].text
    assert f"'oftp2d cert announce {THEIRS} --cn NAME'" in account.waits[1].text
    assert told(replace(partner, acx=AcxMode.OFF)).waits == ()
    assert len(told(replace(partner, acx=AcxMode.TRUSTED)).waits) == 1


def test_each_usage_has_a_stage_of_its_own(partner: Partner) -> None:
    announcement = Announcement(
        id=3, partner_id=1, common_name="b.test", usages=TLS_USAGES, created_at=NOW, fulfilled_by=None
    )
    account = told(
        partner,
        theirs=[
            certificate("new", usages=frozenset({Usage.SIGNATURE, Usage.ENCRYPTION})),
            certificate("old", usages=frozenset({Usage.SIGNATURE}), slot=Slot.PREVIOUS),
            certificate("gone", usages=frozenset({Usage.AUTHENTICATION}), valid_until=NOW - YEAR / 2),
            certificate("recalled", usages=frozenset({Usage.EERP_SIGNATURE}), slot=Slot.WITHDRAWN),
        ],
        announcements=[announcement],
    )
    assert stages(account) == {
        Usage.SIGNATURE: Stage.ROLLING,
        Usage.ENCRYPTION: Stage.ACTIVE,
        Usage.EERP_SIGNATURE: Stage.NONE,
        Usage.AUTHENTICATION: Stage.NONE,
        Usage.TLS_SERVER: Stage.ANNOUNCED,
        Usage.TLS_CLIENT: Stage.ANNOUNCED,
    }
    assert account.places[0] == Place(
        station=THEIRS,
        usage=Usage.SIGNATURE,
        stage=Stage.ROLLING,
        alias="new",
        fingerprint="new" * 8,
        until=NOW + YEAR,
        former="old",
    )
    (wait,) = [each for each in account.waits if each.on == THEIRS]
    assert wait.text.startswith("its certificate 'b.test', which is announced")


def test_a_sub_station_of_theirs_is_told_apart(partner: Partner) -> None:
    plant = "O0013000002PLANT"
    account = told(partner, theirs=[certificate("plant", station=plant, usages=FILE_USAGES)])
    assert set(stages(account).values()) == {Stage.NONE}
    assert stages(account, plant)[Usage.SIGNATURE] is Stage.ACTIVE


def test_of_ours_it_is_told_what_the_partner_did_with_it(partner: Partner) -> None:
    entries = [own(alias) for alias in ("kept", "sent", "queued", "refused", "quiet")]
    kept, sent, queued, refused, _ = entries
    account = told(
        partner,
        ours=[*entries, own("off", active=False), own("ended", valid_until=NOW - YEAR / 2), own("other", station="X")],
        confirmations=[Confirmation(partner_id=1, fingerprint=kept.fingerprint, how="EERP", confirmed_at=NOW)],
        offers={
            refused.fingerprint: message(refused, ExchangeState.REFUSED, text="no"),
            queued.fingerprint: message(queued, ExchangeState.QUEUED),
            sent.fingerprint: message(sent, ExchangeState.SENT),
        },
    )
    assert {each.alias: each.state for each in account.ours} == {
        "kept": Offered.CONFIRMED,
        "sent": Offered.SENT,
        "queued": Offered.QUEUED,
        "refused": Offered.REFUSED,
        "quiet": Offered.NOT_OFFERED,
    }
    told_by = {each.alias: each.how for each in account.ours}
    assert (told_by["kept"], told_by["refused"]) == ("EERP", "no")
    assert any("it refused our certificate refused (no)" in wait.text for wait in account.waits)


def test_what_is_held_waits_for_you(partner: Partner) -> None:
    held = message(certificate("theirs"), ExchangeState.HELD, id=12, direction=Direction.IN, answered_at=None)
    account = told(partner, held=[held])
    assert account.waits[0].on == "you"
    assert "'oftp2d exchange accept 12' or 'oftp2d exchange reject 12'" in account.waits[0].text
    assert account.waits[0].since == NOW


def test_a_certificate_that_was_refused_waits_for_you_and_is_not_asked_for_again_before(partner: Partner) -> None:
    announced = Announcement(id=3, partner_id=1, common_name="b.test", usages=ALL, created_at=NOW, fulfilled_by=None)
    refused = message(certificate("theirs"), ExchangeState.REFUSED, id=4, direction=Direction.IN)

    def waits(came: ExchangeRecord, *held: ExchangeRecord) -> list[str]:
        said = told(partner, ours=[own("ours")], announcements=[announced], came=came, held=held).waits
        return [wait.text for wait in said if "no certificate of ours" not in wait.text]

    (text,) = waits(refused)
    assert text.startswith("the certificate it brought was refused: 'oftp2d exchange show 4' says why")
    assert f"'oftp2d exchange request {THEIRS}'" in text
    held = message(certificate("theirs"), ExchangeState.HELD, id=5, direction=Direction.IN)
    (text,) = waits(held, held)
    assert text.startswith("your word on the certificate it brought")
    assert waits(replace(held, state=ExchangeState.ACCEPTED))[0].startswith("its certificate 'b.test'")
    assert waits(replace(refused, rule=Rule.REJECTED.value)) == [], "that was your word"


def test_a_certificate_that_counts_no_more_is_barred_and_the_way_to_another_one_is_told(partner: Partner) -> None:
    revoked, older = certificate("new", id=7), certificate("old", id=8, slot=Slot.PREVIOUS)
    account = told(partner, theirs=[revoked, older], barred={7: "revoked on 2026-05-30", 8: "revoked on 2026-05-30"})
    assert {(place.stage, place.alias, place.former) for place in account.places} == {(Stage.BARRED, "new", None)}
    (text,) = [wait.text for wait in account.waits if "used for nothing" in wait.text]
    assert "new is used for nothing, revoked on 2026-05-30" in text
    assert f"'oftp2d cert import FILE --partner {THEIRS}', or 'oftp2d exchange request {THEIRS}'" in text
    authenticated = replace(partner, authentication=Setting.ON)
    (text,) = [
        wait.text
        for wait in told(authenticated, theirs=[revoked], barred={7: "revoked on 2026-05-30"}).waits
        if "used for nothing" in wait.text
    ]
    assert "exchange request" not in text, "no session comes about without it"
    beside = told(
        partner, theirs=[revoked, certificate("good", id=9, valid_from=NOW - 2 * YEAR)], barred={7: "revoked"}
    )
    assert {place.alias for place in beside.places} == {"good"}


def test_of_ours_a_former_one_that_was_never_offered_is_not_told(partner: Partner) -> None:
    former, kept = own("former", slice_until=NOW), own("kept", slice_until=NOW)
    confirmed = Confirmation(partner_id=1, fingerprint=kept.fingerprint, how="EERP", confirmed_at=NOW)
    assert [each.alias for each in told(partner, ours=[former, kept], confirmations=[confirmed]).ours] == ["kept"]
