"""Whole sessions as annotated octets in ``fixtures/transcripts``, replayed octet by octet and all at once.

``fixtures/README.rst`` explains the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import pytest

from oftp2 import requests as r
from oftp2.errors import LocalProtocolError
from oftp2.events import Event
from oftp2.framing import HEADER_SIZE
from oftp2.layouts import COMMAND_OCTETS
from oftp2.negotiation import Capabilities
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.transcript import Transcript
from oftp2.values import FileFormat, Level, Mode, Role
from tests.oftp2.replay import ROLES, Replay, entries_of
from tests.oftp2.rfc5024 import FIXTURES, fields_of_the_fixture
from tests.oftp2.wire import AUTHENTICATED, CODE_R, EERP, NERP, PASSWORD, SECRET, SFID, SMALL, SessionPair, Side, make

TRANSCRIPTS = sorted((FIXTURES / "transcripts").glob("*.txt"))
RECORDED = [path for path in TRANSCRIPTS if any(entry.first == "recorded" for entry in entries_of(path))]
CAPABILITIES = {
    "plain": SMALL,
    "secure": AUTHENTICATED,
    "sender": replace(SMALL, mode=Mode.SENDER),
    "level-1": replace(SMALL, level=Level.REVISION_1_2),
    "level-4": replace(SMALL, level=Level.REVISION_1_4),
}
VERSE = b"It is an ancient Mariner,\r\n"
LONG = VERSE * 10
RECORDS = (b"It is an ancient Mariner,", b"", b"And he stoppeth one of three.", b" " * 100 + b"`By thy long grey beard")
ANY_LEVEL = replace(SFID, description="", time="1159590000")
"""Says nothing that the older levels have no room for."""

REQUESTS: dict[str, r.Request] = {
    "AcceptSession": r.AcceptSession(code=CODE_R, password=PASSWORD),
    "AcceptSecureSession": r.AcceptSession(code=CODE_R, password=PASSWORD, authentication=True),
    "RefusePassword": r.EndSession(reason=EndSessionReason.INVALID_PASSWORD, text="SSIDPSWD is not the one agreed"),
    "SendChallenge": r.SendChallenge(envelope=b"<CMS envelope>", secret=SECRET),
    "AnswerChallenge": r.AnswerChallenge(secret=SECRET),
    "AnswerChallengeWrongly": r.AnswerChallenge(secret=bytes(20)),
    "StartFile": r.StartFile(command=replace(SFID, size=1, original_size=1)),
    "StartFileAgain": r.StartFile(command=replace(SFID, restart=1)),
    "StartFileBack": r.StartFile(
        command=replace(
            SFID, dataset="ANSWER", destination=SFID.originator, originator=SFID.destination, description=""
        )
    ),
    "StartRecords": r.StartFile(command=replace(SFID, format=FileFormat.VARIABLE, record_length=200)),
    "AcceptFile": r.AcceptFile(),
    "AcceptFileFromItsBlock": r.AcceptFile(restart=1),
    "AcceptFileFromTheStart": r.AcceptFile(restart=0),
    "RefuseForNow": r.RefuseFile(reason=AnswerReason.FILE_TOO_BIG, retry=True, text="no room at present"),
    "RefuseDuplicate": r.RefuseFile(reason=AnswerReason.DUPLICATE_FILE, text="received before"),
    "SendVerse": r.SendData(octets=VERSE, last=True),
    "SendLong": r.SendData(octets=LONG[:250]),
    "SendRest": r.SendData(octets=LONG[250:], last=True),
    "SendRecords": r.SendData(
        octets=b"".join(RECORDS), ends=list(accumulate(map(len, RECORDS))), last=True, compress=True
    ),
    "Consumed": r.Consumed(octets=125),
    "ConsumedVerse": r.Consumed(octets=len(VERSE)),
    "ConsumedRecords": r.Consumed(octets=sum(map(len, RECORDS))),
    "CloseVerse": r.CloseFile(octets=len(VERSE)),
    "CloseLong": r.CloseFile(octets=len(LONG)),
    "CloseEmpty": r.CloseFile(octets=0),
    "CloseRestarted": r.CloseFile(octets=1024 + len(VERSE)),
    "CloseRecords": r.CloseFile(records=len(RECORDS), octets=sum(map(len, RECORDS))),
    "ConfirmFile": r.ConfirmFile(),
    "ConfirmFileAndTakeTurn": r.ConfirmFile(wants_turn=True),
    "RejectFile": r.RejectFile(reason=AnswerReason.INVALID_BYTE_COUNT, text="27 octets came"),
    "SendEerp": r.SendEndResponse(command=EERP),
    "SendPlainEerp": r.SendEndResponse(command=replace(EERP, hash=b"")),
    "SendNerp": r.SendEndResponse(command=NERP),
    "SendReady": r.SendReady(),
    "ChangeDirection": r.ChangeDirection(),
    "EndSession": r.EndSession(),
    "CloseDown": r.EndSession(reason=EndSessionReason.EMERGENCY_CLOSE_DOWN, text="the station stops"),
}


def replayed_sides(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    for path in paths:
        for entry in entries_of(path):
            if entry.first == "replay":
                yield from ((path, side) for side in entry.others)


def covered_by(path: Path) -> list[str]:
    """The sections of RFC 5024 that a transcript says it covers."""
    return [section for entry in entries_of(path) if entry.first == "covers" for section in entry.others]


WRITTEN = list(replayed_sides(path for path in TRANSCRIPTS if path not in RECORDED))


@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize(
    ("path", "side"),
    [
        pytest.param(path, side, marks=pytest.mark.rfc(*covered_by(path)), id=f"{path.stem}-{side}")
        for path, side in WRITTEN
    ],
)
def test_a_side_writes_and_tells_what_the_transcript_has(  # noqa: C901, PLR0912 - one case for each kind of line
    path: Path, side: str, *, one_by_one: bool
) -> None:
    session = make(ROLES[side])
    now = 0.0
    written = b""
    told: list[Event] = []
    for entry in entries_of(path):
        first, others, octets = entry.first, entry.others, entry.octets
        match first, others:
            case "capabilities", [name]:
                session = make(ROLES[side], CAPABILITIES[name])
            case "connect", []:
                told += session.connected(now)
            case "ask", [who, name] if who == side:
                told += session.send(REQUESTS[name], now)
            case "told", [who, name] if who == side:
                assert type(told.pop(0)).__name__ == name
            case "wait", [seconds]:
                now += float(seconds)
                told += session.tick(now)
            case "close", []:
                told += session.connection_lost("closed", now)
            case "ends", [who, state] if who == side:
                assert session.state.value == state
            case (("I>" | "R>"), _):
                if first[0] == side:
                    written += session.data_to_send()
                    assert written[: len(octets)] == octets
                    written = written[len(octets) :]
                else:
                    for piece in [octets[at : at + 1] for at in range(len(octets))] if one_by_one else [octets]:
                        told += session.receive_data(piece, now)
            case _:
                assert first in {"covers", "replay", "ask", "told", "ends"}, first
    assert (told, written, session.data_to_send()) == ([], b"", b"")


@pytest.mark.parametrize(
    ("path", "side"),
    list(replayed_sides(RECORDED)),
    ids=[f"{path.stem}-{side}" for path, side in replayed_sides(RECORDED)],
)
def test_a_side_of_a_recorded_session_writes_again_what_it_wrote(path: Path, side: str) -> None:
    Replay(path, side).run()


def test_the_transcripts_show_every_command() -> None:
    shown = {entry.command for path in TRANSCRIPTS for entry in entries_of(path)}
    assert shown >= set(COMMAND_OCTETS)


FLOWS = ("4.2.2", "4.2.4", "4.3.2", "4.3.3", "4.3.6", "4.3.7", "4.3.8", "4.4.1", "4.5.1", "4.6.1", "4.7.1", "4.7.2")


@pytest.mark.parametrize("section", FLOWS)
def test_there_is_a_transcript_for_every_flow_of_section_4(section: str) -> None:
    assert [path for path in TRANSCRIPTS if section in covered_by(path)]


def test_there_are_transcripts_at_levels_below_5() -> None:
    ssids = [entry.octets for path in TRANSCRIPTS for entry in entries_of(path) if entry.command == ord("X")]
    assert {ssid[HEADER_SIZE + 1 : HEADER_SIZE + 2] for ssid in ssids} >= {b"1", b"4", b"5"}


def test_every_field_is_commented_with_its_name_in_the_rfc() -> None:
    fields = {field.field for field in fields_of_the_fixture()}
    for path in TRANSCRIPTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            words, _, comment = line.partition("#")
            if words.startswith("    ") and words.strip() and comment:
                assert comment.split()[0] in fields | {"stream", "unknown"}, line


def test_every_request_is_used_in_a_transcript() -> None:
    asked = {entry.others[1] for path in TRANSCRIPTS for entry in entries_of(path) if entry.first == "ask"}
    assert asked == set(REQUESTS)


@pytest.mark.parametrize("capabilities", [AUTHENTICATED, *(replace(SMALL, level=level) for level in Level)])
@pytest.mark.parametrize("side", ["I", "R"])
def test_a_session_that_was_written_down_can_be_replayed_for_both_sides(
    tmp_path: Path, side: str, capabilities: Capabilities
) -> None:
    path = tmp_path / "recorded.txt"
    path.write_text("\n".join(["recorded", *written_down(capabilities)]), encoding="utf-8")
    Replay(path, side).run()


@pytest.mark.parametrize("missing", ["R> CDT", "R> SFPA", "I> EFID", "I> RTR"])
def test_a_recorded_session_from_which_a_command_is_missing_cannot_be_replayed(tmp_path: Path, missing: str) -> None:
    lines = "\n".join(["recorded", *written_down(SMALL)])
    before, _, after = lines.partition(missing)
    path = tmp_path / "recorded.txt"
    path.write_text(before + after[after.index("> ") - 1 :], encoding="utf-8")
    with pytest.raises((AssertionError, LocalProtocolError)):
        _ = [Replay(path, side).run() for side in ROLES]


def written_down(capabilities: Capabilities) -> list[str]:
    """The lines of such a session."""
    transcript = Transcript()
    lines = list(transcript.connected(0))
    for writer, octets in written_pieces(capabilities):
        lines += transcript.wrote(writer, octets, 0)
    return lines + list(transcript.closed(0))


def written_pieces(capabilities: Capabilities) -> list[tuple[Role, bytes]]:
    """What the sides of a session write that has files, end responses, refusals and all the rest, in its order."""
    pair = Tapped(capabilities)
    pair.establish(authentication=capabilities.authentication)
    if capabilities.authentication:
        authenticate(pair)
    ours, theirs = pair.sides
    pair.transfer(bytes(1000), sfid=ANY_LEVEL)
    records(pair)
    pair.ask(ours, r.StartFile(command=replace(ANY_LEVEL, dataset="UNWANTED")))
    pair.ask(theirs, r.RefuseFile(reason=AnswerReason.FILE_TOO_BIG, text="no room", retry=True))
    for side in pair.sides:
        side.told.clear()
    pair.transfer(b"", sfid=ANY_LEVEL, wants_turn=True)
    responses = [replace(EERP, hash=b""), *([NERP] if capabilities.level >= Level.REVISION_1_4 else [])]
    for response in responses:
        pair.ask(theirs, r.SendEndResponse(command=response))
        pair.ask(ours, r.SendReady())
    pair.ask(theirs, r.ChangeDirection())
    pair.ask(ours, r.EndSession())
    return pair.pieces


def records(pair: SessionPair) -> None:
    """Records of all lengths, compressed ones and empty ones among them."""
    ours, theirs = pair.sides
    pair.ask(
        ours, r.StartFile(command=replace(ANY_LEVEL, dataset="RECORDS", format=FileFormat.VARIABLE, record_length=500))
    )
    pair.ask(theirs, r.AcceptFile())
    octets = VERSE + b"-" * 100 + VERSE * 4
    pair.ask(ours, r.SendData(octets=octets, ends=[0, 5, 5, 27, 100, 200, len(octets)], compress=True))
    pair.ask(theirs, r.Consumed(octets=len(octets)))
    pair.ask(ours, r.CloseFile(records=7, octets=len(octets)))
    pair.ask(theirs, r.ConfirmFile())
    for side in pair.sides:
        side.told.clear()


def authenticate(pair: SessionPair) -> None:
    for asked, asks in (pair.sides, pair.sides[::-1]):
        pair.ask(asks, r.SendChallenge(envelope=b"envelope", secret=SECRET))
        pair.ask(asked, r.AnswerChallenge(secret=SECRET))
    for side in pair.sides:
        side.told.clear()


class Tapped(SessionPair):
    """A pair whose wire is noted."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(capabilities, capabilities)
        self.pieces: list[tuple[Role, bytes]] = []

    def collect(self, side: Side) -> None:
        before = len(side.written)
        super().collect(side)
        self.pieces.append((side.session.role, bytes(side.written[before:])))
