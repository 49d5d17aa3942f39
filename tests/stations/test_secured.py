"""Files that are signed, compressed and encrypted, between two daemons: every service, format and suite, and what breaks."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from oftp2 import commands as c
from oftp2.cms.package import Services, unpack
from oftp2.cms.stage import chain
from oftp2.cms.suites import SUITES
from oftp2.values import FileFormat, SecurityLevel
from oftp2d.ledger import Authentication, Direction, Holder, Kind, LineEnds, NewOutgoing, TransferState
from oftp2d.spool import Spool
from tests import pki
from tests.stations.house import MEBIBYTE, OUT, House, Station, noise, peak_mebibytes, wait_for
from tests.stations.peer import Peer

CONTENT = noise(100_000)
S = TransferState


def acquainted(
    house: House, ours: Mapping[str, Any] | None = None, theirs: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[Station, Station]:
    """Two stations that hold each other's certificates; what is opened behind the end of a session is answered in a call back."""
    first, second = house.station("CA01", **settings), house.station("CB01", **settings)
    first.know(second.code, port=second.tls_port, **(ours or {}))
    second.know(first.code, port=first.tls_port, **(theirs or {}))
    first.hold(second.code, pki.certificate("CB01"))
    second.hold(first.code, pki.certificate("CA01"))
    return first, second


def all_acknowledged(*stations: Station) -> None:
    def acknowledged() -> bool:
        sent = [transfer for station in stations for transfer in station.stored(Direction.OUT)]
        return all(transfer.state is S.ACKNOWLEDGED for transfer in sent)

    wait_for("everything to be acknowledged", acknowledged, told=lambda: "\n".join(each.tail() for each in stations))


def only_inboxes_hold_anything(*stations: Station) -> None:
    for station in stations:
        for folder in ("outgoing", "parts", "received", "refused"):
            assert list((station.home / "spool" / folder).iterdir()) == [], folder


def variable(*records: bytes) -> bytes:
    return b"".join(len(record).to_bytes(2, "big") + record for record in records)


TEXT = "Stra\u00dfe \u00c4\u00d6\u00dc [1]\n\nlast line without an end"
CONTENTS: dict[FileFormat, tuple[bytes, dict[str, int]]] = {
    FileFormat.UNSTRUCTURED: (noise(2 * MEBIBYTE + 7), {}),
    FileFormat.FIXED: (b"0123456789" * 8_000, {"record_length": 80}),
    FileFormat.VARIABLE: (variable(b"", noise(65_535), b"abc", b""), {}),
    FileFormat.TEXT: (TEXT.encode(), {}),
}
SERVICES = [
    {"sign": sign, "compress": compress, "encrypt": encrypt}
    for sign, compress, encrypt in product(("false", "true"), repeat=3)
]


@pytest.mark.interop(15)
@pytest.mark.rfc("6.1", "6.2", "6.3", "6.4", "6.5")
def test_every_service_on_every_format_goes_both_ways_and_arrives_as_it_was(house: House) -> None:
    text = {"text_charset": "cp273", "text_line_ends": LineEnds.LF}
    first, second = acquainted(house, ours=text, theirs=text)
    house.start()
    sent: dict[str, tuple[FileFormat, dict[str, str]]] = {}
    for number, (format_, services) in enumerate(product(CONTENTS, SERVICES)):
        content, how = CONTENTS[format_]
        dataset = f"FILE.{format_}.{number}"
        wishes = {**services, "signed_receipt": "true" if number % 3 == 0 else "false"}
        if "true" in (wishes["sign"], wishes["encrypt"], wishes["signed_receipt"]):
            wishes["suite"] = str(3 + number % 8)
        sent[dataset] = format_, services
        # The second one cannot call: what it has must wait before the first one does.
        for station, partner in ((second, first), (first, second)):
            station.send(partner.code, content, dataset, format=format_, **how, **wishes)  # type: ignore[arg-type]
    all_acknowledged(first, second)
    for station, partner in ((first, second), (second, first)):
        outgoing = {transfer.dataset: transfer for transfer in partner.stored(Direction.OUT)}
        for dataset, (format_, services) in sent.items():
            transfer, content = station.arrived(dataset)
            assert content == CONTENTS[format_][0], dataset
            assert transfer.format == format_
            other = outgoing[dataset]
            assert (transfer.octets, transfer.security, transfer.compression, transfer.envelope) == (
                *(other.octets, other.security, other.compression, other.envelope),
            )
            done = {name for name, wanted in services.items() if wanted == "true"}
            assert transfer.envelope == bool(done)
            signer = pki.certificate("CA01" if partner is first else "CB01").fingerprint
            recipient = pki.certificate("CB01" if partner is first else "CA01").fingerprint
            for each in (transfer, other):
                assert each.signers == ((signer,) if "sign" in done else ())
                assert each.recipients == ((recipient,) if "encrypt" in done else ())
                assert ("taken" in each.choice or "tried" in each.choice) == bool(done - {"compress"})
            # Its size in the inbox, which is not that of what travelled.
            inside = transfer.octets if transfer.plain_octets is None else transfer.plain_octets
            lengths = 2 * transfer.records if format_ == "V" and transfer.plain_octets is None else 0
            assert inside + lengths == len(content), dataset
            # What people compare is what they gave and what they got, not the secured form of it.
            assert transfer.sha256 == hashlib.sha256(content).hexdigest()
            assert transfer.sha256 == other.sha256 or format_ == "T"  # whose line ends are those of each station
            if transfer.signed_response:
                assert transfer.virtual_hash == other.virtual_hash is not None
    only_inboxes_hold_anything(first, second)


