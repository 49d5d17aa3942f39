"""Partners of every release level, and what was agreed with a partner for its sessions: direction, compression, restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oftp2 import commands as c
from oftp2.reasons import EndSessionReason
from oftp2.values import Level, Mode
from oftp2d.client import RefusedError
from oftp2d.ledger import (
    Authentication,
    Direction,
    Kind,
    NewIncoming,
    NewReceipt,
    ReceiptKind,
    ReceiptState,
    Traffic,
    TransferState,
)
from tests.stations.house import House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp

LOWER = (Level.REVISION_1_2, Level.REVISION_1_3, Level.REVISION_1_4)
lower_levels = pytest.mark.parametrize("level", LOWER, ids=lambda level: f"level {level}")


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def all_acknowledged(*stations: Station) -> None:
    def acknowledged() -> bool:
        sent = [transfer for station in stations for transfer in station.stored(Direction.OUT)]
        return all(transfer.state is TransferState.ACKNOWLEDGED for transfer in sent)

    wait_for("everything to be acknowledged", acknowledged, told=lambda: "\n".join(each.tail() for each in stations))


def asked(station: Station, peer: Peer, **said: Any) -> c.Command | None:
    """The answer of a station to an SSID."""
    with peer.connect(station) as talk:
        talk.hear(c.Ssrm)
        talk.say(talk.ssid(peer.code, **said))
        return talk.next()


# --- levels


@pytest.mark.interop(6)
@lower_levels
def test_files_and_end_responses_go_both_ways_at_a_lower_level(house: House, level: Level) -> None:
    first, second = house.station(), house.station("CB01")
    first.know(second.code, port=second.tls_port, level=int(level))
    second.know(first.code, port=None, level=int(level))
    ours, theirs = noise(50_000, 1), noise(70_000, 2)
    # Two of one name in one second: what tells them apart must be in the stamp that this level has.
    for number in range(2):
        first.queue(second.code, {"OURS": ours[number:]})
        second.queue(first.code, {"THEIRS": theirs[number:]})
    house.start(second)
    house.start(first)
    all_acknowledged(first, second)
    for station, sizes in ((second, (50_000, 49_999)), (first, (70_000, 69_999))):
        arrived = station.stored(Direction.IN)
        assert [(each.state, each.octets) for each in arrived] == [(TransferState.DELIVERED, size) for size in sizes]
        if level < Level.REVISION_1_4:
            assert {each.time[6:] for each in arrived} == {"0000"}
    assert len(first.lines(" stands, ")) == len(second.lines(" stands, ")) == 1


def test_the_lower_level_of_both_is_spoken(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, level=4)
    station.start()
    for offered, agreed in ((1, 1), (2, 2), (4, 4), (5, 4), (9, 4)):
        answer = asked(station, peer, level=offered)
        assert isinstance(answer, c.Ssid)
        assert answer.level == agreed


def test_a_call_offers_the_level_of_the_partner(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True, level=2)
    station.start()
    station.send(peer.code, b"content", "ORDERS")
    with peer.accept() as talk:
        talk.say(c.Ssrm())
        assert talk.hear(c.Ssid).level == 2


@pytest.mark.interop(12)
@pytest.mark.parametrize("level", [Level.REVISION_1_2, Level.REVISION_1_3], ids=lambda level: f"level {level}")
def test_an_end_response_without_counter_is_about_the_file_of_its_second(
    house: House, peer: Peer, level: Level
) -> None:
    """The partner is taken for one of level 5, and so its files have counters."""
    station = house.station()
    peer.introduce(station)
    queued = station.queue(peer.code, {"ONE": b"one", "OTHER": b"other"})
    station.start()
    assert {transfer.time[6:] for transfer in station.stored(Direction.OUT)} == {"0001"}
    with peer.call(station, level=level) as talk:
        talk.say(c.Cd())
        sfids = []
        for _ in queued:
            sfid, _content = talk.receive()
            assert sfid.time[6:] == "0000"
            sfids.append(sfid)
            talk.say(c.Efpa())
        talk.hear(c.Cd)
        for sfid in reversed(sfids):
            talk.say(eerp(sfid))
            talk.hear(c.Rtr)
        talk.say(replace(eerp(sfids[0]), dataset="NEVER"))
        talk.hear(c.Rtr)
    for transfer in queued.values():
        assert station.reaches(transfer, TransferState.ACKNOWLEDGED)
    assert station.lines("EERP for a file never sent", "NEVER")
    assert station.lines(f"'oftp2d partner change {peer.code} --level {level}'")


def same_second(station: Station, peer: Peer, *contents: bytes) -> list[str]:
    """Files of one name, queued for the peer in one second: their transfers."""
    queued = [station.queue(peer.code, {"SAME": content})["SAME"] for content in contents]
    with station.ledger() as ledger, ledger.transfers._database.writing() as connection:
        for number, transfer in enumerate(queued, 1):
            stamp = "UPDATE transfers SET date = '20260304', time = ? WHERE id = ?"
            connection.exec_driver_sql(stamp, (f"123015{number:04}", transfer))
    return queued


@pytest.mark.interop(12)
def test_an_end_response_without_counter_answers_none_of_several_files_of_its_second(house: House, peer: Peer) -> None:
    """However often it is said: the files behind the first are not what it is about."""
    station = house.station()
    peer.introduce(station)
    queued = same_second(station, peer, b"one", b"other")
    station.start()
    sfids = []
    with peer.call(station) as talk:
        talk.say(c.Cd())
        for _ in queued:
            sfid, _content = talk.receive()
            sfids.append(sfid)
            talk.say(c.Efpa())
        talk.hear(c.Cd)
        talk.say(eerp(sfids[0]))
        talk.hear(c.Rtr)
        talk.leave()
    station.has_no_session()
    with peer.call(station, level=Level.REVISION_1_3) as talk:
        for _ in range(2):
            talk.say(eerp(sfids[0]))
            talk.hear(c.Rtr)
        talk.leave()
    station.line("EERP for one of several files", "nothing changes", f"partner change {peer.code} --level 2", count=2)
    states = [each.state for each in station.stored(Direction.OUT)]
    assert states == [TransferState.ACKNOWLEDGED, TransferState.SENT]


@pytest.mark.interop(12)
def test_files_of_one_name_and_second_get_seconds_of_their_own_in_a_session_without_counters(
    house: House, peer: Peer
) -> None:
    station = house.station()
    peer.introduce(station)
    contents = [b"one", b"two", b"three"]
    same_second(station, peer, *contents)
    station.start()
    sfids = {}
    with peer.call(station, level=Level.REVISION_1_3) as talk:
        talk.say(c.Cd())
        for _ in contents:
            sfid, content = talk.receive()
            sfids[sfid.date, sfid.time] = content
            talk.say(c.Efpa())
            last = sfid
        talk.hear(c.Cd)
        assert list(sfids.values()) == contents
        for _ in range(2):
            talk.say(eerp(last))
            talk.hear(c.Rtr)
        talk.leave()
    states = [each.state for each in station.stored(Direction.OUT)]
    assert states == [TransferState.SENT, TransferState.SENT, TransferState.ACKNOWLEDGED]


@pytest.mark.interop(12)
@pytest.mark.parametrize("agreed", [2, 5])
def test_a_file_that_the_partner_may_have_is_not_offered_without_its_counter_where_it_could_be_another(
    house: House, peer: Peer, agreed: int
) -> None:
    station = house.station()
    peer.introduce(station)
    kept, again = same_second(station, peer, b"one", b"other")
    station.start()
    with peer.call(station) as talk:
        talk.say(c.Cd())
        talk.receive()
        talk.say(c.Efpa())
        talk.receive()
    station.has_no_session()
    with station.ledger() as ledger, ledger.transfers._database.writing() as connection:
        connection.exec_driver_sql("UPDATE transfers SET next_attempt_at = NULL")
        connection.exec_driver_sql("UPDATE partners SET level = ?", (agreed,))
    with peer.call(station, level=Level.REVISION_1_3) as talk:
        talk.say(c.Cd())
        talk.hear_end(EndSessionReason.NORMAL)
    station.has_no_session()
    assert station.state(kept) is TransferState.SENT
    assert station.state(again) is (TransferState.QUEUED if agreed == 5 else TransferState.FAILED)
    station.line("SAME", "cannot tell it from another file", "level 4 or 5" if agreed == 5 else "--new-stamp")
    before, after = station.stored(Direction.OUT)
    assert (before.time, after.time, after.efid_sent) == ("1230150001", "1230150002", True)


def test_a_refusal_that_a_level_has_no_word_for_is_owed_no_longer(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, level=2)
    refused = refuse_one(station, peer)
    station.start()
    with peer.call(station, level=Level.REVISION_1_2) as talk:
        talk.say(c.Cd())
        talk.hear_end(EndSessionReason.NORMAL)
    station.line("it cannot be told", "no NERP", refused)
    assert station.receipt(refused) is None


def test_an_end_response_that_only_this_session_cannot_carry_waits_for_one_that_can(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    refused = refuse_one(station, peer)
    station.start()
    for level in (Level.REVISION_1_2, Level.REVISION_1_3):
        with peer.call(station, level=level) as talk:
            talk.say(c.Cd())
            talk.hear_end(EndSessionReason.NORMAL)
        station.has_no_session()
        station.line("waits for a session of a higher level", refused, f"--level {level}")
    with peer.call(station) as talk:
        talk.say(c.Cd())
        nerp = talk.hear(c.Nerp)
        talk.say(c.Rtr())
        talk.hear(c.Cd)
        talk.leave()
    assert (nerp.dataset, nerp.reason, nerp.text) == ("REFUSED", 34, "it cannot be read")


@pytest.mark.parametrize("agreed", [5, 4])
def test_a_signature_is_left_out_only_for_a_partner_that_never_speaks_its_level(
    house: House, peer: Peer, agreed: int
) -> None:
    station = house.station()
    peer.introduce(station, level=agreed)
    refused = refuse_one(station, peer, hash=b"h" * 20, signature=b"signature")
    station.start()
    with peer.call(station, level=Level.REVISION_1_4) as talk:
        talk.say(c.Cd())
        if agreed == 5:
            talk.hear_end(EndSessionReason.NORMAL)
        else:
            assert talk.hear(c.Nerp).signature == b""
            talk.say(c.Rtr())
            talk.hear(c.Cd)
            talk.leave()
    station.has_no_session()
    receipt = station.receipt(refused)
    assert receipt is not None
    assert receipt.state is (ReceiptState.OWED if agreed == 5 else ReceiptState.SENT)


def test_a_partner_is_not_called_again_at_once_for_what_its_level_cannot_carry(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True)
    refuse_one(station, peer)
    station.start()
    with peer.accept() as talk:
        talk.level = Level.REVISION_1_3
        talk.say(c.Ssrm())
        talk.agree(talk.hear(c.Ssid))
        talk.say(talk.ssid(peer.code))
        talk.hear(c.Cd)
        talk.leave()
    station.line("the call failed, next one in", "release level 2 cannot carry an end response that is owed")


def refuse_one(station: Station, peer: Peer, **signed: bytes) -> str:
    """A file of the peer that was received and refused behind the daemon's back; its NERP is owed."""
    now = datetime.now(UTC)
    new = NewIncoming(
        kind=Kind.FILE,
        partner_id=1,
        dataset="REFUSED",
        date="20260101",
        time="1200000000",
        originator=peer.code,
        destination=station.code,
        format="U",
        octets=0,
        file_name="",
        description="",
        user="",
    )
    with station.ledger() as ledger:
        opened = ledger.transfers.open_incoming(new, now, "test", timedelta(seconds=1))
        ledger.transfers.received(opened.id, 0, "", "", now)  # type: ignore[union-attr]  # it is the first
        receipt = NewReceipt(kind=ReceiptKind.NERP, reason=34, text="it cannot be read", **signed)
        return ledger.transfers.refuse(opened.id, "NERP 34", "", now, receipt).id  # type: ignore[union-attr]  # as above


