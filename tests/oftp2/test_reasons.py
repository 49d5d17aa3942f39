from __future__ import annotations

import re

import pytest

from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason, Reason
from tests.oftp2 import rfc5024

KINDS: list[tuple[type[Reason], str, str]] = [
    (EndSessionReason, "5.3.11", "5.3.12"),
    (AnswerReason, "5.3.10", "5.3.11"),
    (NegativeResponseReason, "5.3.14", "5.3.15"),
]


@pytest.mark.parametrize("kind", [kind for kind, _, _ in KINDS])
def test_a_code_that_is_not_listed_is_unspecified(kind: type[Reason]) -> None:
    listed = {member.value for member in kind}
    for code in range(100):
        assert kind(code).value == (code if code in listed else 99)


@pytest.mark.parametrize("kind", [kind for kind, _, _ in KINDS])
@pytest.mark.parametrize("value", [-1, 100, "02", None, 1.5])
def test_what_is_no_code_of_two_digits_is_refused(kind: type[Reason], value: object) -> None:
    with pytest.raises(ValueError, match="not a valid"):
        kind(value)


def test_a_reason_is_shown_with_its_meaning() -> None:
    assert str(EndSessionReason.PROTOCOL_VIOLATION) == "02 (protocol violation)"
    assert EndSessionReason(4) is EndSessionReason.INVALID_PASSWORD
    assert f"{AnswerReason.DUPLICATE_FILE.value:02}" == "13"


@pytest.mark.skipif(not rfc5024.TEXT.exists(), reason=f"the text of RFC 5024 is not at {rfc5024.TEXT.parent}")
@pytest.mark.parametrize(("kind", "start", "end"), KINDS)
def test_the_codes_are_those_of_the_rfc(kind: type[Reason], start: str, end: str) -> None:
    text = rfc5024.TEXT.read_text(encoding="utf-8", errors="replace")
    section = text[text.rindex(f"\n{start}.  ") : text.rindex(f"\n{end}.  ")]
    assert {int(code) for code in re.findall(r"^ +(?:Value:? +)?'(\d\d)'", section, re.MULTILINE)} == {
        member.value for member in kind
    }