@pytest.mark.parametrize("suite", [1, 2])
def test_a_suite_with_sha_1_serves_where_both_have_chosen_it(house: House, suite: int) -> None:
    chosen = {"cipher_suite": suite, "sign_files": True, "encrypt_files": True, "signed_receipts": True}
    first, second = acquainted(house, ours=chosen, theirs={"cipher_suite": suite})
    house.start()
    sent = first.send(second.code, CONTENT, "OLD")
    first.reaches(sent, S.ACKNOWLEDGED)
    transfer, content = second.arrived("OLD")
    assert (transfer.cipher, content) == (suite, CONTENT)


def test_in_a_roll_over_both_certificates_sign_until_the_partner_is_known_to_have_one(house: House) -> None:
    first, second = acquainted(house, ours={"sign_files": True})
    old, new = pki.certificate("CA01"), pki.certificate("CA02")
    first.own(new, "renewal")
    house.start()
    first.reaches(first.send(second.code, CONTENT, "BOTH"), S.ACKNOWLEDGED)
    (sent,) = first.stored(Direction.OUT)
    assert sent.signers == (new.fingerprint, old.fingerprint)
    assert "taken too, the partner may not have the newer one yet" in sent.choice
    assert second.arrived("BOTH")[0].signers == (old.fingerprint,)
    second.line(f"BOTH is opened, signed by {old.fingerprint[:16]}, transfer")
    with first.ledger() as ledger:
        ledger.certificates.confirm(sent.partner_id, old.fingerprint, datetime.now(UTC), "EERP")
    first.reaches(first.send(second.code, CONTENT, "ONE"), S.ACKNOWLEDGED)
    assert first.stored(Direction.OUT, "ONE")[0].signers == (old.fingerprint,)


