"""Files that are signed, compressed and encrypted, between two daemons: every service, format and suite, and what breaks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from oftp2.values import FileFormat
from oftp2d.ledger import Direction, LineEnds, Transfer, TransferState
from tests import pki
from tests.stations.house import MEBIBYTE, House, Station, noise, wait_for

S = TransferState


def acquainted(
    house: House, ours: Mapping[str, Any] | None = None, theirs: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[Station, Station]:
    """Two stations that hold each other's certificates; only the first has an address of the second."""
    first, second = house.station("CA01", **settings), house.station("CB01", **settings)
    first.know(second.code, port=second.tls_port, **(ours or {}))
    second.know(first.code, port=None, **(theirs or {}))
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


def hashed(transfer: Transfer) -> bool:
    return transfer.virtual_hash is not None


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
        wishes = {**services, "suite": 3 + number % 8, "signed_receipt": "true" if number % 3 == 0 else "false"}
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
            if transfer.signed_response:
                assert transfer.virtual_hash == other.virtual_hash is not None
    only_inboxes_hold_anything(first, second)
