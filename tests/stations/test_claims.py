"""What a session has in hand: several small files claimed at once, and what becomes of them when it ends otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from oftp2 import commands as c
from oftp2.reasons import AnswerReason
from oftp2d.claims import FILES
from oftp2d.ledger import Direction, TransferState
from tests.stations.house import House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as peer:
        yield peer


def queued(house: House, peer: Peer, files: int) -> Station:
    """A running station with so many small files for the peer."""
    station = house.station()
    peer.introduce(station)
    station.queue(peer.code, {f"F{number}": noise(200 + number, number) for number in range(files)})
    station.start()
    return station


def listening(peer: Peer, station: Station) -> Talk:
    """A session in which the station speaks."""
    talk = peer.call(station)
    talk.say(c.Cd())
    return talk


def take_all(talk: Talk) -> list[str]:
    """Take files until the turn comes back; their dataset names."""
    taken = []
    while isinstance(command := talk.next(), c.Sfid):
        talk.say(c.Sfpa())
        content, _ = talk.hear_content()
        assert content == noise(len(content), int(command.dataset[1:]))
        taken.append(command.dataset)
        talk.say(c.Efpa())
    assert isinstance(command, c.Cd), command
    return taken


def killed(station: Station, _talk: Talk) -> None:
    station.kill()
    station.start()


def cut(station: Station, talk: Talk) -> None:
    talk.vanish()
    station.has_no_session()


@pytest.mark.parametrize("end", [cut, killed])
def test_what_a_session_had_in_hand_and_not_begun_is_due_at_once_and_was_never_tried(
    house: House, peer: Peer, end: Callable[[Station, Talk], None]
) -> None:
    station = queued(house, peer, 6)
    talk = listening(peer, station)
    first, _ = talk.receive()
    assert [each.state for each in station.stored(Direction.OUT)] == [TransferState.SENDING] * 6
    end(station, talk)
    begun, *others = station.stored(Direction.OUT)
    assert begun.dataset == first.dataset == "F0"
    assert begun.efid_sent, "EFID went"
    assert begun.state is TransferState.QUEUED
    for other in others:
        assert (other.state, other.attempts) == (TransferState.QUEUED, 0)
        assert (other.next_attempt_at, other.claim_owner, other.efid_sent) == (None, None, False)
    taken = take_all(listening(peer, station))
    # What was begun waits a little before it is tried again, unless the station was started anew.
    assert taken == [f"F{number}" for number in range(0 if end is killed else 1, 6)]


def test_two_sessions_share_what_is_queued(house: House, peer: Peer) -> None:
    station = queued(house, peer, FILES + 3)
    talks = [listening(peer, station) for _ in range(2)]
    wait_for(
        "all to be claimed",
        lambda: all(each.state is TransferState.SENDING for each in station.stored(Direction.OUT)),
        told=station.tail,
    )
    taken = [take_all(talk) for talk in talks]
    assert sorted(len(each) for each in taken) == [3, FILES]
    assert len({dataset for each in taken for dataset in each}) == FILES + 3


def test_a_confirmed_file_is_answered_though_nothing_followed_it(house: House, peer: Peer) -> None:
    """Its confirmation is noted with the next file, or when there is none."""
    station = queued(house, peer, 1)
    talk = listening(peer, station)
    sfid, _ = talk.receive()
    talk.say(c.Efpa())
    talk.hear(c.Cd)
    talk.say(eerp(sfid))
    talk.hear(c.Rtr)
    (stored,) = station.stored(Direction.OUT)
    assert stored.state is TransferState.ACKNOWLEDGED
    wait_for("its content to be removed", lambda: not list((station.home / "spool" / "outgoing").iterdir()))


def test_a_duplicate_that_never_came_to_its_efid_was_not_delivered(house: House, peer: Peer) -> None:
    """The ledger notes EFID once SFPA has come, and not before."""
    station = queued(house, peer, 2)
    talk = listening(peer, station)
    refused = talk.hear(c.Sfid)
    talk.say(c.Sfna(reason=AnswerReason.DUPLICATE_FILE))
    assert take_all(talk) == ["F1"]
    stored, _ = station.stored(Direction.OUT)
    assert stored.dataset == refused.dataset
    assert not stored.efid_sent
    assert stored.state not in {TransferState.SENT, TransferState.ACKNOWLEDGED}


def test_after_a_kill_before_the_answer_to_sfid_a_duplicate_was_not_delivered_either(house: House, peer: Peer) -> None:
    station = queued(house, peer, 2)
    talk = listening(peer, station)
    talk.receive()
    talk.say(c.Efpa())
    talk.hear(c.Sfid)
    station.kill()
    station.start()
    confirmed, begun = station.stored(Direction.OUT)
    assert (confirmed.efid_sent, begun.efid_sent) == (True, False)
    talk = listening(peer, station)
    for dataset in ("F0", "F1"):
        assert talk.hear(c.Sfid).dataset == dataset
        talk.say(c.Sfna(reason=AnswerReason.DUPLICATE_FILE))
    talk.hear(c.Cd)
    assert [each.state for each in station.stored(Direction.OUT)] == [TransferState.SENT, TransferState.FAILED]


def test_what_a_loss_of_power_kept_from_the_inbox_is_there_after_the_next_start(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    content = noise(1_000, 1)
    with peer.call(station) as talk:
        assert isinstance(talk.send(peer.sfid(station, "PLACED", content), content), c.Efpa)
    station.kill()
    (arrived,) = station.stored(Direction.IN)
    spool = station.home / "spool"
    (spool / "inbox" / arrived.spool_name).rename(spool / "received" / f"{arrived.id}.ready")
    (spool / "received" / "0123456789AB.ready").write_bytes(b"what the ledger never heard of")
    station.start()
    station.delivered("PLACED", content)
    assert list((spool / "received").iterdir()) == []
    assert len(station.inbox_files()) == 1
