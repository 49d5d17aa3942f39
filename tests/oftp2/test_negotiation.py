from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2.commands import Ssid
from oftp2.negotiation import Capabilities, Disagreement, Terms, negotiate
from oftp2.reasons import EndSessionReason
from oftp2.values import Level, Mode

OURS = Capabilities(buffer_size=1_000, credit=10, compression=True, restart=True)
THEIRS = Ssid(code="X", password="Y", buffer_size=1_000, credit=10, compression=True, restart=True)

capabilities = st.builds(
    Capabilities,
    level=st.sampled_from(Level),
    mode=st.sampled_from(Mode),
    buffer_size=st.integers(128, 99_999),
    credit=st.integers(1, 999),
    compression=st.booleans(),
    restart=st.booleans(),
)
ssids = st.builds(
    Ssid,
    level=st.integers(0, 9),
    code=st.just("X"),
    password=st.just("Y"),
    buffer_size=st.integers(0, 99_999),
    mode=st.sampled_from(Mode),
    credit=st.integers(0, 999),
    compression=st.booleans(),
    restart=st.booleans(),
    special_logic=st.booleans(),
)


def as_ssid(ours: Capabilities, terms: Terms | None = None) -> Ssid:
    said = terms or ours
    return Ssid(
        level=said.level,
        code="X",
        password="Y",
        mode=said.mode,
        buffer_size=said.buffer_size,
        credit=said.credit,
        compression=said.compression,
        restart=said.restart,
    )


def disagreement(**theirs: object) -> Disagreement:
    outcome = negotiate(OURS, replace(THEIRS, **theirs))
    assert isinstance(outcome, Disagreement)
    return outcome


@pytest.mark.rfc("5.3.2")
def test_the_smaller_number_and_what_both_can_do_hold() -> None:
    theirs = replace(THEIRS, buffer_size=128, credit=999, compression=False)
    assert negotiate(OURS, theirs) == Terms(
        level=Level.REVISION_2_0, mode=Mode.BOTH, buffer_size=128, credit=10, compression=False, restart=True
    )


@pytest.mark.rfc("5.3.2")
@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (Mode.BOTH, Mode.BOTH, Mode.BOTH),
        (Mode.BOTH, Mode.SENDER, Mode.RECEIVER),
        (Mode.BOTH, Mode.RECEIVER, Mode.SENDER),
        (Mode.SENDER, Mode.BOTH, Mode.SENDER),
        (Mode.RECEIVER, Mode.BOTH, Mode.RECEIVER),
        (Mode.SENDER, Mode.RECEIVER, Mode.SENDER),
        (Mode.RECEIVER, Mode.SENDER, Mode.RECEIVER),
        (Mode.SENDER, Mode.SENDER, None),
        (Mode.RECEIVER, Mode.RECEIVER, None),
    ],
)
def test_one_sends_what_the_other_receives(ours: Mode, theirs: Mode, agreed: Mode | None) -> None:
    outcome = negotiate(replace(OURS, mode=ours), replace(THEIRS, mode=theirs))
    if agreed is None:
        assert isinstance(outcome, Disagreement)
        assert outcome.reason is EndSessionReason.INCOMPATIBLE
        assert ("send" if ours is Mode.SENDER else "receive") in outcome.text
    else:
        assert isinstance(outcome, Terms)
        assert outcome.mode is agreed


@pytest.mark.rfc("5.3.2")
@pytest.mark.interop(6)
@pytest.mark.parametrize("level", [0, 3])
def test_a_level_that_does_not_exist_is_incompatible(level: int) -> None:
    assert disagreement(level=level) == Disagreement(
        reason=EndSessionReason.INCOMPATIBLE, text=f"release level {level} does not exist"
    )


