"""Files and their end responses: between two daemons, and with a partner that is played word by word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oftp2 import buffers
from oftp2 import commands as c
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2d.client import RefusedError
from oftp2d.ledger import Direction, ReceiptState, TransferState, Transport
from tests.stations.house import MEBIBYTE, House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def known_to(station: Station, peer: Peer, *, callable_: bool = False) -> Station:
    """The station, running, with the peer as its partner."""
    peer.introduce(station, callable_=callable_)
    station.start()
    return station


def all_acknowledged(*stations: Station) -> None:
    def acknowledged() -> bool:
        sent = [transfer for station in stations for transfer in station.stored(Direction.OUT)]
        return all(transfer.state is TransferState.ACKNOWLEDGED for transfer in sent)

    wait_for("everything to be acknowledged", acknowledged, told=lambda: "\n".join(each.tail() for each in stations))


def sessions_in(station: Station) -> int:
    return len(station.lines(" stands, "))


def same_file(one: c.Sfid, other: c.Sfid) -> bool:
    return one.identity == other.identity


# --- between two daemons ---------------------------------------------------------------------------------------


@pytest.mark.rfc("4.3.6", "4.3.8")
@pytest.mark.parametrize("transport", Transport)
def test_files_go_both_ways_and_are_acknowledged_in_one_session(house: House, transport: Transport) -> None:
    first, second = house.pair(transport=transport)
    ours = {f"OURS{number}": noise(50_000 + number, number) for number in range(3)}
    theirs = {f"THEIRS{number}": noise(70_000 + number, number) for number in range(3)}
    second.queue(first.code, theirs)
    first.queue(second.code, ours)
    house.start(second)
    house.start(first)
    all_acknowledged(first, second)
    for dataset, content in ours.items():
        second.delivered(dataset, content)
    for dataset, content in theirs.items():
        first.delivered(dataset, content)
    first.has_no_session()
    assert sessions_in(first) == sessions_in(second) == 1
    assert first.lines("ended normally")


def test_files_of_awkward_sizes_arrive_whole(house: House) -> None:
    first, second = house.pair()
    each = buffers.capacity(32_768)
    sizes = (0, 1, 62, 63, 64, 1023, 1024, 1025, each - 1, each, each + 1, 64 * each, 64 * each + 1, MEBIBYTE)
    contents = {f"SIZE{size}": noise(size, size) for size in sizes}
    first.queue(second.code, contents)
    house.start()
    all_acknowledged(first)
    for dataset, content in contents.items():
        second.delivered(dataset, content)


@pytest.mark.slow
def test_a_file_of_64_mib_arrives_whole(house: House) -> None:
    first, second = house.pair()
    content = noise(64 * MEBIBYTE, 1)
    first.queue(second.code, {"LARGE": content})
    house.start()
    all_acknowledged(first)
    second.delivered("LARGE", content)


@pytest.mark.rfc("5.3.2")
@pytest.mark.interop(3)
def test_the_smallest_buffers_with_a_credit_of_one_carry_files_both_ways(house: House) -> None:
    first, second = house.pair(session={"buffer_size": 128, "credit": 1})
    each = buffers.capacity(128)
    contents = {f"SIZE{size}": noise(size, size) for size in (0, each - 1, each, each + 1, 20 * each, 20_000)}
    first.queue(second.code, contents)
    second.queue(first.code, contents)
    house.start()
    all_acknowledged(first, second)
    for dataset, content in contents.items():
        first.delivered(dataset, content)
        second.delivered(dataset, content)


@pytest.mark.rfc("1.5.2", "5.3.5")
@pytest.mark.interop(12)
def test_a_file_offered_again_and_again_is_in_the_inbox_once(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    content = noise(10_000)
    sfid = peer.sfid(station, "ONCE", content)
    with peer.call(station) as talk:
        assert isinstance(talk.send(sfid, content), c.Efpa)
        refused = talk.send(sfid, content)
        assert isinstance(refused, c.Sfna)
        assert (refused.reason, refused.retry) == (AnswerReason.DUPLICATE_FILE, False)
        other = noise(3_000, 2)
        assert isinstance(talk.send(peer.sfid(station, "ONCE", other), other), c.Efpa), "the session goes on"
    with peer.call(station) as talk:
        refused = talk.send(sfid, content)
        assert isinstance(refused, c.Sfna)
        assert refused.reason is AnswerReason.DUPLICATE_FILE
    assert len(station.inbox_files()) == 2


def test_a_file_that_another_session_is_receiving_is_refused_for_now_and_taken_when_that_breaks(
    house: House, peer: Peer
) -> None:
    station = known_to(house.station(), peer)
    content = noise(400_000)
    sfid = peer.sfid(station, "TWICE", content)
    with peer.call(station) as one, peer.call(station) as other:
        one.say(sfid)
        one.hear(c.Sfpa)
        one.say_content(content[:300_000], last=False)
        refused = other.send(sfid, content)
        assert isinstance(refused, c.Sfna)
        # Not 13, which others take for "it has arrived", whether or not it allows another try.
        assert (refused.reason, refused.retry) == (AnswerReason.UNSPECIFIED, True)
        one.vanish()
        wait_for("the one to be over", lambda: len(station.sessions()) == 1, told=station.tail)
        assert isinstance(other.send(sfid, content), c.Efpa)
    station.delivered("TWICE", content)


# --- our end responses -----------------------------------------------------------------------------------------


def hear_eerp(talk: Talk, sfid: c.Sfid) -> None:
    """Pass the turn, and hear the acknowledgement of a file."""
    talk.say(c.Cd())
    heard = talk.hear(c.Eerp)
    assert heard.identity == sfid.identity
    assert (heard.originator, heard.destination) == (sfid.destination, sfid.originator)


def owed(station: Station, sfid: c.Sfid) -> ReceiptState:
    transfer = next(each for each in station.stored(Direction.IN) if each.key == sfid.identity)
    receipt = station.receipt(transfer.id)
    assert receipt is not None
    return receipt.state


def test_the_eerp_comes_in_the_next_session_when_the_first_breaks_before_it(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    content = noise(10_000)
    sfid = peer.sfid(station, "LATER", content)
    with peer.call(station) as talk:
        assert isinstance(talk.send(sfid, content), c.Efpa)
    station.has_no_session()
    assert owed(station, sfid) is ReceiptState.OWED
    with peer.call(station) as talk:
        hear_eerp(talk, sfid)
        talk.vanish()
    station.has_no_session()
    assert owed(station, sfid) is ReceiptState.OWED, "without RTR it is as if it had not been said"
    with peer.call(station) as talk:
        hear_eerp(talk, sfid)
        talk.say(c.Rtr())
        talk.hear(c.Cd)
        talk.leave()
    station.has_no_session()
    assert owed(station, sfid) is ReceiptState.SENT
    with peer.call(station) as talk:
        talk.say(c.Cd())
        talk.hear_end(EndSessionReason.NORMAL)


@pytest.mark.rfc("4.3.8", "5.3.15")
def test_end_responses_follow_each_other_one_rtr_at_a_time(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    content = noise(100)
    offers = [peer.sfid(station, "RTR", content) for _ in range(5)]
    with peer.call(station) as talk:
        for sfid in offers:
            assert isinstance(talk.send(sfid, content), c.Efpa)
        talk.say(c.Cd())
        for sfid in offers:
            assert talk.hear(c.Eerp).identity == sfid.identity
            talk.say(c.Rtr())
        talk.hear(c.Cd)
        talk.leave()


# --- their end responses ---------------------------------------------------------------------------------------


def test_an_eerp_in_another_session_acknowledges(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "ANSWERLATER")
    with peer.answer() as talk:
        sfid, content = talk.receive()
        assert content == noise(5_000)
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.leave()
    station.reaches(sent, TransferState.SENT)
    with peer.call(station) as talk:
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
        station.reaches(sent, TransferState.ACKNOWLEDGED)


@pytest.mark.rfc("4.3.7")
def test_a_nerp_says_why_and_the_file_can_be_sent_again_under_another_stamp(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "NOTWANTED")
    with peer.answer() as talk:
        sfid, _ = talk.receive()
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(
            c.Nerp(
                dataset=sfid.dataset,
                date=sfid.date,
                time=sfid.time,
                destination=sfid.originator,
                originator=sfid.destination,
                creator=sfid.destination,
                reason=NegativeResponseReason.PROCESSING_FAILED,
                text="unreadable",
            )
        )
        talk.hear(c.Rtr)
        refused = station.reaches(sent, TransferState.REFUSED)
        assert refused["reason"].startswith("NERP")
        assert refused["text"] == "unreadable"
    station.post(f"/v1/transfers/{sent}/retry")
    with peer.answer() as talk:
        again, content = talk.receive()
        assert not same_file(again, sfid)
        assert content == noise(5_000)
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(again))
        talk.hear(c.Rtr)
        station.reaches(sent, TransferState.ACKNOWLEDGED)


@pytest.mark.rfc("3.3.4.2", "5.3.9")
def test_efpa_that_asks_for_the_turn_gets_it_and_the_queue_goes_on_after(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    station.queue(peer.code, {"FIRST": noise(1_000, 1), "SECOND": noise(1_000, 2)})
    with peer.answer() as talk:
        first, _ = talk.receive()
        talk.say(c.Efpa(change_direction=True))
        talk.hear(c.Cd)
        talk.say(eerp(first))
        talk.hear(c.Rtr)
        content = noise(700, 3)
        assert isinstance(talk.send(peer.sfid(station, "BETWEEN", content), content), c.Efpa)
        talk.say(c.Cd())
        assert talk.hear(c.Eerp).dataset == "BETWEEN"
        talk.say(c.Rtr())
        second, _ = talk.receive()
        assert second.dataset == "SECOND"
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(second))
        talk.hear(c.Rtr)
        talk.say(c.Cd())
        talk.hear_end(EndSessionReason.NORMAL)
    all_acknowledged(station)


# --- refusals --------------------------------------------------------------------------------------------------


def test_a_duplicate_after_a_lost_efpa_counts_as_sent(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "LOSTEFPA")
    with peer.answer() as talk:
        sfid, _ = talk.receive()
    with peer.answer() as talk:
        assert same_file(talk.hear(c.Sfid), sfid)
        talk.say(c.Sfna(reason=AnswerReason.DUPLICATE_FILE))
        talk.hear(c.Cd)
        station.reaches(sent, TransferState.SENT)
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
        station.reaches(sent, TransferState.ACKNOWLEDGED)


def test_a_partner_that_still_receives_the_file_elsewhere_has_not_got_it(house: House, peer: Peer) -> None:
    """SFNA 13 that asks for another try is no confirmation, even if EFID has been said: it may have been lost."""
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "HALFWAY")
    with peer.answer() as talk:
        talk.receive()
    with peer.answer() as talk:
        talk.hear(c.Sfid)
        talk.say(c.Sfna(reason=AnswerReason.DUPLICATE_FILE, retry=True))
        talk.hear(c.Cd)
        talk.leave()
    with peer.answer() as talk:
        _, content = talk.receive()
        assert content == noise(5_000)
        talk.say(c.Efpa())
        talk.hear(c.Cd)
    station.reaches(sent, TransferState.SENT)


def test_a_duplicate_that_was_never_sent_fails_and_says_so(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "NEVERSENT")
    with peer.answer() as talk:
        talk.hear(c.Sfid)
        talk.say(c.Sfna(reason=AnswerReason.DUPLICATE_FILE, text="had it"))
        talk.hear(c.Cd)
        talk.leave()
    failed = station.reaches(sent, TransferState.FAILED)
    assert (failed["reason"], failed["text"]) == ("SFNA 13", "had it")


def test_a_permanent_refusal_fails_at_once_and_retry_sends_the_same_file_again(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "NOSUCHNAME")
    with peer.answer() as talk:
        sfid = talk.hear(c.Sfid)
        talk.say(c.Sfna(reason=AnswerReason.INVALID_FILE_NAME, text="what is that"))
        talk.hear(c.Cd)
        talk.leave()
    failed = station.reaches(sent, TransferState.FAILED)
    assert (failed["reason"], failed["text"]) == ("SFNA 01", "what is that")
    station.line("NOSUCHNAME failed", "oftp2d send --as")
    station.post(f"/v1/transfers/{sent}/retry")
    with peer.answer() as talk:
        again, content = talk.receive()
        assert same_file(again, sfid)
        assert content == noise(5_000)
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(again))
        talk.hear(c.Rtr)
        station.reaches(sent, TransferState.ACKNOWLEDGED)
    with pytest.raises(RefusedError):
        station.post(f"/v1/transfers/{sent}/retry")


@pytest.mark.parametrize("answer", ["SFNA", "EFNA"])
def test_a_passing_refusal_is_tried_again_by_itself(house: House, peer: Peer, answer: str) -> None:
    station = known_to(house.station(), peer, callable_=True)
    sent = station.send(peer.code, noise(5_000), "NOTNOW")
    with peer.answer() as talk:
        if answer == "EFNA":
            talk.receive()
            talk.say(c.Efna(reason=AnswerReason.ACCESS_METHOD_FAILURE, text="disk full"))
        else:
            talk.hear(c.Sfid)
            talk.say(c.Sfna(reason=AnswerReason.ACCESS_METHOD_FAILURE, retry=True))
        talk.hear(c.Cd)
        talk.leave()
    with peer.answer() as talk:
        sfid, content = talk.receive()
        assert content == noise(5_000)
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(sfid))
        talk.hear(c.Rtr)
        station.reaches(sent, TransferState.ACKNOWLEDGED)


def test_a_file_whose_content_the_partner_rejects_fails_and_the_next_one_goes(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    queued = station.queue(peer.code, {"BAD": noise(1_000, 1), "GOOD": noise(1_000, 2)})
    with peer.answer() as talk:
        talk.receive()
        talk.say(c.Efna(reason=AnswerReason.INVALID_BYTE_COUNT))
        good, _ = talk.receive()
        assert good.dataset == "GOOD"
        talk.say(c.Efpa())
        talk.hear(c.Cd)
    assert station.reaches(queued["BAD"], TransferState.FAILED)["reason"].startswith("EFNA")
    station.reaches(queued["GOOD"], TransferState.SENT)


def test_a_cancelled_file_is_not_sent(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    queued = station.queue(peer.code, {"STAYS": noise(1_000, 1), "GOES": noise(1_000, 2)})
    station.post(f"/v1/transfers/{queued['STAYS']}/cancel")
    with peer.call(station) as talk:
        talk.say(c.Cd())
        sfid, _ = talk.receive()
        assert sfid.dataset == "GOES"
        talk.say(c.Efpa())
        talk.hear(c.Cd)
        with pytest.raises(RefusedError):
            station.post(f"/v1/transfers/{queued['GOES']}/cancel")
        talk.leave()
    assert station.state(queued["STAYS"]) is TransferState.CANCELLED
    assert station.state(queued["GOES"]) is TransferState.SENT
