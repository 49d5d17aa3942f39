"""What must hold for any octets at all: the targets of tools/fuzz, which hypothesis runs as well.

A target is a function of octets. Whatever they are, a decoder raises nothing but the errors it declares, a session tells
events and raises nothing, what is held is bounded, so is what is written for each octet read, and the work grows with
the octets and not faster. Work is counted, in calls of functions: clocks differ from machine to machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Final

import numpy.ma  # noqa: F401 - numpy loads it when it is first needed, which is no work of the octets

from oftp2 import buffers, codec
from oftp2 import commands as c
from oftp2 import requests as r
from oftp2.cms.challenge import SECRET_OCTETS, ChallengeError, make_challenge, open_challenge
from oftp2.cms.compressed import Compressing
from oftp2.cms.enveloped import Enveloping
from oftp2.cms.errors import CmsError, PackageError, SignatureError
from oftp2.cms.limits import Limits
from oftp2.cms.package import Services, pack, unpack
from oftp2.cms.signed import Signing, Verifying
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES
from oftp2.errors import BufferSizeError, LocalProtocolError, RemoteProtocolError
from oftp2.events import DataReceived, Event
from oftp2.framing import HEADER_SIZE, FrameReader, frame
from oftp2.negotiation import Capabilities
from oftp2.session import Session
from oftp2.tables import State
from oftp2.transcript import Transcript
from oftp2.values import MAX_BUFFER_SIZE, Level, Role
from tests import pki
from tests.oftp2.wire import AUTHENTICATED, CODE_R, PASSWORD, PATHS, REQUESTS, SAMPLES, SMALL, SSID, make, take_step

CALLS_AT_ALL: Final = 20_000
CALLS_PER_OCTET: Final = 200
"""Calls of functions that are granted for all and for each octet: a command of five octets takes several hundred."""

OUTPUT_AT_ALL: Final = 4_000
OUTPUT_PER_OCTET: Final = 16
"""Octets that a session may write: an ESID with its text once, and for each command of five octets or more an answer."""

EXPANSION: Final = 32
"""Compressed subrecords of two octets stand for up to 63."""

LINE: Final = 200
"""Characters of a line of a transcript, but for the texts in it."""

SIGNED: Final = b"UNA:+.? '"
"""What was signed in the seeds."""

OWNER: Final = pki.certificate("CA01").owner
"""Whom the files and challenges are for."""

ACCEPT: Final = r.AcceptSession(code=CODE_R, password=PASSWORD)

Target = Callable[[bytes], None]


class Source:
    """Octets, taken as the numbers and strings that a target wants."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._octets)

    def octet(self) -> int:
        """The next one; 0 behind the end."""
        return (self.octets(1) or b"\0")[0]

    def octets(self, count: int) -> bytes:
        """Up to so many."""
        taken = self._octets[self._at : self._at + count]
        self._at += count
        return taken

    def some(self) -> bytes:
        """As many as the next two octets say."""
        return self.octets(self.octet() << 8 | self.octet())

    def rest(self) -> bytes:
        return self.octets(len(self._octets))


class TooMuchWorkError(AssertionError):
    """More calls than the octets allow."""