def test_a_file_too_large_for_the_level_fails_with_the_field_that_has_no_room(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, level=1)
    queued = station.queue(peer.code, {"LARGE": b"x"})["LARGE"]
    with station.ledger() as ledger, ledger.transfers._database.writing() as connection:
        connection.exec_driver_sql("UPDATE transfers SET octets = 10240000000")
    station.start()
    with peer.call(station, level=Level.REVISION_1_2) as talk:
        talk.say(c.Cd())
        station.line("LARGE failed", "SFIDFSIZ takes a number of up to 7 digits", queued)


@pytest.mark.interop(6)
@pytest.mark.parametrize("setting", [Authentication.ON, Authentication.PREPARED])
def test_a_partner_with_session_authentication_is_never_spoken_to_below_level_5(
    house: House, peer: Peer, setting: Authentication
) -> None:
    station = house.station()
    peer.introduce(station, callable_=True, authentication=setting, level=1)
    station.start()
    for level in LOWER:
        with peer.connect(station) as talk:
            talk.hear(c.Ssrm)
            talk.level = level
            talk.say(talk.ssid(peer.code))
            talk.hear_end(EndSessionReason.INCOMPATIBLE)
    assert station.lines("level 5 is required")
    station.send(peer.code, b"content", "ORDERS")
    with peer.accept() as talk:
        talk.say(c.Ssrm())
        assert talk.hear(c.Ssid).level == 5
        talk.level = Level.REVISION_1_4
        talk.say(talk.ssid(peer.code))
        talk.hear_end(EndSessionReason.INCOMPATIBLE)


