"""The machines of the protocol library's properties for longer than is worth while when what they run through is measured."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.oftp2.test_session_properties import Pair


@pytest.mark.slow
def test_a_pair_for_longer() -> None:
    run_state_machine_as_test(Pair, settings=settings(max_examples=1_000, stateful_step_count=60, derandomize=False))