@contextmanager
def counted_work(allowed: int = sys.maxsize) -> Iterator[list[int]]:
    """Count the calls of functions that the block makes, in the one element of the list; fail when they are too many."""
    made = [0]

    def count(_frame: object, event: str, _argument: object) -> None:
        made[0] += event in {"call", "c_call"}
        if made[0] > allowed:
            sys.setprofile(None)
            raise TooMuchWorkError(f"more than {allowed} calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield made
    finally:
        sys.setprofile(before)


@contextmanager
def bounded_work(octets: int) -> Iterator[None]:
    """Fail when the block makes more calls of functions than so many octets are worth."""
    with counted_work(CALLS_AT_ALL + CALLS_PER_OCTET * octets):
        yield


def fuzz_codec(octets: bytes) -> None:
    """A buffer of any octets is a command or a declared error; what was read can be written, and is then the same."""
    source = Source(octets)
    level = list(Level)[source.octet() % len(Level)]
    buffer = source.rest()
    if not buffer:
        return
    with bounded_work(len(buffer)):
        try:
            command = codec.decode(buffer, level)
        except RemoteProtocolError:
            return
        try:
            again = codec.encode(command, level)
        except LocalProtocolError:
            return
        # An SSID says itself how it is laid out.
        assert codec.encode(codec.decode(again, level), level) == again


def fuzz_framing(octets: bytes) -> None:
    """Pieces of any size are the same buffers or the same error, and no more is held than one buffer and a piece."""
    source = Source(octets)
    limit = (128, 4096, MAX_BUFFER_SIZE)[source.octet() % 3]
    piece = 1 + source.octet()
    stream = source.rest()
    with bounded_work(len(stream)):
        whole = _frames(FrameReader(limit), [stream], limit + len(stream))
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        assert whole == _frames(FrameReader(limit), pieces, limit + piece)


def _frames(reader: FrameReader, pieces: list[bytes], most: int) -> list[object]:
    found: list[object] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (buffer := reader.take()) is not None:
                assert 1 <= len(buffer) <= reader.limit
                found.append(buffer)
        except RemoteProtocolError as error:
            return [*found, type(error)]
        assert reader.held < most + HEADER_SIZE
    return found


def fuzz_buffers(octets: bytes) -> None:
    """Any payload is read or refused, and content with records comes back as it was."""
    source = Source(octets)
    size = 128 + (source.octet() << 2)
    flags = source.octet()
    ends = sorted(source.octet() for _ in range(source.octet() % 16))
    content = source.rest()
    with bounded_work(len(content) + len(ends)):
        try:
            read = buffers.decode(content)
        except BufferSizeError:
            pass
        else:
            assert len(read.octets) <= EXPANSION * len(content)
            assert read.empty + read.compressed + len(read.ends) <= 3 * len(content)
            assert all(0 <= end <= len(read.octets) for end in read.ends.tolist())
        try:
            encoded = buffers.encode(content, size, last=bool(flags & 1), ends=ends, compress=bool(flags & 2))
        except LocalProtocolError:
            assert not content or (ends and ends[-1] > len(content))
            return
        _comes_back(encoded, size, content, ends, last=bool(flags & 1))


def _comes_back(encoded: buffers.Encoded, size: int, content: bytes, ends: list[int], *, last: bool) -> None:
    reader = FrameReader(size)
    reader.feed(bytes(encoded.stream))
    back, ended = b"", []
    while (buffer := reader.take()) is not None:
        read = buffers.decode(buffer[1:])
        ended += [len(back) + end for end in read.ends.tolist()]
        back += bytes(read.octets)
    closing = [len(content)] if last and (not ends or ends[-1] < len(content)) else []
    assert (back, ended, reader.held) == (content, [*ends, *closing], 0)


def fuzz_session(octets: bytes) -> None:
    """A session in any state, whatever it is asked and told: events, no exception, and bounds on all it holds and writes."""
    source = Source(octets)
    session = _session(source)
    session.data_to_send()
    now = 0.0
    read = asked = written = 0
    with bounded_work(4 * len(octets)):
        while source:
            act = source.octet()
            if act < 0x40:
                read += _read(session, source.some(), now)
            elif act < 0x80:
                read += _read(session, frame(source.some()[:MAX_BUFFER_SIZE] or b"R"), now)
            elif act < 0xA0:
                sample = SAMPLES[act % len(SAMPLES)]
                level = session.terms.level if session.terms else max(Level)
                read += _read(session, _framed(sample, level), now)
            elif act < 0xF0:
                asked += _ask(session, REQUESTS[act % len(REQUESTS)], source, now)
            elif act < 0xFE:
                now += act - 0xF0
                _check(session.tick(now), 0)
            else:
                _check(session.connection_lost("cut", now), 0)
            written += len(session.data_to_send())
            assert written <= OUTPUT_AT_ALL + OUTPUT_PER_OCTET * read + 2 * asked
            assert not session.finished or (session.state is State.IDLE and session.deadline is None)


def _session(source: Source) -> Session:
    """A new session, or one that the tests know how to bring to a state."""
    choice, more = source.octet(), source.octet()
    if choice < len(PATHS):
        role, steps = list(PATHS.values())[choice]
        secure = any(isinstance(step, c.Ssid) and step.authentication for step in steps)
        session = make(role, AUTHENTICATED if secure else SMALL)
        for step in steps:
            take_step(session, step)
        return session
    level = list(Level)[more % len(Level)]
    capabilities = Capabilities(
        level=level, buffer_size=128 + (more << 4), credit=1 + more % 5, compression=bool(more & 8)
    )
    session = make(list(Role)[choice % 2], capabilities)
    session.connected(0.0)
    if choice & 2:
        ssid = replace(SSID, level=level)
        opening = [c.Ssrm(), ssid] if session.role is Role.INITIATOR else [ssid, ACCEPT]
        for step in opening:
            take_step(session, step)
    return session


def _framed(command: c.Command, level: Level) -> bytes:
    try:
        return frame(codec.encode(command, level))
    except LocalProtocolError:
        return frame(codec.encode(command))


def _read(session: Session, octets: bytes, now: float) -> int:
    # A connection brings what there is in several pieces, which are read together.
    session.feed(octets[: len(octets) // 2])
    _check(session.receive_data(octets[len(octets) // 2 :], now), len(octets) + MAX_BUFFER_SIZE)
    assert session._reader.held <= MAX_BUFFER_SIZE + HEADER_SIZE
    assert not session.finished or not session._reader.held
    return len(octets)


def _check(events: list[Event], octets: int) -> None:
    """Events and nothing else, and no more data than the octets can stand for."""
    assert all(isinstance(event, Event) for event in events)
    data = sum(len(event.octets) for event in events if isinstance(event, DataReceived))
    assert data <= EXPANSION * octets
    assert len(events) <= 2 + octets


def _ask(session: Session, request: r.Request, source: Source, now: float) -> int:
    """Ask for something; what is asked adds to what may be written."""
    if isinstance(request, r.SendData):
        content = source.some()
        ends = sorted(source.octet() for _ in range(source.octet() % 8))
        request = replace(request, octets=content, ends=ends, last=bool(len(ends) & 1), compress=len(content) % 3 == 0)
    try:
        _check(session.send(request, now), 0)
    except LocalProtocolError:
        return 0
    # A record that ends takes a header, and so does each subrecord; a command what its fields take.
    return 64 * len(request.octets) + 1_000 if isinstance(request, r.SendData) else 1_200


def fuzz_transcript(octets: bytes) -> None:
    """Both directions of any octets can be written down, in lines that are bounded, and no more is held than one buffer."""
    source = Source(octets)
    transcript = Transcript()
    lines = [*transcript.connected(0)]
    with bounded_work(2 * len(octets)):
        while source:
            writer = list(Role)[source.octet() % 2]
            piece = source.some()
            lines += transcript.wrote(writer, piece, 0)
            assert all(len(each.held) <= MAX_BUFFER_SIZE + HEADER_SIZE for each in transcript._directions.values())
        lines += transcript.closed(0)
    assert all(line.isprintable() and len(line) < LINE + 6 * MAX_BUFFER_SIZE for line in lines)
    assert sum(len(line) for line in lines) <= 2_000 + LINE * 4 * len(octets)
    assert lines[-1] == "close"


def fuzz_signed(octets: bytes) -> None:
    """Signed data of any octets are refused by a declared error, or what was signed comes out, whatever the pieces."""
    source = Source(octets)
    piece = 1 + source.octet()
    stream = source.rest()
    signer = pki.certificate("CA11").certificate
    with bounded_work(4 * len(stream)):
        whole = _verified(Verifying([signer], SUITES[4]), [stream])
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        assert whole == _verified(Verifying([signer], SUITES[4]), pieces)
        assert whole in {SIGNED, PackageError, SignatureError}


def fuzz_secured(octets: bytes) -> None:
    """Layers of any octets are refused, or what is in them comes out, whatever the pieces; a signed file never another.

    Which of several layers refuses them may hang on the pieces. The layers below an encryption and a compression can be those
    of the input: anybody can encrypt and compress.
    """
    source = Source(octets)
    flags, piece = source.octet(), 1 + source.octet()
    stream = source.rest()
    services = Services(sign=bool(flags & 1), compress=bool(flags & 2), encrypt=bool(flags & 4))
    if flags & 16 and services.compress:
        stream = b"".join(chain([Compressing()], [stream]))
    if flags & 8 and services.encrypt:
        stream = b"".join(chain([Enveloping(suite=SUITES[4], recipients=[OWNER.certificate])], [stream]))
    with bounded_work(4 * len(stream)):
        whole = _opened(services, [stream])
        assert whole == _opened(services, [stream[at : at + piece] for at in range(0, len(stream), piece)])
    assert whole in {SIGNED, None} or not services.sign


def _opened(services: Services, pieces: list[bytes]) -> bytes | None:
    limits = Limits(octets=1 << 20, floor=1 << 16)
    signer = pki.certificate("CA11").certificate
    opening = unpack(services, suite=SUITES[4], owners=[OWNER], certificates=[signer], limits=limits)
    try:
        return b"".join(chain(opening.stages, pieces))
    except CmsError as error:
        for text in (str(error), str(opening.told(error))):
            assert text.isprintable()
            assert len(text) < 400
        return None


def fuzz_challenge(octets: bytes) -> None:
    """A challenge of any octets is answered with as many as it has to be, or refused."""
    with bounded_work(4 * len(octets)), suppress(ChallengeError):
        assert len(open_challenge(octets, [OWNER])) == SECRET_OCTETS


def _verified(stage: Verifying, pieces: list[bytes]) -> bytes | type[CmsError]:
    try:
        return b"".join(chain([stage], pieces))
    except CmsError as error:
        text = str(error)
        assert text.isprintable()
        assert len(text) < 400
        return type(error)


TARGETS: Final[dict[str, Target]] = {
    "codec": fuzz_codec,
    "framing": fuzz_framing,
    "buffers": fuzz_buffers,
    "session": fuzz_session,
    "transcript": fuzz_transcript,
    "signed": fuzz_signed,
    "secured": fuzz_secured,
    "challenge": fuzz_challenge,
}


def seeds(name: str) -> Iterator[bytes]:
    """Octets to begin with: what the samples of all commands make of a target."""
    buffers_ = [codec.encode(command) for command in SAMPLES]
    stream = b"".join(frame(buffer) for buffer in buffers_)
    match name:
        case "codec":
            yield from (bytes([level]) + buffer for level in range(len(Level)) for buffer in buffers_)
        case "framing":
            yield from (bytes([limit, piece]) + stream for limit in range(3) for piece in (0, 63))
        case "buffers":
            yield from (bytes([0, flags, 2, 3, 9]) + b"\x3f" + bytes(63) + b"\x83abc\x7f-" for flags in range(4))
        case "session":
            openings = [(state, 0) for state in range(len(PATHS))]
            openings += [(0xFC + kind, level) for kind in range(4) for level in range(len(Level))]
            for state, level in openings:
                yield from (
                    bytes([state, level, 0x40]) + len(buffer).to_bytes(2, "big") + buffer for buffer in buffers_
                )
                yield bytes([state, level, *range(0x80, 0xF0)])
        case "signed":
            yield from _signed()
        case "secured":
            yield from _secured()
        case "challenge":
            yield _challenge()
        case "transcript":
            yield b"".join(bytes([side]) + len(stream).to_bytes(2, "big") + stream for side in (0, 1))


@cache
def _signed() -> list[bytes]:
    signers = [pki.certificate("CA11").signer]
    made = []
    for number, length in ((4, None), (4, len(SIGNED)), (8, len(SIGNED))):
        stage = Signing(signers, SUITES[number], octets=length, at=pki.NOW, certificates=length is None)
        made.append(b"\x3f" + b"".join(chain([stage], [SIGNED])))
    return made


@cache
def _secured() -> list[bytes]:
    signers = [pki.certificate("CA11").signer]
    made = []
    for flags, length in product(range(1, 8), (None, len(SIGNED))):
        stages = pack(
            suite=SUITES[4],
            signers=signers if flags & 1 else [],
            compress=bool(flags & 2),
            recipients=[OWNER.certificate] if flags & 4 else [],
            octets=length,
            at=pki.NOW,
        )
        made.append(bytes((flags, 0x3F)) + b"".join(chain(stages, [SIGNED])))
    inside = b"".join(chain([Signing(signers, SUITES[4], octets=None, at=pki.NOW)], [SIGNED]))
    return made + [bytes((flags, 0x3F)) + inside for flags in (5 | 8, 3 | 16, 7 | 24)]


@cache
def _challenge() -> bytes:
    return make_challenge(OWNER.certificate)[0]
