"""Telling consumers, where the end of the station comes in between."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from oftp2d.ledger import TellingState
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.material import Material
from oftp2d.renewal.processes import run, surrounding
from oftp2d.renewal.renewer import PATIENCE
from oftp2d.renewal.rules import Problem
from oftp2d.renewal.telling import Activation
from oftp2d.vault import Secret
from tests.oftp2d.renewal.engine import NAME, PASSPHRASE, Home, contained, issue

TOO_LONG = "hook took too long; see what keeps it waiting"


class Endless:
    """A consumer that runs a program which does not end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def problems(self, definition: CredentialSet, new: Material) -> list[Problem]:  # noqa: ARG002
        return []

    async def tell(self, consumer: str, telling: Activation) -> str:  # noqa: ARG002
        code = "import os, time; open('new', 'w').write(str(os.getpid())); os.rename('new', 'pid'); time.sleep(1000)"
        await run(
            reactor,
            [sys.executable, "-c", code],
            environment=surrounding(self._folder),
            folder=self._folder,
            seconds=3600,
            most=100,
        )
        return "it knows"


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_station_kills_a_program_that_takes_too_long_and_it_is_run_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.define(hook='command = ["/bin/true"]')
    async with home.engine(consumers=Endless(tmp_path)) as engine:
        bringing = Deferred.fromCoroutine(
            engine.renewer.bring(NAME, Secret(contained(issue(home))), Secret(PASSPHRASE))
        )
        while not (tmp_path / "pid").exists():
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]  # the module stands for the reactor

        async def hurry() -> None:
            while not engine.renewer._stopping:
                await deferLater(reactor, 0.01)  # type: ignore[arg-type]  # as above
            home.time.timers.advance(PATIENCE.total_seconds())

        hurrying = Deferred.fromCoroutine(hurry())
    await hurrying
    await bringing
    pid = int((tmp_path / "pid").read_text())
    while lives(pid):
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]  # as above
    async with home.engine(start=False) as engine:
        (telling,) = await engine.context.workers.database(engine.ledger.tellings.list, NAME)
        assert (telling.consumer, telling.state, telling.text) == ("hook", TellingState.FAILED, TOO_LONG)
        assert telling.next_at is not None
        home.time.go(telling.next_at - home.time.now)
        await engine.renewer.start()
        await engine.quiet()
        (telling,) = await engine.context.workers.database(engine.ledger.tellings.list, NAME)
        assert telling.state is TellingState.DONE
    assert [event[0] for event in home.told.events] == ["hook"]
