"""Whole sessions as annotated octets in ``fixtures/transcripts``, replayed octet by octet and all at once.

A line of a transcript is one of these; what follows ``#`` is for people.

    capabilities plain|secure
    replay I R              the sides that are played by our sessions, Initiator and Responder
    connect                 the connection stands
    ask I Name              the User Monitor of a side makes the request of that name
    I> COMMAND              the octets that a side writes, as hexadecimal digits in the indented lines below
    told R Event            the next event that a side's User Monitor is told
    wait 120                seconds pass
    close                   the connection is closed
    ends R IDLE             the state in which a side is left
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from oftp2 import requests as r
from oftp2.events import Event
from oftp2.framing import HEADER_SIZE
from oftp2.layouts import COMMAND_OCTETS
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2.values import Role
from tests.oftp2.rfc5024 import FIXTURES, fields_of_the_fixture
from tests.oftp2.wire import AUTHENTICATED, CODE_R, EERP, NERP, PASSWORD, SECRET, SFID, SMALL, make

TRANSCRIPTS = sorted((FIXTURES / "transcripts").glob("*.txt"))
CAPABILITIES = {"plain": SMALL, "secure": AUTHENTICATED}
ROLES = {"I": Role.INITIATOR, "R": Role.RESPONDER}
VERSE = b"It is an ancient Mariner,\r\n"
LONG = VERSE * 10

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
    "AcceptFile": r.AcceptFile(),
    "AcceptFileFromTheStart": r.AcceptFile(restart=0),
    "RefuseDuplicate": r.RefuseFile(reason=AnswerReason.DUPLICATE_FILE, text="received before"),
    "SendVerse": r.SendData(octets=VERSE, last=True),
    "SendLong": r.SendData(octets=LONG[:250]),
    "SendRest": r.SendData(octets=LONG[250:], last=True),
    "Consumed": r.Consumed(octets=125),
    "CloseVerse": r.CloseFile(octets=len(VERSE)),
    "CloseLong": r.CloseFile(octets=len(LONG)),
    "CloseEmpty": r.CloseFile(octets=0),
    "ConfirmFile": r.ConfirmFile(),
    "ConfirmFileAndTakeTurn": r.ConfirmFile(wants_turn=True),
    "RejectFile": r.RejectFile(reason=AnswerReason.INVALID_BYTE_COUNT, text="27 octets came"),
    "SendEerp": r.SendEndResponse(command=EERP),
    "SendNerp": r.SendEndResponse(command=NERP),
    "SendReady": r.SendReady(),
    "ChangeDirection": r.ChangeDirection(),
    "EndSession": r.EndSession(),
}


def lines_of(path: Path) -> Iterator[tuple[str, list[str], bytes]]:
    """The entries of a transcript: first word, other words, octets."""
    entry: tuple[str, list[str], bytes] | None = None
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].rstrip()
        if not words:
            continue
        if words.startswith(" "):
            assert entry is not None
            entry = (entry[0], entry[1], entry[2] + bytes.fromhex(words))
            continue
        if entry is not None:
            yield entry
        first, *others = words.split()
        entry = (first, others, b"")
    assert entry is not None
    yield entry


def replayed_sides() -> Iterator[tuple[Path, str]]:
    for path in TRANSCRIPTS:
        for first, others, _ in lines_of(path):
            if first == "replay":
                yield from ((path, side) for side in others)


@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize(
    ("path", "side"), list(replayed_sides()), ids=[f"{path.stem}-{side}" for path, side in replayed_sides()]
)
def test_a_side_writes_and_tells_what_the_transcript_has(  # noqa: C901, PLR0912 - one case for each kind of line
    path: Path, side: str, *, one_by_one: bool
) -> None:
    session = make(ROLES[side])
    now = 0.0
    written = b""
    told: list[Event] = []
    for first, others, octets in lines_of(path):
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
                assert first in {"replay", "ask", "told", "ends"}, first
    assert (told, written, session.data_to_send()) == ([], b"", b"")


def test_the_transcripts_show_every_command() -> None:
    shown = {octets[HEADER_SIZE] for path in TRANSCRIPTS for _, _, octets in lines_of(path) if octets[HEADER_SIZE:]}
    assert shown >= set(COMMAND_OCTETS)


def test_every_field_is_commented_with_its_name_in_the_rfc() -> None:
    fields = {field.field for field in fields_of_the_fixture()}
    for path in TRANSCRIPTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            words, _, comment = line.partition("#")
            if words.startswith("    ") and words.strip() and comment:
                assert comment.split()[0] in fields | {"stream"}, line


def test_every_request_is_used_in_a_transcript() -> None:
    assert {others[1] for path in TRANSCRIPTS for first, others, _ in lines_of(path) if first == "ask"} == set(REQUESTS)