def test_sfid_tells_what_was_done_and_both_sizes_and_counts_those_of_the_secured_file(house: House) -> None:
    station = house.station()
    content = variable(*[b"x" * 1_000] * 100)
    with Peer() as peer:
        peer.introduce(station, callable_=True)
        station.hold(peer.code, peer.credential)
        station.start()
        how = {"format": "V", "compress": "true", "sign": "true", "suite": 6, "signed_receipt": "true"}
        station.send(peer.code, content, "ORDERS", **how)  # type: ignore[arg-type]
        with peer.answer() as talk:
            sfid = talk.hear(c.Sfid)
            talk.say(c.Sfpa())
            raw, efid = talk.hear_content()
            talk.say(c.Efpa())
    assert (sfid.format, sfid.record_length, efid.records) == (FileFormat.VARIABLE, 1_000, 100)
    assert (sfid.security, sfid.cipher, sfid.compression, sfid.envelope) == (SecurityLevel.SIGNED, 6, 1, 1)
    assert sfid.signed_response
    assert (sfid.original_size, sfid.size) == (-(-len(content) // 1024), -(-len(raw) // 1024))
    assert sfid.size < sfid.original_size
    assert efid.octets == len(raw)
    (sent,) = station.stored(Direction.OUT)
    assert sent.virtual_hash == hashlib.sha512(raw).digest()
    unpacking = unpack(
        Services(sign=True, compress=True), suite=SUITES[6], certificates=[pki.certificate("CA01").certificate]
    )
    assert b"".join(chain(unpacking.stages, [raw])) == content


@pytest.mark.parametrize(
    ("format_", "content", "bare"),
    [("U", b"content", b"content"), ("T", b"a\r\nb", b"a\r\nb"), ("V", variable(b"ab", b"", b"c"), b"abc")],
)
def test_for_a_signed_end_response_alone_a_file_goes_as_it_is_and_is_hashed_as_it_travels(
    house: House, format_: str, content: bytes, bare: bytes
) -> None:
    first, second = acquainted(house, ours={"signed_receipts": True, "cipher_suite": 7})
    house.start()
    first.reaches(first.send(second.code, content, "ORDERS", format=format_), S.ACKNOWLEDGED)
    (sent,) = first.stored(Direction.OUT)
    transfer, arrived = second.arrived("ORDERS")
    assert arrived == content
    assert (sent.security, sent.envelope, sent.signed_response) == (0, 0, True)
    assert transfer.virtual_hash == sent.virtual_hash == hashlib.sha3_512(bare).digest()
    assert sent.spool_name == sent.plain_name
    only_inboxes_hold_anything(first, second)


def test_what_cannot_be_secured_fails_with_what_to_do_and_goes_when_that_is_done(house: House) -> None:
    first, second = acquainted(house, ours={"sign_files": True, "encrypt_files": True})
    house.start()
    first.limit_files(MEBIBYTE)
    sent = first.send(second.code, noise(MEBIBYTE), "ORDERS")
    first.line("ORDERS waits to be secured")
    waiting = first.transfer(sent)
    assert waiting["state"] == S.SECURING
    assert "no room left" in waiting["waits_for"]
    assert waiting["summary"].startswith("It waits for the next try, in a minute at most: ")
    with first.ledger() as ledger:
        (theirs,) = ledger.certificates.list(Holder.PARTNER)
        ledger.certificates.set_active(theirs.id, active=False)
    first.stop()
    first.start()
    failed = first.reaches(sent, S.FAILED)
    assert "there is no certificate of O0013000002TESTB to encrypt files for it" in failed["text"]
    assert f"'oftp2d transfer retry {sent}'" in failed["text"]
    first.line("ORDERS failed", sent, "exchange request")
    with first.ledger() as ledger:
        ledger.certificates.set_active(theirs.id, active=True)
    first.post(f"/v1/transfers/{sent}/retry")
    first.reaches(sent, S.ACKNOWLEDGED)
    assert second.arrived("ORDERS")[1] == noise(MEBIBYTE)
    only_inboxes_hold_anything(first, second)


def slow_to_secure(first: Station, second: Station, dataset: str, content: bytes) -> str:
    """A file that takes a while to be secured, and is being so: 3DES is slow."""
    sent = first.send(second.code, content, dataset, encrypt="true", sign="true", suite=5)
    wait_for("it to be secured", lambda: first.transfer(sent)["octets_moved"], told=first.tail)
    return sent


def test_a_kill_while_a_file_is_secured_begins_it_anew_and_it_arrives_once(house: House) -> None:
    first, second = acquainted(house)
    house.start()
    content = noise(32 * MEBIBYTE)
    sent = slow_to_secure(first, second, "KILLED", content)
    first.kill()
    (transfer,) = first.stored(Direction.OUT)
    assert transfer.state is S.SECURING
    assert len(list((first.home / "spool" / "outgoing").iterdir())) == 2
    first.start()
    first.reaches(sent, S.ACKNOWLEDGED)
    assert second.arrived("KILLED")[1] == content
    assert len(second.inbox_files()) == 1
    only_inboxes_hold_anything(first, second)


def test_a_stop_while_a_file_is_secured_does_not_wait_for_it(house: House) -> None:
    first, second = acquainted(house)
    house.start()
    content = noise(32 * MEBIBYTE)
    sent = slow_to_secure(first, second, "STOPPED", content)
    assert first.stop() == 0
    assert first.stored(Direction.OUT)[0].state is S.SECURING
    assert len(list((first.home / "spool" / "outgoing").iterdir())) == 1
    first.start()
    first.reaches(sent, S.ACKNOWLEDGED)
    assert second.arrived("STOPPED")[1] == content


def test_a_file_that_is_cancelled_while_it_is_secured_goes_nowhere_until_it_is_retried(house: House) -> None:
    first, second = acquainted(house)
    house.start()
    content = noise(32 * MEBIBYTE)
    sent = slow_to_secure(first, second, "CANCELLED", content)
    first.post(f"/v1/transfers/{sent}/cancel")
    outgoing = first.home / "spool" / "outgoing"
    wait_for("the work to be abandoned", lambda: len(list(outgoing.iterdir())) == 1, told=first.tail)
    assert first.state(sent) is S.CANCELLED
    assert first.stored(Direction.OUT)[0].virtual_hash is None
    first.post(f"/v1/transfers/{sent}/retry")
    first.reaches(sent, S.ACKNOWLEDGED)
    assert second.arrived("CANCELLED")[1] == content
    only_inboxes_hold_anything(first, second)


def test_a_file_that_goes_again_with_a_new_stamp_is_secured_anew(house: House) -> None:
    first, second = acquainted(house, ours={"sign_files": True, "compress_files": True})
    house.start()
    with second.ledger() as ledger:
        (theirs,) = ledger.certificates.list(Holder.PARTNER)
        ledger.certificates.set_active(theirs.id, active=False)
    sent = first.send(second.code, CONTENT, "AGAIN")
    assert first.reaches(sent, S.REFUSED)["reason"] == "NERP 31"
    before = first.stored(Direction.OUT)[0]
    with second.ledger() as ledger:
        ledger.certificates.set_active(theirs.id, active=True)
    first.post(f"/v1/transfers/{sent}/retry")
    first.reaches(sent, S.ACKNOWLEDGED)
    after = first.stored(Direction.OUT)[0]
    assert (after.time, after.spool_name) != (before.time, before.spool_name)
    assert second.stored(Direction.IN)[-1].state is S.DELIVERED
    assert [path.read_bytes() for path in second.inbox_files()] == [CONTENT]
    assert list((first.home / "spool" / "outgoing").iterdir()) == []


def test_a_challenge_is_answered_while_large_files_are_secured(house: House) -> None:
    first, second = acquainted(
        house, ours={"authentication": Authentication.ON}, theirs={"authentication": Authentication.ON}
    )
    house.start()
    content = noise(48 * MEBIBYTE)
    sent = [slow_to_secure(first, second, f"SLOW{number}", content) for number in range(2)]
    first.post(f"/v1/partners/{second.code}/call", calls=True)
    first.line(" stands, ", "authenticated")
    assert [first.state(each) for each in sent] == [S.SECURING] * 2


def test_a_secured_file_that_was_cut_off_goes_on_by_blocks(house: House) -> None:
    first, second = house.station("CA01"), house.station("CB01")
    wire = house.wire(second.tls_port)
    first.know(second.code, port=wire.port, sign_files=True, encrypt_files=True)
    second.know(first.code, port=None)
    first.hold(second.code, pki.certificate("CB01"))
    second.hold(first.code, pki.certificate("CA01"))
    house.start()
    content = variable(*[noise(60_000, number) for number in range(400)])
    cut = wire.at(OUT, 14 * MEBIBYTE, wire.cut)
    sent = first.send(second.code, content, "CUT", format="V")
    wait_for("the cut", cut.is_set, told=first.tail)
    first.reaches(sent, S.ACKNOWLEDGED)
    assert "octets" in first.line("CUT goes on behind")
    assert second.arrived("CUT")[1] == content
    assert wire.passed[OUT] < len(content) * 3 // 2
    only_inboxes_hold_anything(first, second)


@pytest.mark.slow
def test_a_gibibyte_goes_signed_compressed_and_encrypted_in_constant_memory(house: House) -> None:
    first, second = acquainted(house)
    with second.ledger() as ledger:
        partner = ledger.partners.by_code(first.code)
        assert partner is not None
        # To open it takes longer than the session waits.
        ledger.partners.change(partner.id, host="127.0.0.1", port=first.tls_port)
    piece = noise(MEBIBYTE // 2) + bytes(MEBIBYTE // 2)
    staged = Spool(first.home / "spool").stage_pieces(itertools.repeat(piece, 1024))
    with first.ledger() as ledger:
        partner = ledger.partners.by_code(second.code)
        assert partner is not None
        new = NewOutgoing(
            kind=Kind.FILE,
            partner_id=partner.id,
            dataset="LARGE",
            originator=first.code,
            destination=second.code,
            octets=staged.octets,
            spool_name=staged.name,
            sha256=staged.sha256,
            security=3,
            cipher=6,
            compression=1,
            envelope=1,
            signed_response=True,
        )
        sent = ledger.transfers.queue(new, datetime.now(UTC)).id
    house.start()
    first.reaches(sent, S.ACKNOWLEDGED, seconds=300)
    (transfer,) = second.stored(Direction.IN)
    assert (transfer.state, transfer.sha256) == (S.DELIVERED, staged.sha256)
    assert second.inbox_files()[0].stat().st_size == 1024 * MEBIBYTE
    for station in (first, second):
        assert station.daemon is not None
        assert peak_mebibytes(station.daemon.pid) < 150