@pytest.mark.rfc("5.3.2")
@pytest.mark.interop(6)
@pytest.mark.parametrize("theirs", Level)
@pytest.mark.parametrize("ours", Level)
def test_the_lower_level_is_spoken(ours: Level, theirs: Level) -> None:
    outcome = negotiate(replace(OURS, level=ours), replace(THEIRS, level=theirs))
    assert isinstance(outcome, Terms)
    assert outcome.level is min(ours, theirs)


@pytest.mark.parametrize("theirs", Level)
@pytest.mark.parametrize("lowest", Level)
def test_a_level_below_the_lowest_we_accept_is_incompatible(lowest: Level, theirs: Level) -> None:
    outcome = negotiate(replace(OURS, lowest_level=lowest), replace(THEIRS, level=theirs))
    if theirs >= lowest:
        assert isinstance(outcome, Terms)
    else:
        assert outcome == Disagreement(
            reason=EndSessionReason.INCOMPATIBLE,
            text=f"release level {theirs} is not enough here, level {lowest} is required",
        )


@pytest.mark.interop(6)
@pytest.mark.parametrize("level", [1, 2, 4])
def test_authentication_needs_level_5(level: int) -> None:
    outcome = negotiate(replace(OURS, authentication=True), replace(THEIRS, level=level))
    assert isinstance(outcome, Disagreement)
    assert outcome.reason is EndSessionReason.INCOMPATIBLE
    assert "level 5 is required" in outcome.text


@pytest.mark.parametrize("wrong", [{"authentication": True}, {"lowest_level": Level.REVISION_2_0}])
def test_capabilities_that_never_reach_their_lowest_level_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="level is 5 or more, not 4"):
        Capabilities(level=Level.REVISION_1_4, **wrong)


@pytest.mark.parametrize("level", [6, 7, 8, 9])
def test_a_later_level_comes_down_to_ours(level: int) -> None:
    outcome = negotiate(OURS, replace(THEIRS, level=level))
    assert isinstance(outcome, Terms)
    assert outcome.level is Level.REVISION_2_0


@pytest.mark.parametrize("buffer_size", [0, 1, 127])
def test_a_buffer_below_128_octets_is_invalid_data(buffer_size: int) -> None:
    outcome = disagreement(buffer_size=buffer_size)
    assert outcome.reason is EndSessionReason.INVALID_DATA
    assert "SSIDSDEB" in outcome.text


def test_no_credit_is_invalid_data() -> None:
    outcome = disagreement(credit=0)
    assert outcome.reason is EndSessionReason.INVALID_DATA
    assert "SSIDCRED" in outcome.text


@given(capabilities, ssids)
def test_there_are_terms_or_a_reason(ours: Capabilities, theirs: Ssid) -> None:
    outcome = negotiate(ours, theirs)
    if isinstance(outcome, Disagreement):
        assert outcome.reason is not EndSessionReason.NORMAL
        assert outcome.text
    else:
        assert 128 <= outcome.buffer_size <= min(ours.buffer_size, theirs.buffer_size)
        assert 1 <= outcome.credit <= min(ours.credit, theirs.credit)


@pytest.mark.rfc("5.3.2", "9.6")
@given(capabilities, capabilities)
def test_both_sides_agree_on_the_same(initiator: Capabilities, responder: Capabilities) -> None:
    there = negotiate(responder, as_ssid(initiator))
    if isinstance(there, Disagreement):
        return
    here = negotiate(initiator, as_ssid(responder, there))
    assert isinstance(here, Terms)
    opposite = {Mode.SENDER: Mode.RECEIVER, Mode.RECEIVER: Mode.SENDER, Mode.BOTH: Mode.BOTH}
    assert replace(here, mode=opposite[here.mode]) == there


@pytest.mark.rfc("5.3.2", "9.7")
@pytest.mark.parametrize("wrong", [{"buffer_size": 127}, {"buffer_size": 100_000}, {"credit": 0}, {"credit": 1_000}])
def test_capabilities_outside_the_range_of_the_rfc_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Capabilities(**wrong)