def test_a_level_that_does_not_exist_or_has_no_authentication_cannot_be_set(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    with station.admin() as client:
        with pytest.raises(RefusedError, match="there is no release level 3"):
            client.patch(f"/v1/partners/{peer.code}", {"level": 3})
        with pytest.raises(RefusedError, match="level is no number for here"):
            client.patch(f"/v1/partners/{peer.code}", {"level": 6})
        assert client.patch(f"/v1/partners/{peer.code}", {"level": 2})["level"] == 2
        with pytest.raises(RefusedError, match="level 2 has no session authentication"):
            client.patch(f"/v1/partners/{peer.code}", {"authentication": "on"})
        with pytest.raises(RefusedError, match="level 4 has no session authentication"):
            client.post("/v1/partners", {"code": "OTHER", "level": 4, "authentication": "prepared"})


# --- what else was agreed


@pytest.mark.rfc("5.3.2")
@pytest.mark.parametrize("agreed", [False, True])
def test_compression_and_restart_are_offered_where_they_were_agreed(house: House, peer: Peer, *, agreed: bool) -> None:
    station = house.station()
    peer.introduce(station, callable_=True, compression=agreed, restart=agreed)
    station.start()
    answer = asked(station, peer, compression=True, restart=True)
    assert isinstance(answer, c.Ssid)
    assert (answer.compression, answer.restart) == (agreed, agreed)
    answer = asked(station, peer)
    assert isinstance(answer, c.Ssid)
    assert (answer.compression, answer.restart) == (False, False)
    station.send(peer.code, b"content", "ORDERS")
    with peer.accept() as talk:
        talk.say(c.Ssrm())
        offer = talk.hear(c.Ssid)
    assert (offer.compression, offer.restart) == (agreed, agreed)


@pytest.mark.rfc("5.3.2")
def test_special_logic_is_never_agreed(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    station.start()
    answer = asked(station, peer, special_logic=True)
    assert isinstance(answer, c.Ssid)
    assert not answer.special_logic


@pytest.mark.rfc("5.3.2", "5.3.11")
@pytest.mark.parametrize(
    ("mode", "said", "answered"),
    [
        (Traffic.BOTH, Mode.BOTH, Mode.BOTH),
        (Traffic.SEND, Mode.BOTH, Mode.SENDER),
        (Traffic.SEND, Mode.RECEIVER, Mode.SENDER),
        (Traffic.RECEIVE, Mode.BOTH, Mode.RECEIVER),
        (Traffic.RECEIVE, Mode.SENDER, Mode.RECEIVER),
        (Traffic.SEND, Mode.SENDER, None),
        (Traffic.RECEIVE, Mode.RECEIVER, None),
    ],
)
def test_the_direction_of_files_is_agreed_or_the_session_ends_with_10(
    house: House, peer: Peer, mode: Traffic, said: Mode, answered: Mode | None
) -> None:
    station = house.station()
    peer.introduce(station, mode=mode)
    station.start()
    answer = asked(station, peer, mode=said)
    if answered is None:
        assert isinstance(answer, c.Esid)
        assert answer.reason is EndSessionReason.INCOMPATIBLE
    else:
        assert isinstance(answer, c.Ssid)
        assert answer.mode is answered


def test_a_partner_to_which_we_only_send_cannot_send(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, mode=Traffic.SEND)
    station.start()
    with peer.call(station) as talk:
        talk.say(peer.sfid(station, "UNWANTED", b"content"))
        talk.hear_end(EndSessionReason.PROTOCOL_VIOLATION)
    assert station.stored(Direction.IN) == []


def test_nothing_is_sent_to_a_partner_from_which_we_only_receive(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True, mode=Traffic.RECEIVE)
    queued = station.queue(peer.code, {"BEFORE": b"content"})["BEFORE"]
    station.start()
    with pytest.raises(RefusedError, match="we only receive from"):
        station.send(peer.code, b"content", "AFTER")
    content = noise(1_000)
    with peer.call(station) as talk:
        assert isinstance(talk.send(peer.sfid(station, "THEIRS", content), content), c.Efpa)
        end_responses(talk)
    station.has_no_session()
    assert "only receive" in station.transfer(queued)["waits_for"]
    station.delivered("THEIRS", content)
    # Were it called for what waits, that would be before the call that the change of the setting brings.
    with station.admin() as client:
        client.patch(f"/v1/partners/{peer.code}", {"mode": "both"})
    with peer.answer() as talk:
        sfid, sent = talk.receive()
        assert (sfid.dataset, sent) == ("BEFORE", b"content")


def end_responses(talk: Talk) -> None:
    """Hand over the turn, take the end responses, and get the turn back."""
    talk.say(c.Cd())
    while isinstance(said := talk.next(), c.Eerp):
        talk.say(c.Rtr())
    assert isinstance(said, c.Cd), said
    talk.leave()
