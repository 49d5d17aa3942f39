"""No secret of a credential set is anywhere but where it belongs: a whole station at the stand-in, searched after each event.

Searched are the log with all fields of its events, what the command line prints with and without --json, what the
administration answers, the metrics, the audit trail, the texts of exceptions, and all files in the home folder octet by octet,
the ledger with its write-ahead log among them; all but the exports, where the credential belongs.
"""

from __future__ import annotations

import base64
import io
import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from oftp2d import config
from oftp2d.daemon import Daemon
from oftp2d.errors import OperatorError
from oftp2d.ledger import CandidateState
from oftp2d.logs import LineObserver
from oftp2d.vault import Secret
from tests import pki
from tests.exchange.station import Station, station_a, watching
from tests.renewal.searching import Secrets
from tests.renewal.site import DUE, LIMITS, PASSWORD
from tests.renewal.test_nmvs_faults import ENDS
from tools.nmvs.faults import Fault
from tools.nmvs.standin import StandIn
from tools.nmvs.users import User

S = CandidateState
SET = "pharmacy-1"
WRONG = "Wrong-but-secret-2"
LAST = (Fault.OLD_CERTIFICATE, Fault.OTHER_USER)
"""Behind these a credential waits, and they come last."""


class Ears:
    """All that was logged: every field of every event, and the lines at the lowest level, as text and as JSON."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self._fields: list[str] = []
        self._lines = [
            LineObserver(self._stream, config.LogLevel.DEBUG, form)
            for form in (config.LogFormat.TEXT, config.LogFormat.JSON)
        ]

    def __call__(self, event: LogEvent) -> None:
        self._fields += [f"{key}={value!r} {value!s}" for key, value in event.items()] + [formatEvent(event)]
        if failure := event.get("log_failure"):
            self._fields.append(failure.getTraceback(detail="verbose"))
        for each in self._lines:
            each(event)

    @property
    def text(self) -> str:
        return "\n".join(self._fields) + self._stream.getvalue()


class Watched:
    """A station with the set, the stand-in it asks, and everything it said."""

    def __init__(self, station: Station, standin: StandIn, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
        self.station = station
        self.standin = standin
        self.ears = ears
        self.printed: list[str] = []
        self.secrets = Secrets()
        self._monkeypatch = monkeypatch

    async def cli(self, *arguments: str, told: str = "") -> int:
        """A command line, with and without --json where it only shows; ``told`` is on its standard input."""
        with self._monkeypatch.context() as patched:
            patched.setattr("sys.stdin", io.StringIO(told))
            code, text = await self.station.run(*arguments)
        self.printed.append(text)
        return code

    async def show(self, *names: str) -> None:
        """All that shows something of credential sets."""
        for name in names:
            for arguments in (("renew", "status", name), ("renew", "history", name)):
                await self.cli(*arguments)
                await self.cli(*arguments, "--json")
            self.printed.append(repr(await self.station.ask(f"/v1/credential-sets/{name}")))
        for arguments in (("renew", "status"), ("renew", "plan"), ("status",), ("audit",), ("check",)):
            await self.cli(*arguments)
            await self.cli(*arguments, "--json")
        running = self.station.running
        metrics = await self.station.db(running.metrics.text, running.context.now())
        self.printed.append(metrics.decode())
        self.printed.append(repr([await running.renewer.standings(), running.renewer.definitions, running.context]))
        self.printed.append(repr(await self.station.audit()))

    def user(self, user: User) -> None:
        """What a user has that nobody may see."""
        self.secrets.text("a password", user.password)
        for issue in user.issues:
            self.secrets.text("a passphrase", issue.secret)
            self.secrets.octets("a container", issue.container)
            self.secrets.key("a private key", issue.pair.key)

    def define(self, *names: str) -> None:
        """Credential sets, and the profile of the stand-in."""
        folder = self.station.home / "renewal"
        (folder / "profiles").mkdir(parents=True, exist_ok=True)
        profile = self.standin.profile_path.read_text(encoding="utf-8")
        (folder / "profiles" / "standin.toml").write_text(profile + LIMITS, encoding="utf-8")
        for name in names:
            (folder / f"{name}.toml").write_text(
                f'[[set]]\nname = "{name}"\nplugin = "nmvs"\nauto_renew = false\n[set.export]\nfolder = "exported/{name}"\n'
                f'[set.nmvs]\nprofile = "standin"\nclient_login_id = "{name.upper()}"\nuser_id = "machine"\n'
                'password = "store"\n',
                encoding="utf-8",
            )

    async def holds(self, name: str) -> User:
        """A user with a certificate whose successor is due, brought in by the command line."""
        clock = self.standin.clock
        now = clock.now()
        clock.set(now - DUE)
        found = self.standin.enrol(name.upper(), "machine", PASSWORD)
        clock.set(now)
        self.define(name)
        await self.cli("renew", "plan")
        assert await self.cli("renew", "secret", name, "password", "--stdin", told=f"{PASSWORD}\n") == 0
        options = ("--passphrase-file", str(found.passphrase_path))
        assert await self.cli("renew", "import", name, str(found.container_path), *options) == 0
        return found.user

    def leaks(self) -> list[str]:
        """Every secret that is where it must not be."""
        printed = "\n".join(self.printed)
        # What is searched is what it should be: the set is told of everywhere, and the ledger has not been closed.
        assert all(SET in each for each in (self.ears.text, printed))
        assert list(self.station.home.rglob("*-wal"))
        return sorted(
            {
                *self.secrets.found("the log", self.ears.text),
                *self.secrets.found("what was printed", printed),
                *self.secrets.in_files(self.station.home, but=("exported",)),
            }
        )


@pytest_twisted.async_yield_fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    ears = Ears()
    globalLogPublisher.addObserver(ears)
    standin = StandIn(reactor, tmp_path / "standin", now=pki.NOW, new_key=pki.new_key)
    await standin.start()
    with watching():
        station = station_a(tmp_path)
        daemon = Daemon(reactor, station.config, clock=standin.clock.now)
        await daemon.start()
        station.daemon = daemon
        yield Watched(station, standin, ears, monkeypatch)
        await station.stop()
    await standin.stop()
    globalLogPublisher.removeObserver(ears)


def test_the_search_finds_a_secret_however_it_is_written(tmp_path: Path) -> None:
    secrets, key = Secrets(), pki.new_key()
    secrets.text("the word", "A&b<\"c'>d e")
    secrets.key("the key", key)
    secrets.octets("the box", bytes(range(256)) * 3)
    for number, needle in enumerate(secrets.needles):
        (tmp_path / str(number)).write_bytes(b"before" + needle + b"behind")
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "key").write_bytes(b"".join(secrets.needles))
    found = list(secrets.in_files(tmp_path, but=("exports",)))

    assert {each.rpartition(" is in ")[2] for each in found} == {str(each) for each in range(len(secrets.needles))}
    shifted = [b"x" * shift + bytes(range(256)) * 3 for shift in range(3)]
    assert all(list(secrets.found("it", base64.b64encode(each))) for each in shifted)
    assert list(secrets.found("it", pki.make(key=key).key_pem))
    assert not list(secrets.found("it", pki.make(key=key).pem))


@pytest_twisted.ensureDeferred
async def test_a_renewal_by_the_command_line_with_its_certificate_and_by_tan(watched: Watched) -> None:
    user = await watched.holds(SET)
    assert await watched.cli("renew", "run", SET) == 0
    watched.standin.enrol("PHARMACY-2", "machine", PASSWORD, certificate=False)
    watched.define("pharmacy-2")
    await watched.cli("renew", "plan")
    assert await watched.cli("renew", "secret", "pharmacy-2", "--stdin", "--json", told=f"{PASSWORD}\n") == 0
    wrong, tan = "WRONG-ONE-TIME-NUMBER", watched.standin.tan("PHARMACY-2", "machine")
    assert await watched.cli("renew", "run", "pharmacy-2", "--tan-stdin", told=f"{wrong}\n") == 5
    await watched.show("pharmacy-2")
    await watched.cli("renew", "unblock", "pharmacy-2")
    assert await watched.cli("renew", "run", "pharmacy-2", "--tan-stdin", "--json", told=f"{tan}\n") == 0
    assert await watched.cli("renew", "rollback", SET, "--yes") == 0
    await watched.cli("renew", "probe", SET)
    await watched.show(SET, "pharmacy-2")
    second = watched.standin.users.get("PHARMACY-2", "machine")
    assert second
    assert [len(user.issues), len(second.issues)] == [2, 1]
    watched.user(user)
    watched.user(second)
    for each in (wrong, tan):
        watched.secrets.text("a TAN", each)

    assert watched.leaks() == []


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_a_changed_one_and_one_of_which_nobody_knows(watched: Watched) -> None:
    user = await watched.holds(SET)
    assert await watched.cli("renew", "secret", SET, "--stdin", told=f"{WRONG}\n") == 0
    assert await watched.cli("renew", "run", SET, "--json") == 5
    await watched.show(SET)
    assert await watched.cli("renew", "secret", SET, "--stdin", told=f"{PASSWORD}\n") == 0
    definition = watched.station.home / "renewal" / f"{SET}.toml"
    definition.write_text(definition.read_text() + "password_rotation = true\n")
    renewer = watched.station.running.renewer
    await renewer.reload()
    passwords = {WRONG, PASSWORD}
    assert (await renewer.run(SET)).record.verdict == "fetched"
    for lost in (False, True):
        if lost:
            watched.standin.faults.on(Fault.CUT_OFF, calls=1, process="G445")
        # It counts for 90 days, and is changed 14 days before its end.
        watched.standin.clock.advance(timedelta(days=77))
        await renewer.run_due()
        passwords.add(user.password)
    await watched.show(SET)
    watched.user(user)
    for each in passwords:
        watched.secrets.text("a password", each)
    record = (await renewer.standing(SET)).record

    assert len(passwords) == 4
    assert watched.leaks() == []
    assert record.blocked


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_every_fault_of_the_server(watched: Watched) -> None:
    user = await watched.holds(SET)
    faults = [each for each in ENDS if each not in LAST] + list(LAST)
    for fault in faults:
        watched.define()
        if fault is Fault.HANG:
            profile = watched.station.home / "renewal" / "profiles" / "standin.toml"
            profile.write_text(profile.read_text().replace("total_seconds = 20", "total_seconds = 1"))
        watched.standin.faults.on(fault, calls=1, process="G615")
        assert await watched.cli("renew", "run", SET, *(["--json"] if faults.index(fault) % 2 else [])) in {1, 5, 6}
        assert watched.standin.faults.all() == []
    await watched.show(SET)
    watched.user(user)
    states = {each.state for each in await watched.station.running.renewer.candidates(SET)}

    assert {S.UNREADABLE, S.REFUSED, S.EMPTY} <= states
    assert len(user.issues) == 2
    assert watched.leaks() == []


@pytest_twisted.ensureDeferred
async def test_exceptions(watched: Watched) -> None:
    user = await watched.holds(SET)
    renewer = watched.station.running.renewer
    tan = watched.standin.tan("PHARMACY-1", "machine")
    issue = user.issues[0]
    # A profile without the address for a TAN, a passphrase that does not fit, a content that is none.
    profile = watched.station.home / "renewal" / "profiles" / "standin.toml"
    calls: list[Any] = [
        lambda: renewer.bring(SET, Secret(issue.container), Secret(b"not-the-passphrase")),
        lambda: renewer.bring(SET, Secret(issue.secret.encode()), Secret(issue.secret.encode())),
        lambda: renewer.bring(SET, Secret(issue.container), Secret(issue.secret.encode())),
        lambda: renewer.keep_secret(SET, "nothing", Secret(WRONG)),
        lambda: renewer.keep_secret("nobody", "password", Secret(WRONG)),
        lambda: renewer.run("nobody", tan=Secret(tan)),
        lambda: renewer.keep_secret(SET, "password", Secret(WRONG * 10_000)),
    ]
    told = []
    for call in calls:
        with pytest.raises(OperatorError) as raised:
            await call()
        told += [str(raised.value), repr(raised.value), *traceback.format_exception(raised.value)]
        told += list(_locals(raised.tb))
    profile.write_text(profile.read_text().replace("[tan]\nurl", "[tan]\n# url"))
    standing = await renewer.run(SET, tan=Secret(tan))
    told.append(repr(standing))
    watched.printed += told
    watched.user(user)
    watched.secrets.text("a password", WRONG)
    watched.secrets.text("a passphrase", "not-the-passphrase")
    watched.secrets.text("a TAN", tan)

    assert standing.record.verdict == "fatal"
    assert watched.leaks() == []


_OURS = tuple(f"oftp2d/renewal/{name}.py" for name in ("renewer", "hands", "course", "attempts"))


def _locals(trace: Any) -> Iterator[str]:
    """What is shown of the variables of the station's own frames, as a report of a crash would do."""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(_OURS):
            yield repr(trace.tb_frame.f_locals)
        trace = trace.tb_next
