"""``evidence``: exported from the running station, verified anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from oftp2.cms import receipts
from oftp2.cms.suites import SUITES
from oftp2.commands import Eerp
from oftp2d.cli.terminal import Exit
from oftp2d.ledger import Kind, NewEvidence, NewOutgoing, NewPartner, ReceiptKind, Transfer
from tests import pki
from tests.oftp2d.desk import OURS, THEIRS, Office, open_office

CONTENT = b"the file as it was transmitted"
SIGNER = pki.make(issuer=pki.issuing("B"), station=THEIRS)


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setenv("OFTP2D_HOME", str(tmp_path))
    async with open_office(tmp_path) as opened:
        opened.ledger.partners.add(NewPartner(code=THEIRS, name="B", station=OURS), datetime.now(UTC))
        yield opened


def sent(office: Office) -> Transfer:
    """A file that went out, for which a signed receipt was asked."""
    ledger, now = office.ledger, datetime.now(UTC)
    partner = ledger.partners.by_code(THEIRS)
    assert partner is not None
    new = NewOutgoing(
        kind=Kind.FILE,
        partner_id=partner.id,
        dataset="ORDERS",
        originator=OURS,
        destination=THEIRS,
        octets=len(CONTENT),
        spool_name="none",
        cipher=6,
        signed_response=True,
    )
    queued = ledger.transfers.queue(new, now)
    ledger.transfers.secured(
        queued.id, now, octets=len(CONTENT), spool_name="none", virtual_hash=sha512(CONTENT).digest()
    )
    ledger.transfers.claim_next(partner.id, "session", now, timedelta(minutes=5))
    ledger.transfers.efid_going(queued.id)
    return ledger.transfers.sent(queued.id, now)


def acknowledge(office: Office, transfer: Transfer) -> None:
    eerp = Eerp(
        dataset=transfer.dataset,
        date=transfer.date,
        time=transfer.time,
        destination=OURS,
        originator=THEIRS,
        hash=sha512(CONTENT).digest(),
    )
    signer, at = SIGNER.signer, datetime.now(UTC)
    signature = receipts.sign(eerp, [signer], SUITES[6], at=at)
    evidence = NewEvidence(
        kind=ReceiptKind.EERP,
        hash=eerp.hash,
        signature=signature,
        certificate=SIGNER.der,
        chain=pki.issuing("B").der + pki.root("B").der,
        signed_at=at.replace(microsecond=0),
    )
    assert office.ledger.transfers.acknowledged(transfer.key, at, evidence=evidence) is not None


async def document(office: Office, *arguments: str, code: Exit = Exit.DONE) -> dict[str, Any]:
    found, out, err = await office.run(*arguments, "--json")
    assert found == code, out + err
    read: dict[str, Any] = json.loads(out)
    return read


@pytest_twisted.ensureDeferred
async def test_evidence_is_exported_to_a_file_but_never_over_another(office: Office, tmp_path: Path) -> None:
    transfer, target = sent(office), tmp_path / "evidence.pem"
    acknowledge(office, transfer)
    code, out, _ = await office.run("evidence", "export", transfer.id)
    assert code == Exit.DONE
    told = await document(office, "evidence", "export", transfer.id, "-o", str(target))
    assert told["path"] == str(target)
    assert target.read_text("utf-8") == told["evidence"] == out
    code, _, err = await office.run("evidence", "export", transfer.id, "-o", str(target))
    assert code == Exit.FAILED
    assert "--force" in err
    await document(office, "evidence", "export", transfer.id, "-o", str(target), "--force")
    code, _, err = await office.run("evidence", "export", transfer.id, "-o", str(tmp_path / "none" / "evidence.pem"))
    assert code == Exit.FAILED
    assert "can't be written" in err
    assert not list(tmp_path.glob("*.part-*"))  # noqa: ASYNC240 - a test may wait for its folder


@pytest_twisted.ensureDeferred
async def test_evidence_is_verified_step_by_step(office: Office, tmp_path: Path) -> None:
    transfer, target = sent(office), tmp_path / "evidence.pem"
    acknowledge(office, transfer)
    await document(office, "evidence", "export", transfer.id, "-o", str(target))
    file, other, trusted, foreign = (tmp_path / name for name in ("file", "other", "b.pem", "a.pem"))
    file.write_bytes(CONTENT)
    other.write_bytes(b"other")
    trusted.write_bytes(pki.root("B").pem)
    foreign.write_bytes(pki.issuing("A").pem)
    verify = ("evidence", "verify", str(target))
    all_good = await document(office, *verify, "--file", str(file), "--trust", str(trusted))
    assert {step["subject"]: step["holds"] for step in all_good["steps"]} == dict.fromkeys(
        ("signature", "signer", "header", "file", "trust"), True
    )
    assert all_good["ok"]
    assert all_good["signed"]["File"] == "ORDERS"
    assert (await document(office, *verify))["ok"]
    for wrong in (("--file", str(other)), ("--trust", str(foreign))):
        assert not (await document(office, *verify, *wrong, code=Exit.FAILED))["ok"]
    code, out, _ = await office.run(*verify)
    assert code == Exit.DONE
    assert "proven signature:" in out
    assert "- " in out
    assert "All that was asked holds." in out
    target.write_text(target.read_text("utf-8").replace("ORDERS", "ORDERT"), "utf-8")
    code, out, _ = await office.run(*verify)
    assert code == Exit.FAILED
    assert "FALSE  header: the header is false: File is 'ORDERS', not 'ORDERT'" in out
    assert "It does not prove what it says." in out
    code, _, err = await office.run("evidence", "verify", str(file))
    assert code == Exit.FAILED
    assert "this is no evidence file" in err
    code, _, err = await office.run(*verify, "--trust", str(file))
    assert code == Exit.FAILED


@pytest_twisted.ensureDeferred
async def test_a_transfer_tells_whether_there_is_evidence(office: Office) -> None:
    transfer = sent(office)
    assert not (await document(office, "transfer", "show", transfer.id))["evidence"]
    told = await document(office, "evidence", "export", transfer.id, code=Exit.FAILED)
    assert "there is no signed end response" in told["error"]["what"]
    assert f"oftp2d transfer show {transfer.id}" in told["error"]["advice"]
    acknowledge(office, transfer)
    assert (await document(office, "transfer", "show", transfer.id))["evidence"]
    _, out, _ = await office.run("transfer", "show", transfer.id)
    assert f"oftp2d evidence export {transfer.id}" in out
    told = await document(office, "evidence", "export", "NONE", code=Exit.FAILED)
    assert "NONE" in told["error"]["what"]
