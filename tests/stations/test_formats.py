"""Files of every format and their records: between two daemons, and with a partner that is played word by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import pytest

from oftp2 import buffers
from oftp2 import commands as c
from oftp2.reasons import AnswerReason
from oftp2.values import FileFormat
from oftp2d.client import RefusedError
from oftp2d.ledger import Direction, LineEnds, TransferState
from tests.stations.house import MEBIBYTE, House, Station, noise, wait_for
from tests.stations.peer import Peer, Talk


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def known_to(station: Station, peer: Peer, **more: object) -> Station:
    """The station, running, with the peer as its partner."""
    peer.introduce(station, **more)
    station.start()
    return station


def variable(records: Sequence[bytes]) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


def all_acknowledged(*stations: Station) -> None:
    def acknowledged() -> bool:
        sent = [transfer for station in stations for transfer in station.stored(Direction.OUT)]
        return all(transfer.state is TransferState.ACKNOWLEDGED for transfer in sent)

    wait_for("everything to be acknowledged", acknowledged, told=lambda: "\n".join(each.tail() for each in stations))


# --- between two daemons ---------------------------------------------------------------------------------------

EMPTY = [b""]
MANY = [noise(number % 40, number) for number in range(1_000)] * 100
VARIABLE: dict[str, list[bytes]] = {
    "V-NONE": [],
    "V-EMPTY": EMPTY,
    "V-EMPTIES": EMPTY * 5_000,
    "V-MIXED": [b"", b"a", b"", noise(63), noise(64), b"", b""],
    "V-LONGEST": [noise(65_535, number) for number in range(40)] + EMPTY,
    "V-MANY": MANY,
}
FIXED: dict[str, tuple[int, int]] = {
    "F-NONE": (80, 0),
    "F-ONE": (80, 1),
    "F-OCTETS": (1, 5_000),
    "F-LONGEST": (99_999, 30),
    "F-MANY": (80, 100_000),
    "F-SUBRECORD": (63, 1_000),
}


def test_files_of_every_format_go_both_ways_and_arrive_as_they_were(house: House) -> None:
    first, second = house.pair()
    house.start()
    # The second one cannot call: what it has must wait before the first one does.
    for station, partner in ((second, first), (first, second)):
        for dataset, records in VARIABLE.items():
            station.send(partner.code, variable(records), dataset, format="V")
        for dataset, (length, count) in FIXED.items():
            content = noise(length * count, count)
            station.send(partner.code, content, dataset, format="F", record_length=length)
        for dataset, content in (("T-NONE", b""), ("T", b"one\r\ntwo\xff" * 10_000)):
            station.send(partner.code, content, dataset, format="T")
    all_acknowledged(first, second)
    for station in (first, second):
        for dataset, records in VARIABLE.items():
            transfer, content = station.arrived(dataset)
            assert content == variable(records)
            assert (transfer.format, transfer.records) == ("V", len(records))
            assert transfer.octets == sum(map(len, records))
            assert transfer.record_length == max(map(len, records), default=0)
        for dataset, (length, count) in FIXED.items():
            transfer, content = station.arrived(dataset)
            assert content == noise(length * count, count)
            assert (transfer.format, transfer.records, transfer.record_length) == ("F", count, length)
            assert transfer.octets == length * count
        for dataset, content in (("T-NONE", b""), ("T", b"one\r\ntwo\xff" * 10_000)):
            transfer, found = station.arrived(dataset)
            assert (transfer.format, transfer.records, found) == ("T", 0, content)


def test_records_survive_the_smallest_buffers_with_a_credit_of_one(house: House) -> None:
    first, second = house.pair(session={"buffer_size": 128, "credit": 1})
    house.start()
    records = [noise(length, length) for length in range(300)] + EMPTY * 300
    first.send(second.code, variable(records), "V", format="V", record_length=1_000)
    first.send(second.code, noise(200 * 130), "F", format="F", record_length=130)
    all_acknowledged(first)
    transfer, content = second.arrived("V")
    assert (content, transfer.records, transfer.record_length) == (variable(records), 600, 1_000)
    assert second.arrived("F")[1] == noise(200 * 130)


TEXT = "Stra\u00dfe \u00c4\u00d6\u00dc [1]\n\nlast line without an end"
CP273 = TEXT.replace("\n", "\r\n").encode("cp273")


def test_text_travels_in_the_partners_character_set_and_comes_back_in_ours(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    port = second.tls_port
    first.know(second.code, port=port, text_charset="cp273", text_line_ends=LineEnds.LF)
    second.know(first.code, port=None)
    house.start()
    large = (TEXT + "\n") * 20_000
    second.send(first.code, CP273, "IN", format="T")
    second.send(first.code, CP273, "UNTOUCHED", format="U")
    first.send(second.code, TEXT.encode(), "OUT", format="T")
    first.send(second.code, large.encode(), "LARGE", format="T")
    first.send(second.code, TEXT.encode(), "ASITIS", format="U")
    all_acknowledged(first, second)
    assert second.arrived("OUT")[1] == CP273
    assert second.arrived("LARGE")[1] == large.replace("\n", "\r\n").encode("cp273")
    assert second.arrived("ASITIS")[1] == TEXT.encode()
    transfer, content = first.arrived("IN")
    assert content == TEXT.encode()
    assert transfer.octets == len(CP273)
    assert first.arrived("UNTOUCHED")[1] == CP273
    inbox = {each["dataset"]: each for each in first.get("/v1/inbox")["files"]}
    assert inbox["IN"]["format"] == "T"
    with first.admin() as client:
        assert b"".join(client.download(f"/v1/inbox/{transfer.id}/content", lambda _: None)) == TEXT.encode()
    assert not list((first.home / "spool" / "received").iterdir())


def test_what_is_no_text_in_the_partners_character_set_is_refused_at_either_end(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    first.know(second.code, port=second.tls_port, text_charset="iso8859-1")
    second.know(first.code, port=None, text_charset="ascii")
    house.start()
    with pytest.raises(RefusedError, match="line 2 holds '\u20ac'"):
        first.send(second.code, "one\n\u20ac\n".encode(), "EURO", format="T")
    assert first.stored(Direction.OUT) == []
    sent = first.send(second.code, "one\ntw\u00f6\n".encode(), "UMLAUT", format="T")
    refused = first.reaches(sent, TransferState.REFUSED)
    assert refused["reason"] == "NERP 34"
    assert refused["text"] == "line 2 holds the octet F6, which is no text in ascii"
    assert second.inbox_files() == []
    assert not list((second.home / "spool" / "received").iterdir())


def test_a_text_whose_delivery_a_crash_prevented_is_delivered_at_the_next_start(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, text_charset="cp500", text_line_ends=LineEnds.LF)
    content = "one\r\ntwo\r\n".encode("cp500") * 300_000
    sfid = peer.sfid(station, "TEXT", content, format=FileFormat.TEXT)
    with peer.call(station) as talk:
        assert isinstance(talk.send(sfid, content), c.Efpa)
        station.kill()
    station.start()
    wait_for("delivery", lambda: station.stored(Direction.IN)[0].state is TransferState.DELIVERED, told=station.tail)
    assert station.arrived("TEXT")[1] == b"one\ntwo\n" * 300_000


# --- word by word ----------------------------------------------------------------------------------------------


def say_records(talk: Talk, octets: bytes, ends: Sequence[int]) -> None:
    """All of a file with these record ends, within the credit."""
    talk.say_octets(bytes(buffers.encode(octets, talk.buffer_size, last=False, ends=list(ends)).stream))


def offer(talk: Talk, peer: Peer, station: Station, *, form: FileFormat, length: int) -> c.Command | None:
    """Offer a file of this format; the answer."""
    talk.say(peer.sfid(station, f"{form.name}{length}", b"", format=form, record_length=length))
    return talk.next()


def test_a_record_length_that_cannot_be_stored_is_refused_before_the_data(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    with peer.call(station) as talk:
        for form, length in ((FileFormat.FIXED, 0), (FileFormat.VARIABLE, 65_537), (FileFormat.VARIABLE, 99_999)):
            answer = offer(talk, peer, station, form=form, length=length)
            assert isinstance(answer, c.Sfna)
            assert (answer.reason, answer.retry) == (AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, False)
            assert f"SFIDLRECL is {length}" in answer.text


@pytest.mark.parametrize(
    ("form", "octets", "ends", "counts", "reason", "why"),
    [
        (FileFormat.FIXED, b"abcdefgh", [4], (2, 8), None, ""),
        (FileFormat.FIXED, b"abcdefgh", [4, 8], (1, 8), AnswerReason.INVALID_RECORD_COUNT, "EFIDRCNT is 1, 2 records"),
        (FileFormat.FIXED, b"abcdefgh", [4, 8], (0, 8), AnswerReason.INVALID_RECORD_COUNT, "EFIDRCNT is 0, 2 records"),
        (FileFormat.FIXED, b"abcdefgh", [4, 8], (2, 9), AnswerReason.INVALID_BYTE_COUNT, "EFIDUCNT is 9, 8 octets"),
        (FileFormat.FIXED, b"abcdefgh", [8], (1, 8), AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, "record 1 is longer"),
        (FileFormat.FIXED, b"abcdef", [4, 6], (2, 6), AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, "record 2 has 2 octets"),
        (FileFormat.FIXED, b"abcdef", [4], (2, 6), AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, "the last, has 2 octets"),
        (FileFormat.VARIABLE, b"abcd", [0, 0, 4], (3, 4), None, ""),
        (FileFormat.VARIABLE, b"abcd", [1], (2, 4), None, ""),
        (FileFormat.VARIABLE, b"", [0], (1, 0), None, ""),
        (FileFormat.VARIABLE, b"", [0], (0, 0), None, ""),
        (FileFormat.VARIABLE, b"abcd", [1, 4], (3, 4), AnswerReason.INVALID_RECORD_COUNT, "EFIDRCNT is 3, 2 records"),
        (FileFormat.VARIABLE, b"abcde", [5], (1, 5), AnswerReason.RECORD_LENGTH_NOT_SUPPORTED, "longer than 4 octets"),
        (FileFormat.UNSTRUCTURED, b"abcd", [4], (0, 4), None, ""),
        (FileFormat.UNSTRUCTURED, b"abcd", [2, 4], (2, 4), None, ""),
        (FileFormat.UNSTRUCTURED, b"abcd", [4], (7, 4), AnswerReason.INVALID_RECORD_COUNT, "EFIDRCNT is 7"),
        (FileFormat.TEXT, b"abcd", [2, 4], (2, 8), None, ""),
        (FileFormat.TEXT, b"abcd", [2, 4], (0, 4), None, ""),
        (FileFormat.TEXT, b"abcd", [2, 4], (0, 5), AnswerReason.INVALID_BYTE_COUNT, "EFIDUCNT is 5, 4 octets"),
    ],
)  # fmt: skip
def test_counts_and_records_must_be_right(  # noqa: PLR0917 - what is said, and what is answered
    house: House,
    peer: Peer,
    form: FileFormat,
    octets: bytes,
    ends: list[int],
    counts: tuple[int, int],
    reason: AnswerReason | None,
    why: str,
) -> None:
    station = known_to(house.station(), peer)
    length = 4 if form in {FileFormat.FIXED, FileFormat.VARIABLE} else 0
    with peer.call(station) as talk:
        talk.say(peer.sfid(station, "COUNTED", octets, format=form, record_length=length))
        talk.hear(c.Sfpa)
        say_records(talk, octets, ends)
        talk.say(c.Efid(records=counts[0], octets=counts[1]))
        if reason is None:
            talk.hear(c.Efpa)
            transfer, content = station.arrived("COUNTED")
            expected = counts[0] if length else 0
            assert (transfer.records, transfer.octets) == (expected, counts[1])
            if form is FileFormat.VARIABLE:
                assert len(content) == len(octets) + 2 * transfer.records
        else:
            refused = talk.hear(c.Efna)
            assert refused.reason is reason
            assert why in refused.text
            assert station.inbox_files() == []
            wait_for("the part to be gone", lambda: not station.part_files())


@pytest.mark.parametrize(("charset", "line_end"), [(None, b"\r\n"), ("cp1047", b"\r\x25")])
def test_lines_that_are_sent_as_records_get_their_line_ends(
    house: House, peer: Peer, charset: str | None, line_end: bytes
) -> None:
    """interop.md 13: some systems set the end of a record for each line, and leave the line end out."""
    station = known_to(house.station(), peer, text_charset=charset)
    lines = [b"\xc1" * (number % 80) for number in range(5_000)]
    with peer.call(station, buffer_size=99_999) as talk:
        for dataset, sent in (("WITHOUT", lines), ("WITH", [line + line_end for line in lines])):
            content = b"".join(sent)
            talk.say(peer.sfid(station, dataset, content, format=FileFormat.TEXT))
            talk.hear(c.Sfpa)
            say_records(talk, content, list(accumulate(map(len, sent))))
            talk.say(c.Efid(octets=len(content)))
            talk.hear(c.Efpa)
        talk.say(c.Cd())
        talk.hear(c.Eerp)
    expected = b"".join(line + line_end for line in lines)
    for dataset in ("WITHOUT", "WITH"):
        found = station.arrived(dataset)[1]
        assert found == (expected if charset is None else expected.decode("cp037").encode())


def test_the_station_says_each_record_and_the_longest_one(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer, callable_=True)
    station.send(peer.code, variable([b"ab", b"", b"cde"]), "V", format="V")
    with peer.answer() as talk:
        sfid = talk.hear(c.Sfid)
        assert (sfid.format, sfid.record_length, sfid.restart) == (FileFormat.VARIABLE, 3, 0)
        talk.say(c.Sfpa())
        data = talk.hear(c.Data)
        assert bytes(data.payload) == b"\x82ab\x80\x83cde"
        assert talk.hear(c.Efid) == c.Efid(records=3, octets=5)


def test_empty_records_count_for_the_size_of_a_file(house: House, peer: Peer) -> None:
    station = house.station(limits={"max_file_octets": 10_000})
    known_to(station, peer)
    with peer.call(station) as talk:
        talk.say(peer.sfid(station, "EMPTIES", b"", format=FileFormat.VARIABLE, record_length=1))
        talk.hear(c.Sfpa)
        say_records(talk, b"", [0] * 6_000)
        talk.say(c.Efid(records=6_000, octets=0))
        assert talk.hear(c.Efna).reason is AnswerReason.FILE_TOO_BIG


def test_a_file_that_is_not_of_its_format_is_not_queued(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    for content, how, why in (
        (b"x" * 100, {"format": "F", "record_length": 80}, "multiple of 80"),
        (b"x" * 100, {"format": "F"}, "needs a record length"),
        (b"\0\5abc", {"format": "V"}, "cut off"),
        (b"abc", {"format": "U", "record_length": 3}, "has no records"),
        (b"abc", {"format": "X"}, "give one of"),
        (noise(3 * MEBIBYTE), {"format": "T", "record_length": 100_000}, "record_length"),
    ):
        with pytest.raises(RefusedError, match=why):
            station.send(peer.code, content, "WRONG", **how)
    assert station.stored(Direction.OUT) == []
    assert not list((station.home / "spool" / "outgoing").iterdir())
