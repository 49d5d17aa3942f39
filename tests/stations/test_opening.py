"""Secured files that come from a partner which is no station: what is refused before its data, and what behind them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from oftp2 import commands as c
from oftp2.cms.enveloped import Enveloping
from oftp2.cms.keys import Signer
from oftp2.cms.package import Services, pack
from oftp2.cms.stage import Stage, chain
from oftp2.cms.suites import SUITES
from oftp2.reasons import AnswerReason, EndSessionReason, NegativeResponseReason
from oftp2.values import FileFormat, SecurityLevel
from oftp2d.ledger import Demand, Direction, Holder, LineEnds, TransferState
from oftp2d.spool import Spool
from tests import pki
from tests.oftp2.cms.layers import compressed_data, loosened
from tests.stations.house import MEBIBYTE, House, Station, noise, peak_mebibytes, wait_for
from tests.stations.peer import Peer, Talk

PLAIN, ENCRYPTED, SIGNED, BOTH = SecurityLevel
CONTENT = noise(5_000)
SUITE = 6


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as made:
        yield made


def known_to(station: Station, peer: Peer, **more: Any) -> Station:
    """The station, running, with the peer as its partner whose certificate it holds."""
    peer.introduce(station, **more)
    station.hold(peer.code, peer.credential)
    station.start()
    return station


def signer(issued: pki.Issued) -> Signer:
    return issued.signer


def through(stages: Sequence[Stage], content: bytes) -> bytes:
    return b"".join(chain(stages, [content]))


def packed(
    content: bytes,
    services: Services,
    *,
    by: Sequence[pki.Issued] = (),
    to: Sequence[pki.Issued] = (),
    suite: int = SUITE,
    **more: Any,
) -> bytes:
    """A secured file, by default from CB01 for CA01."""
    stages = pack(
        suite=SUITES[suite],
        signers=[signer(each) for each in by or [pki.certificate("CB01")]] if services.sign else (),
        compress=services.compress,
        recipients=[each.certificate for each in to or [pki.certificate("CA01")]] if services.encrypt else (),
        octets=len(content),
        at=datetime.now(UTC),
        **more,
    )
    return through(stages, content)


def sealed(octets: bytes) -> bytes:
    """Any octets, encrypted for CA01."""
    recipients = [pki.certificate("CA01").certificate]
    return through([Enveloping(suite=SUITES[SUITE], recipients=recipients, octets=len(octets))], octets)


def offered(peer: Peer, station: Station, raw: bytes, services: Services, **more: Any) -> c.Sfid:
    security = SecurityLevel(services.encrypt + 2 * services.sign)
    usual = {"security": security, "cipher": SUITE, "compression": int(services.compress), "envelope": 1}
    return peer.sfid(station, "SECURED", raw, **{**usual, **more})


def answer(talk: Talk, sfid: c.Sfid, raw: bytes) -> c.Command:
    """What the station says to a file in the end: SFNA, or the end response in the same session."""
    said = talk.send(sfid, raw)
    if not isinstance(said, c.Efpa):
        assert said is not None
        return said
    talk.say(c.Cd())
    response = talk.next()
    assert isinstance(response, c.Eerp | c.Nerp)
    assert response.identity == sfid.identity
    talk.say(c.Rtr())
    talk.hear(c.Cd)
    return response


def raw_of(station: Station, transfer_id: str) -> bytes:
    with station.admin() as client:
        return b"".join(client.download(f"/v1/transfers/{transfer_id}/raw", lambda _: None))


ALL = Services(sign=True, compress=True, encrypt=True)
SIGN, COMPRESS, ENCRYPT = Services(sign=True), Services(compress=True), Services(encrypt=True)
SEALED_SIGN = Services(sign=True, encrypt=True)


@pytest.mark.interop(14)
@pytest.mark.rfc("6.2")
def test_what_others_make_is_opened_and_acknowledged_in_the_same_session(house: House, peer: Peer) -> None:
    """BER with indefinite lengths and nested octet strings, certificates inside, recipients by key identifier ..."""
    station = known_to(house.station(), peer)
    others = pki.make(issuer=pki.issuing("B"), station=peer.code)
    files: list[tuple[bytes, Services, dict[str, Any]]] = [
        (loosened(packed(CONTENT, SIGN)), SIGN, {}),
        (packed(CONTENT, SIGN, certificates=True), SIGN, {}),
        (packed(CONTENT, SIGN, by=[others, peer.credential]), SIGN, {}),
        (compressed_data(CONTENT), COMPRESS, {"cipher": 0}),
        (loosened(compressed_data(CONTENT)), COMPRESS, {"cipher": 0, "envelope": 0}),
        (packed(CONTENT, ENCRYPT, by_key_identifier=True), ENCRYPT, {}),
        (packed(CONTENT, ENCRYPT, to=[others, pki.certificate("CA01")]), ENCRYPT, {}),
        (loosened(packed(CONTENT, ENCRYPT)), ENCRYPT, {}),
        (packed(CONTENT, ALL), ALL, {"envelope": 0}),
        (packed(CONTENT, ALL, suite=8), ALL, {"cipher": 8, "signed_response": True}),
    ]
    with peer.call(station) as talk:
        for number, (raw, services, more) in enumerate(files):
            sfid = offered(peer, station, raw, services, **more)
            said = answer(talk, sfid, raw)
            assert isinstance(said, c.Eerp), (number, said)
    for transfer, (_, services, _) in zip(station.stored(Direction.IN), files, strict=True):
        assert transfer.signers == ((peer.credential.fingerprint,) if services.sign else ())
    assert [path.read_bytes() for path in station.inbox_files()] == [CONTENT] * len(files)


@pytest.mark.rfc("5.3.5")
def test_at_sfid_each_code_of_security_is_said_with_the_setting_that_says_so(house: House, peer: Peer) -> None:
    station = known_to(
        house.station(),
        peer,
        incoming_signed=Demand.REQUIRED,
        incoming_encrypted=Demand.REFUSED,
        incoming_compressed=Demand.REFUSED,
    )
    expected = [
        ({"security": SIGNED, "cipher": 11}, AnswerReason.CIPHER_SUITE_NOT_SUPPORTED, "SFIDCIPH is 11"),
        ({"security": BOTH, "cipher": 4}, AnswerReason.ENCRYPTED_NOT_ALLOWED, "incoming-encrypted refused"),
        ({"security": SIGNED, "compression": 1}, AnswerReason.COMPRESSION_NOT_ALLOWED, "incoming-compressed refused"),
        ({}, AnswerReason.UNSIGNED_NOT_ALLOWED, "incoming-signed required"),
    ]
    with peer.call(station) as talk:
        for fields, reason, text in expected:
            refused = talk.send(
                peer.sfid(station, "SECURED", CONTENT, **{"cipher": 4, "envelope": 1, **fields}), CONTENT
            )
            assert isinstance(refused, c.Sfna)
            assert (refused.reason, refused.retry) == (reason, False)
            assert text in refused.text
            station.line(f"SFNA {reason}", text)
    with station.ledger() as ledger:
        partner = ledger.partners.by_code(peer.code)
        assert partner is not None
        ledger.partners.change(partner.id, incoming_signed=Demand.REFUSED, incoming_encrypted=Demand.REQUIRED)
    with peer.call(station) as talk:
        for security, reason in (
            (BOTH, AnswerReason.SIGNED_NOT_ALLOWED),
            (PLAIN, AnswerReason.UNENCRYPTED_NOT_ALLOWED),
        ):
            sfid = peer.sfid(station, "SECURED", CONTENT, security=security, cipher=4, envelope=1)
            refused = talk.send(sfid, CONTENT)
            assert isinstance(refused, c.Sfna)
            assert refused.reason is reason
    assert station.stored(Direction.IN) == []


def test_a_signed_end_response_that_cannot_be_made_now_is_a_reason_to_try_again(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    with station.ledger() as ledger:
        (own,) = ledger.certificates.list(Holder.OWN)
        ledger.certificates.set_active(own.id, active=False)
    with peer.call(station) as talk:
        for fields in ({"signed_response": True}, {"security": ENCRYPTED}):
            refused = talk.send(peer.sfid(station, "EARLY", CONTENT, cipher=4, **fields), CONTENT)
            assert isinstance(refused, c.Sfna)
            assert (refused.reason, refused.retry) == (AnswerReason.UNSPECIFIED, True)


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def stranger() -> pki.Issued:
    return pki.make(issuer=pki.issuing("B"))


BROKEN: dict[str, tuple[Callable[[], bytes], Services, dict[str, Any], NegativeResponseReason]] = {
    "changed behind its signature": (
        lambda: packed(CONTENT, SIGN).replace(CONTENT[:50], CONTENT[1:51]),
        *(SIGN, {}, NegativeResponseReason.INVALID_SIGNATURE),
    ),
    "signed by somebody else": (
        lambda: packed(CONTENT, SIGN, by=[stranger()], certificates=True),
        *(SIGN, {}, NegativeResponseReason.INVALID_SIGNATURE),
    ),
    "signed more weakly than agreed": (
        lambda: packed(CONTENT, SIGN, suite=2),
        *(SIGN, {}, NegativeResponseReason.INVALID_SIGNATURE),
    ),
    "changed records behind a signature": (
        lambda: packed(b"\0\1a\0\2bb", SIGN).replace(b"\0\1a\0\2bb", b"\0\1a\0\3bb"),
        *(SIGN, {"format": FileFormat.VARIABLE}, NegativeResponseReason.INVALID_SIGNATURE),
    ),
    "not signed at all": (lambda: CONTENT, SIGN, {}, NegativeResponseReason.INVALID_SIGNATURE),
    "for somebody else": (
        lambda: packed(CONTENT, ENCRYPT, to=[stranger()]),
        *(ENCRYPT, {}, NegativeResponseReason.DECRYPTION_FAILED),
    ),
    "cut off": (lambda: packed(CONTENT, SIGN)[:-100], SIGN, {}, NegativeResponseReason.INVALID_SIGNATURE),
    "not compressed": (lambda: packed(CONTENT, SIGN), COMPRESS, {}, NegativeResponseReason.DECOMPRESSION_FAILED),
    "badly compressed": (
        lambda: compressed_data(CONTENT, stream=zlib.compress(CONTENT)[:-4] + bytes(4)),
        *(COMPRESS, {}, NegativeResponseReason.DECOMPRESSION_FAILED),
    ),
    "followed by something": (
        lambda: packed(CONTENT, SIGN) + b"more",
        *(SIGN, {}, NegativeResponseReason.PROCESSING_FAILED),
    ),
    "with records that are cut off": (
        lambda: packed(b"\0\5abc", SIGN),
        *(SIGN, {"format": FileFormat.VARIABLE}, NegativeResponseReason.PROCESSING_FAILED),
    ),
    "with records that are too long": (
        lambda: packed(b"\0\5abcde\0\1a", SIGN),
        *(SIGN, {"format": FileFormat.VARIABLE, "record_length": 4}, NegativeResponseReason.PROCESSING_FAILED),
    ),
    "with records of two lengths": (
        lambda: packed(b"12345678901", ALL),
        *(ALL, {"format": FileFormat.FIXED, "record_length": 4}, NegativeResponseReason.PROCESSING_FAILED),
    ),
    "that is no text": (
        lambda: packed("t\u00f6".encode(), SIGN),
        *(SIGN, {"format": FileFormat.TEXT}, NegativeResponseReason.PROCESSING_FAILED),
    ),
}


def test_what_was_changed_or_is_not_what_it_was_said_to_be_is_refused_and_kept_for_analysis(
    house: House, peer: Peer
) -> None:
    station = known_to(house.station(), peer, text_charset="ascii", text_line_ends=LineEnds.LF)
    with peer.call(station) as talk:
        for number, (what, (made, services, more, reason)) in enumerate(BROKEN.items(), 1):
            raw = made()
            sfid = offered(peer, station, raw, services, **more)
            said = answer(talk, sfid, raw)
            assert isinstance(said, c.Nerp), what
            assert said.reason is reason, (what, said)
            assert said.text, what
            line = station.line("refused SECURED", count=number)
            assert f"with NERP {reason}: " in line
            assert services.encrypt or said.text in line
            transfer = station.stored(Direction.IN)[-1]
            assert (transfer.state, transfer.reason) == (TransferState.REFUSED, f"NERP {reason:02}")
            assert raw_of(station, transfer.id) == raw
        assert len(station.lines("refused SECURED")) == len(BROKEN)
    assert station.inbox_files() == []
    for _ in range(2):
        station.stop()
        assert len(list((station.home / "spool" / "refused").iterdir())) == len(BROKEN)
        assert not list((station.home / "spool" / "received").iterdir())
        station.start()


@pytest.mark.parametrize("services", [SIGN, ENCRYPT, ALL])
def test_an_octet_that_is_changed_anywhere_never_yields_another_file(
    house: House, peer: Peer, services: Services
) -> None:
    """Encryption alone tells no change: then something else may come out, but for that no signature was asked."""
    station = known_to(house.station(), peer)
    raw = packed(CONTENT, services)
    step = len(raw) // 25
    with peer.call(station) as talk:
        for at in range(0, len(raw), step):
            changed = flipped(raw, at)
            answer(talk, offered(peer, station, changed, services), changed)
    for path in station.inbox_files():
        assert not services.sign or path.read_bytes() == CONTENT


SEALED: dict[str, tuple[Callable[[], bytes], Services, dict[str, Any], str]] = {
    "another padding": (lambda: flipped(packed(CONTENT, SEALED_SIGN), -17), SEALED_SIGN, {}, "no key here"),
    "another first octet": (lambda: sealed(b"?" + packed(CONTENT, SIGN)[1:]), SEALED_SIGN, {}, "no key here"),
    "another tag": (
        lambda: sealed(packed(CONTENT, SIGN).replace(b"\xa0", b"\xa5", 1)),
        *(SEALED_SIGN, {}, "an element A5 stands where A0 belongs"),
    ),
    "more": (lambda: sealed(packed(CONTENT, SIGN) + b"?"), SEALED_SIGN, {}, "octets follow"),
    "signed by somebody else": (
        lambda: packed(CONTENT, SEALED_SIGN, by=[stranger()]),
        *(SEALED_SIGN, {}, "whose certificate is not known"),
    ),
    "cut off": (lambda: packed(CONTENT, SEALED_SIGN)[:-100], SEALED_SIGN, {}, "it breaks off"),
}


def test_what_a_partner_is_told_of_an_encrypted_file_does_not_depend_on_what_is_in_it(house: House, peer: Peer) -> None:
    """Who has intercepted it could have it decrypted octet by octet otherwise. Our people are told all."""
    station = known_to(house.station(), peer, text_charset="ascii", text_line_ends=LineEnds.LF)
    answers = set()
    with peer.call(station) as talk:
        for number, (what, (made, services, more, found)) in enumerate(SEALED.items(), 1):
            raw = made()
            said = answer(talk, offered(peer, station, raw, services, **more), raw)
            assert isinstance(said, c.Nerp), what
            answers.add((said.reason, said.text))
            assert found in station.line("refused SECURED", count=number)
            assert found in (station.stored(Direction.IN)[-1].text or "")
        (told,) = answers
        assert told[0] is NegativeResponseReason.INVALID_SIGNATURE
        text = packed("t\u00f6".encode(), ENCRYPT)
        records = packed(b"\0\5abc", ENCRYPT)
        for raw, form in (
            (text, FileFormat.TEXT),
            (records, FileFormat.VARIABLE),
            (flipped(text, -17), FileFormat.TEXT),
        ):
            said = answer(talk, offered(peer, station, raw, ENCRYPT, format=form), raw)
            assert isinstance(said, c.Nerp)
            assert said.reason is NegativeResponseReason.DECRYPTION_FAILED
            answers.add((said.reason, said.text))
        assert len(answers) == 2
        assert station.lines("holds the octet C3, which is no text")
        assert station.lines("record 1, the last, is cut off")


def test_a_bomb_is_refused_in_bounded_memory(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    squeeze = zlib.compressobj(9)
    stream = b"".join(squeeze.compress(bytes(MEBIBYTE)) for _ in range(512)) + squeeze.flush()
    raw = compressed_data(b"", stream=stream)
    with peer.call(station) as talk:
        said = answer(talk, offered(peer, station, raw, COMPRESS), raw)
        assert isinstance(said, c.Nerp)
        assert said.reason is NegativeResponseReason.DECOMPRESSION_FAILED
    assert station.daemon is not None
    assert peak_mebibytes(station.daemon.pid) < 150
    assert not list((station.home / "spool" / "received").iterdir())


def test_a_file_is_verified_by_the_certificates_that_were_valid_when_it_came(house: House, peer: Peer) -> None:
    """The former one too; not one that was withdrawn, nor one whose key is too short for what was set."""
    station = house.station()
    peer.introduce(station)
    former, current = pki.certificate("CB01"), pki.certificate("CB04")
    station.hold(peer.code, former, current)
    station.start()
    with peer.call(station) as talk:
        for by in (former, current):
            raw = packed(CONTENT, SIGN, by=[by])
            assert isinstance(answer(talk, offered(peer, station, raw, SIGN), raw), c.Eerp)
    first, second = station.stored(Direction.IN)
    assert (first.signers, second.signers) == ((former.fingerprint,), (current.fingerprint,))
    assert "tried as number 2" in first.choice
    with station.ledger() as ledger:
        partner = ledger.partners.by_code(peer.code)
        assert partner is not None
        ledger.partners.change(partner.id, least_rsa_bits=4096)
    with peer.call(station) as talk:
        raw = packed(CONTENT, SIGN, by=[current])
        assert isinstance(answer(talk, offered(peer, station, raw, SIGN), raw), c.Nerp)
    assert "its key has 2048 bits, fewer than 4096" in station.stored(Direction.IN)[-1].choice


def test_a_kill_while_a_file_is_opened_leaves_it_received_and_the_next_start_delivers_it_once(
    house: House, peer: Peer
) -> None:
    station = known_to(house.station(), peer)
    content = noise(32 * MEBIBYTE)
    # 3DES takes its time.
    raw = packed(content, ALL, suite=5)
    with peer.call(station, buffer_size=99_999, credit=999) as talk:
        assert isinstance(talk.send(offered(peer, station, raw, ALL, cipher=5), raw), c.Efpa)
        wait_for("it to be opened", lambda: list((station.home / "spool" / "received").glob("*.opened")))
        station.kill()
    (transfer,) = station.stored(Direction.IN)
    assert transfer.state is TransferState.RECEIVED
    assert station.inbox_files() == []
    station.start()
    station.reaches(transfer.id, TransferState.DELIVERED)
    assert station.placed(transfer).read_bytes() == content
    assert len(station.inbox_files()) == 1
    assert not list((station.home / "spool" / "received").iterdir())
    with peer.call(station) as talk:
        talk.say(c.Cd())
        assert talk.hear(c.Eerp).dataset == "SECURED"


def test_the_session_goes_on_while_a_large_file_is_opened(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    raw = packed(noise(16 * MEBIBYTE), ALL, suite=5)
    small = packed(CONTENT, SIGN)
    with peer.call(station, buffer_size=99_999, credit=999) as talk:
        large_one = offered(peer, station, raw, ALL, cipher=5)
        assert isinstance(talk.send(large_one, raw), c.Efpa)
        small_one = replace(offered(peer, station, small, SIGN), dataset="SMALL")
        assert isinstance(talk.send(small_one, small), c.Efpa)
        (transfer,) = station.stored(Direction.IN, "SECURED")
        assert transfer.state is TransferState.RECEIVED
        talk.say(c.Cd())
        answered = []
        while isinstance(said := talk.next(), c.Eerp):
            answered.append(said.dataset)
            talk.say(c.Rtr())
        assert "SMALL" in answered
    station.reaches(transfer.id, TransferState.DELIVERED)


def test_what_the_disk_has_no_room_to_open_stays_received(house: House, peer: Peer) -> None:
    station = known_to(house.station(), peer)
    content = bytes(8 * MEBIBYTE)
    raw = packed(content, ALL)
    with peer.call(station) as talk:
        station.limit_files(MEBIBYTE)
        assert isinstance(talk.send(offered(peer, station, raw, ALL), raw), c.Efpa)
        station.line("SECURED cannot be delivered now", "no room left")
        talk.say(c.Cd())
        talk.hear_end(EndSessionReason.NORMAL)
    (transfer,) = station.stored(Direction.IN)
    assert transfer.state is TransferState.RECEIVED
    shown = station.transfer(transfer.id)
    assert "no room left" in shown["waits_for"]
    assert "on disk, and waits for the next try, in a minute at most: no room left" in shown["summary"]
    station.stop()
    station.start()
    assert station.reaches(transfer.id, TransferState.DELIVERED)["waits_for"] is None
    assert station.placed(transfer).stat().st_size == len(content)


def test_the_reserve_of_the_disk_is_left_alone_by_what_is_opened(house: House, peer: Peer) -> None:
    room = os.statvfs(house.folder)
    free = room.f_bavail * room.f_frsize
    # Far from both ends, for other tests fill and empty the same disk meanwhile.
    station = known_to(house.station(spool={"free_octets_reserved": max(free - 192 * MEBIBYTE, 0)}), peer)
    piece = noise(10_000) + bytes(MEBIBYTE - 10_000)
    raw = packed(piece * 512, Services(compress=True, sign=True))
    with peer.call(station) as talk:
        assert isinstance(talk.send(offered(peer, station, raw, Services(compress=True, sign=True)), raw), c.Efpa)
        station.line("SECURED cannot be delivered now", "beyond its reserve")
    assert Spool(station.home / "spool").ready() == []
