"""Where partners stand in a renewal: each stage with since when, what happened and what there is to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oftp2d.ledger import (
    AcxMode,
    Confirmation,
    Direction,
    ExchangeMessage,
    ExchangeRecord,
    ExchangeState,
    Partner,
    RenewalPart,
    TransferState,
)
from oftp2d.uptake import Stage, names, progress, uptake

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
CODE = "O0013000002PART"


def partner(**settings: Any) -> Partner:
    usual: dict[str, Any] = {
        "id": 1, "code": CODE, "name": CODE, "station": "O0013000001TEST", "acx": AcxMode.KNOWN, "host": "127.0.0.1",
        "created_at": NOW, "last_call_at": None, "last_error": None, "last_reason": None, "next_call_at": None,
        "call_failures": 0,
    }  # fmt: skip
    return Partner(**usual | settings)


def part(state: ExchangeState | None = None, *, text: str = "", **more: Any) -> RenewalPart:
    """A partner whose message, if there is one, is in this state."""
    settings = more.pop("settings", {})
    message = state and ExchangeRecord(
        id=7,
        partner_id=1,
        direction=Direction.OUT,
        message=ExchangeMessage.DELIVER,
        transfer_id="T",
        state=state,
        text=text,
        created_at=NOW - timedelta(days=2),
        answered_at=NOW - timedelta(days=1) if state is ExchangeState.REFUSED else None,
    )
    return RenewalPart(partner=partner(**settings), message=message, **more)


def confirmed(how: str) -> Confirmation:
    return Confirmation(partner_id=1, fingerprint="ab" * 32, how=how, confirmed_at=NOW)


DELIVER = f"oftp2d exchange deliver {CODE} --certificate new"
STANDS = [
    (part(), Stage.WAITING, "it will be offered", ""),
    (part(ExchangeState.QUEUED, transfer=TransferState.QUEUED), Stage.OFFERED, "with the next session", ""),
    (part(ExchangeState.QUEUED, settings={"host": None}), Stage.OFFERED, "when the partner calls", ""),
    (part(ExchangeState.QUEUED, settings={"wait_for_calls": True}), Stage.OFFERED, "when the partner calls", ""),
    (
        part(ExchangeState.QUEUED, settings={"call_failures": 2, "last_error": "refused"}),
        Stage.OUT_OF_REACH,
        "refused",
        f"oftp2d partner test {CODE}",
    ),
    (
        part(ExchangeState.QUEUED, settings={"call_failures": 2}),
        Stage.OUT_OF_REACH,
        "calls fail",
        f"oftp2d partner test {CODE}",
    ),
    (part(ExchangeState.SENT, transfer=TransferState.SENT, sent_at=NOW), Stage.SENT, "EERP is awaited", ""),
    (part(ExchangeState.REFUSED, text="not trusted"), Stage.REFUSED, "not trusted", DELIVER),
    (part(ExchangeState.REFUSED), Stage.REFUSED, "without a reason", DELIVER),
    (part(ExchangeState.QUEUED, transfer=TransferState.FAILED, trouble="SFNA 03"), Stage.FAILED, "SFNA 03", DELIVER),
    (part(ExchangeState.QUEUED, transfer=TransferState.CANCELLED), Stage.FAILED, "was cancelled", DELIVER),
    (
        part(settings={"acx": AcxMode.OFF}),
        Stage.BY_HAND,
        "exchange is off for it",
        f"oftp2d cert confirm {CODE} new",
    ),
    (part(settings={"level": 4}), Stage.BY_HAND, "OFTP level 4", f"oftp2d cert confirm {CODE} new"),
    (part(ExchangeState.SENT, settings={"active": False}), Stage.INACTIVE, "switched off", DELIVER),
    (part(ExchangeState.REFUSED, confirmation=confirmed("EERP")), Stage.CONFIRMED, "its EERP", ""),
    (part(confirmation=confirmed("manual"), settings={"active": False}), Stage.CONFIRMED, "by hand", ""),
]


@pytest.mark.parametrize(("given", "stage", "text", "advice"), STANDS)
def test_each_stage_says_what_happened_and_what_to_do(given: RenewalPart, stage: Stage, text: str, advice: str) -> None:
    found = uptake(given, "new")
    assert found.stage is stage
    assert text in found.text
    assert found.advice.endswith(advice)
    assert bool(found.advice) is bool(advice)


def test_every_stage_is_reached() -> None:
    assert {stage for _, stage, _, _ in STANDS} == set(Stage)


def test_those_who_need_a_hand_stand_first_and_those_who_do_not_count_are_not_missing() -> None:
    found = progress([given for given, *_ in STANDS], "new one")
    assert [each.stage for each in found.uptakes] == sorted(
        (each.stage for each in found.uptakes), key=list(Stage).index
    )
    assert len(found.missing) == len(STANDS) - 3
    assert [each.stage for each in found.to_offer] == [Stage.WAITING]
    assert found.counts[Stage.REFUSED] == 2
    assert not found.complete
    assert progress([part(confirmation=confirmed("EERP")), part(settings={"active": False})], "new").complete
    assert found.uptakes[0].advice.endswith("--certificate 'new one'"), "as a shell takes it"


def test_the_first_are_named_and_the_others_counted() -> None:
    found = [uptake(part(settings={"code": f"O001300000{number}"}), "new") for number in range(5)]
    assert names(found[:2]) == "O0013000000, O0013000001"
    assert names(found) == "O0013000000, O0013000001, O0013000002 and 2 more"
