"""Work that is done together while it gathers."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from oftp2d.gathering import Gathering


@pytest_twisted.ensureDeferred
async def test_what_comes_while_some_is_done_is_done_together_next() -> None:
    done: list[list[int]] = []
    gates: list[Deferred[None]] = []

    async def act(items: list[int]) -> None:
        gates.append(Deferred())
        await gates[-1]
        done.append(items)

    gathering = Gathering(act)
    for number in range(4):
        gathering.add(number)
    settled = Deferred.fromCoroutine(gathering.settle())
    assert len(gates) == 1
    gates[0].callback(None)
    assert not settled.called
    gates[1].callback(None)
    await settled
    assert done == [[0], [1, 2, 3]]
    await gathering.settle()


@pytest_twisted.ensureDeferred
async def test_who_settles_or_adds_is_told_what_went_wrong() -> None:
    async def fail(_items: list[int]) -> None:
        raise RuntimeError("no disk")

    gathering = Gathering(fail)
    gathering.add(1)
    with pytest.raises(RuntimeError, match="no disk"):
        await gathering.settle()
    with pytest.raises(RuntimeError, match="no disk"):
        gathering.add(2)
