"""Transcripts read, and those that a station has recorded replayed: ``fixtures/README.rst`` explains their lines.

A recorded one has no word of what the User Monitors asked: they asked for what the commands of their side need. What is
left out in it, ``xx``, becomes an octet of the replay's choice where a side reads, and may be any where a side writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from oftp2 import codec
from oftp2 import commands as c
from oftp2 import requests as r
from oftp2.buffers import COMPRESSED, COUNT, END_OF_RECORD, SUBRECORD
from oftp2.errors import LocalProtocolError
from oftp2.events import DataReceived
from oftp2.framing import HEADER_SIZE
from oftp2.negotiation import Capabilities
from oftp2.session import Session
from oftp2.values import Level, Role

_UNEVEN: Final = bytes(2 + number // 3 for number in range(SUBRECORD))
"""Repeats often enough to be worth compression, and nowhere long enough to be compressed."""

ROLES: Final = {"I": Role.INITIATOR, "R": Role.RESPONDER}
FILLER: Final = ord("x")
PATIENT: Final = 1e9
"""Seconds: a recorded session does not say how long its sides would have waited."""

_TIMES: Final = re.compile(r"\((?P<group>[^()]*)\)\*(?P<count>\d+)|(?P<octets>(?:xx|[0-9a-f]{2}))(?:\*(?P<times>\d+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a transcript, with the octets of those below it."""

    first: str
    others: list[str]
    octets: bytes
    shown: bytes
    """One for each octet: 1 if it is what it was, 0 if it was left out."""

    @property
    def command(self) -> int | None:
        """The octet that says which command it is."""
        return self.octets[HEADER_SIZE] if self.octets[HEADER_SIZE:] else None


def entries_of(path: Path) -> Iterator[Entry]:
    """The entries of a transcript; one that stands for several in a row comes so often."""
    head: list[str] = []
    digits = ""
    for line in [*path.read_text(encoding="utf-8").splitlines(), "end"]:
        words = line.partition("#")[0].rstrip()
        if words.startswith(" "):
            digits += words
        elif words:
            if head:
                yield from _entries(head, digits)
            head, digits = words.split(), ""


def _entries(head: list[str], digits: str) -> Iterator[Entry]:
    first, *others = head
    times = 1
    if others and others[-1].startswith("*"):
        times = int(others.pop()[1:])
    octets, shown = _octets(digits)
    for _ in range(times):
        yield Entry(first, others, octets, shown)


def _octets(digits: str) -> tuple[bytes, bytes]:
    """The octets, and which of them are shown."""
    octets, shown = bytearray(), bytearray()
    at = 0
    while digits[at:].strip():
        found = _TIMES.match(digits, at + len(digits[at:]) - len(digits[at:].lstrip()))
        assert found, digits[at:]
        at = found.end()
        if found["group"]:
            group, known = _octets(found["group"])
            octets += group * int(found["count"])
            shown += known * int(found["count"])
        else:
            times = int(found["times"] or 1)
            octets += (bytes([FILLER]) if found["octets"] == "xx" else bytes.fromhex(found["octets"])) * times
            shown += bytes([found["octets"] != "xx"]) * times
    return bytes(octets), bytes(shown)


@dataclass(frozen=True, slots=True)
class Content:
    """What a Data Exchange Buffer of a transcript holds, the left out octets filled in."""

    payload: bytes
    octets: bytes
    ends: tuple[int, ...]
    compressed: bool


def content_of(entry: Entry) -> Content:
    """A buffer with the subrecords that are shown; where not even those are, with long ones."""
    payload, shown = bytearray(entry.octets[HEADER_SIZE + 1 :]), entry.shown[HEADER_SIZE + 1 :]
    octets = bytearray()
    ends = []
    compressed = False
    at, repeated = 0, 0
    while at < len(payload):
        if not shown[at]:
            payload[at] = min(SUBRECORD, len(payload) - at - 1)
        header = payload[at]
        count = header & COUNT
        if header & COMPRESSED:
            compressed = True
            repeated ^= 1
            payload[at + 1] = repeated
            octets += bytes([repeated]) * count
            at += 2
        else:
            payload[at + 1 : at + 1 + count] = _UNEVEN[:count]
            octets += _UNEVEN[:count]
            at += 1 + count
        if header & END_OF_RECORD:
            ends.append(len(octets))
    return Content(bytes(payload), bytes(octets), tuple(ends), compressed)


