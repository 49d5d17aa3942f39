"""What real systems do, played to a daemon: each tolerance is marked with its number."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace

import pytest

from oftp2 import codec
from oftp2 import commands as c
from oftp2.framing import frame
from oftp2.reasons import AnswerReason, EndSessionReason
from oftp2d.ledger import Direction, TransferState, Transport
from tests.stations.house import House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk, eerp


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


@pytest.fixture
def station(house: House, peer: Peer) -> Station:
    """A running station that knows the peer."""
    made = house.station()
    peer.introduce(made)
    made.start()
    return made


@pytest.mark.interop(1)
@pytest.mark.parametrize(
    "end", [b"F00\r", b"F00", b"F00\n", b"F00000", b"F00000\x8d"], ids=lambda octets: repr(octets)[2:-1]
)
def test_a_session_ends_normally_with_an_esid_in_any_form(station: Station, peer: Peer, end: bytes) -> None:
    with peer.call(station) as talk:
        talk.say_octets(frame(end))
        assert talk.next() is None
    station.line("ended normally")


@pytest.mark.interop(2, 3)
def test_a_file_in_padded_buffers_one_octet_too_long_arrives(station: Station, peer: Peer) -> None:
    """Each buffer has 129 octets where 128 were agreed, most of them empty subrecords; credit comes when it is used up."""
    content = noise(60 * 20)
    with peer.call(station, buffer_size=128, credit=2) as talk:
        talk.say(peer.sfid(station, "PADDED", content))
        talk.hear(c.Sfpa)
        for at in range(0, len(content), 60):
            piece = bytes([60]) + content[at : at + 60]
            talk.say_octets(frame(b"D" + piece + bytes(128 - len(piece))))
            if at // 60 % 2:
                talk.hear(c.Cdt)
        talk.say(c.Efid(octets=len(content)))
        talk.hear(c.Efpa)
    station.delivered("PADDED", content)


@pytest.mark.interop(2)
@pytest.mark.parametrize(
    "data", [[], [b"D\x80"], [b"D\x00"], [b"D"]], ids=["none", "an end", "an empty one", "nothing"]
)
def test_an_empty_file_arrives_in_any_form(station: Station, peer: Peer, data: list[bytes]) -> None:
    with peer.call(station) as talk:
        talk.say(peer.sfid(station, "EMPTY", b""))
        talk.hear(c.Sfpa)
        for each in data:
            talk.say_octets(frame(each))
        talk.say(c.Efid(octets=0))
        talk.hear(c.Efpa)
    station.delivered("EMPTY", b"")


@pytest.mark.interop(4)
def test_an_end_response_acknowledges_with_its_trailer_cut_off_or_signed_unasked(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station)
    queued = station.queue(peer.code, {f"FILE{number}": b"content" for number in range(4)})
    station.start()
    with peer.call(station) as talk:
        talk.say(c.Cd())
        sfids = []
        for _ in queued:
            sfids.append(talk.receive()[0])
            talk.say(c.Efpa())
        talk.hear(c.Cd)
        bare = [codec.encode(eerp(sfid)) for sfid in sfids]
        signed = codec.encode(replace(eerp(sfids[3]), hash=bytes(32), signature=b"\x30\x80" + bytes(300)))
        for octets in (bare[0], bare[1][:-2], bare[2][:-4], signed):
            talk.say_octets(frame(octets))
            talk.hear(c.Rtr)
    for transfer in queued.values():
        station.reaches(transfer, TransferState.ACKNOWLEDGED)


@pytest.mark.interop(5)
def test_a_description_whose_length_counts_characters_is_understood(station: Station, peer: Peer) -> None:
    sfid = replace(peer.sfid(station, "TEXTS", b"x"), description="Größe")
    with peer.call(station) as talk:
        talk.say_octets(frame(codec.encode(sfid).replace("007Größe".encode(), "005Größe".encode())))
        talk.hear(c.Sfpa)
        talk.say_content(b"x")
        talk.say(c.Efid(octets=1))
        talk.hear(c.Efpa)
    (arrived,) = station.stored(Direction.IN)
    assert arrived.description == "Größe"


@pytest.mark.interop(7)
def test_a_peer_that_hangs_up_on_an_offer_without_a_word_is_called_again(house: House, peer: Peer) -> None:
    station = house.station()
    peer.introduce(station, callable_=True)
    station.start()
    station.send(peer.code, b"content", "ORDERS")
    with peer.answer() as talk:
        talk.hear(c.Sfid)
        talk.plug.close()
    with peer.answer() as talk:
        sfid, content = talk.receive()
        assert (sfid.dataset, content) == ("ORDERS", b"content")


@pytest.mark.interop(8)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_caller_of_either_tls_without_a_server_name_is_served(house: House, version: ssl.TLSVersion) -> None:
    station = house.station()
    with Peer(transport=Transport.TLS) as peer:
        peer.introduce(station)
        station.start()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        plug = socket.create_connection(("127.0.0.1", station.tls_port), timeout=15)
        with Talk(context.wrap_socket(plug)) as talk:
            assert isinstance(talk.plug, ssl.SSLSocket)
            assert talk.plug.compression() is None
            talk.hear(c.Ssrm)
            talk.say(talk.ssid(peer.code))
            talk.hear(c.Ssid)
        station.line(" stands, ", version.name.replace("_", ".", 1).replace("_", "."))


@pytest.mark.interop(9)
def test_a_file_counts_as_received_though_its_sender_leaves_without_reading_efpa(station: Station, peer: Peer) -> None:
    content = noise(5_000)
    with peer.call(station) as talk:
        talk.say(peer.sfid(station, "HASTY", content))
        talk.hear(c.Sfpa)
        talk.say_content(content)
        talk.say(c.Efid(octets=len(content)), c.Esid(reason=EndSessionReason.NORMAL))
    wait_for("the file to be delivered", station.inbox_files, told=station.tail)
    station.has_no_session()
    station.delivered("HASTY", content)
    with peer.call(station) as talk:
        talk.say(c.Cd())
        assert talk.hear(c.Eerp).dataset == "HASTY"


@pytest.mark.interop(11)
def test_a_connection_test_of_a_peer_is_no_error(station: Station, peer: Peer) -> None:
    with peer.call(station) as talk:
        talk.say(c.Esid(reason=EndSessionReason.NORMAL))
        assert talk.next() is None
    station.line("ended normally")
    assert not [line for line in station.log().splitlines() if " warn " in line or " error " in line]


@pytest.mark.interop(12)
def test_files_of_one_second_are_told_apart_by_their_counters_and_0000_is_one(station: Station, peer: Peer) -> None:
    content = noise(100)
    first = peer.sfid(station, "COUNTED", content, time="1200000000")
    with peer.call(station) as talk:
        for counter in ("0000", "0001", "9999"):
            assert isinstance(talk.send(replace(first, time=f"120000{counter}"), content), c.Efpa)
        again = talk.send(first, content)
        assert isinstance(again, c.Sfna)
        assert again.reason is AnswerReason.DUPLICATE_FILE
    assert len(station.inbox_files()) == 3