class Replay:
    """One side of a recorded session, played by a session of ours."""

    def __init__(self, path: Path, side: str) -> None:
        self._side = side
        self._entries = list(entries_of(path))
        self._now = 0.0
        self._written = b""
        self._read = 0
        self._level = min(
            (
                Level.up_to(int(entry.octets[HEADER_SIZE + 1 : HEADER_SIZE + 2]))
                for entry in self._entries
                if entry.command == ord("X")
            ),
            default=max(Level),
        )
        self.session = self._session()

    def _session(self) -> Session:
        """A session that offers what its side offered."""
        for entry in self._entries:
            if entry.first == f"{self._side}>" and entry.command == ord("X"):
                said = codec.decode(entry.octets[HEADER_SIZE:])
                assert isinstance(said, c.Ssid)
                capabilities = Capabilities(
                    level=Level.up_to(said.level),
                    mode=said.mode,
                    buffer_size=said.buffer_size,
                    credit=said.credit,
                    compression=said.compression,
                    restart=said.restart,
                    authentication=said.authentication,
                    user=said.user,
                )
                return Session(
                    ROLES[self._side], capabilities, code=said.code, password=said.password, inactivity=PATIENT
                )
        return Session(ROLES[self._side], Capabilities(), code="NOBODY", inactivity=PATIENT)

    def run(self) -> None:
        """Play it, and compare what the session writes with what the transcript has."""
        for entry in self._entries:
            match entry.first:
                case "connect":
                    self._take(self.session.connected(self._now))
                case "wait":
                    self._now += float(entry.others[0])
                case "close":
                    self._take(self.session.connection_lost("closed", self._now))
                case "I>" | "R>" if entry.first[0] == self._side:
                    self._compare(entry)
                case "I>" | "R>":
                    self._hear(entry)
                case first:
                    assert first in {"recorded", "replay"}, first
        assert (self._written, self.session.data_to_send()) == (b"", b"")

    def _take(self, events: list[object]) -> None:
        self._read += sum(len(event.octets) for event in events if isinstance(event, DataReceived))

    def _hear(self, entry: Entry) -> None:
        octets = entry.octets
        if entry.command == ord("D"):
            octets = octets[: HEADER_SIZE + 1] + content_of(entry).payload
        self._take(self.session.receive_data(octets, self._now))

    def _compare(self, entry: Entry) -> None:
        self._written += self.session.data_to_send()
        if not self._written:
            self._ask(entry)
            self._written += self.session.data_to_send()
        said, self._written = self._written[: len(entry.octets)], self._written[len(entry.octets) :]
        assert len(said) == len(entry.octets), (entry, said)
        alike = (not shown or one == other for one, other, shown in zip(said, entry.octets, entry.shown, strict=True))
        assert all(alike), (entry, said)

    def _ask(self, entry: Entry) -> None:
        """Have the User Monitor ask for what this command needs."""
        request = self._request(entry)
        try:
            self._take(self.session.send(request, self._now))
        except LocalProtocolError:
            # There are states in which a session only ends by itself.
            assert isinstance(request, r.EndSession)
            assert self.session.deadline is not None
            self._now = self.session.deadline
            self._take(self.session.tick(self._now))

    def _request(self, entry: Entry) -> r.Request:  # noqa: C901, PLR0911, PLR0912 - one case for each command
        command = codec.decode(entry.octets[HEADER_SIZE:], self._level)
        match command:
            case c.Ssid():
                return r.AcceptSession(
                    code=command.code, password=command.password, authentication=command.authentication
                )
            case c.Auch():
                return r.SendChallenge(envelope=command.challenge, secret=bytes([FILLER]) * codec.CHALLENGE_SIZE)
            case c.Aurp():
                return r.AnswerChallenge(secret=command.response)
            case c.Sfid():
                return r.StartFile(command=command)
            case c.Sfpa():
                return r.AcceptFile(restart=command.restart)
            case c.Sfna():
                return r.RefuseFile(reason=command.reason, retry=command.retry, text=command.text)
            case c.Data():
                content = content_of(entry)
                return r.SendData(octets=content.octets, ends=content.ends, compress=content.compressed)
            case c.Cdt():
                read, self._read = self._read, 0
                return r.Consumed(octets=read)
            case c.Efid():
                return r.CloseFile(records=command.records, octets=command.octets)
            case c.Efpa():
                return r.ConfirmFile(wants_turn=command.change_direction)
            case c.Efna():
                return r.RejectFile(reason=command.reason, text=command.text)
            case c.Eerp() | c.Nerp():
                return r.SendEndResponse(command=command)
            case c.Rtr():
                return r.SendReady()
            case c.Cd():
                return r.ChangeDirection()
            case c.Esid():
                return r.EndSession(reason=command.reason, text=command.text)
        raise AssertionError(f"nobody asks for {command}")
