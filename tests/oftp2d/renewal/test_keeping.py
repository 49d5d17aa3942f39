"""What sources give goes into the ledger sealed, and comes out opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from oftp2d.errors import OperatorError
from oftp2d.ledger import AttemptOutcome, CandidateState, Ledger
from oftp2d.renewal import keeping as module
from oftp2d.renewal.interface import Answer, Held
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.material import Container
from oftp2d.vault import Secret, Vault
from oftp2d.workers import Workers
from tests import pki

NOW = datetime(2026, 3, 4, tzinfo=UTC)
PASSPHRASE = b"hunter2 & more"
SITE = pki.certificate("CA01")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    ledger.close()


@pytest.fixture
def keeping(ledger: Ledger) -> Iterator[Keeping]:
    from twisted.internet import reactor

    running: Any = reactor
    workers = Workers(running)
    workers.start()
    yield Keeping(ledger=ledger, vault=Vault(bytes(range(32))), workers=workers)
    pytest_twisted.blockon(Deferred.fromCoroutine(workers.stop()))


def _answer(**changes: Any) -> Answer:
    usual = Answer(content=Secret(b"<answer/>"), passphrase=Secret(PASSPHRASE), transaction="T1")
    return replace(usual, **changes)


def _container(passphrase: bytes = PASSPHRASE) -> Container:
    return Container(content=Secret(SITE.pkcs12(PASSPHRASE)), passphrase=Secret(passphrase))


def _all_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest_twisted.ensureDeferred
async def test_an_answer_comes_back_as_it_came_until_it_is_staged(keeping: Keeping) -> None:
    for answer in (_answer(), _answer(passphrase=None), _answer(passphrase=Secret(b""))):
        candidate = await keeping.keep("site-1", answer, NOW)
        assert candidate.state is CandidateState.ANSWERED
        assert await keeping.answer(candidate) == answer
    with pytest.raises(OperatorError, match="its content is not kept"):
        await keeping.material(candidate)
    await keeping.stage(candidate, _container(), NOW)
    with pytest.raises(OperatorError, match=r"not kept any more.*renew history"):
        await keeping.answer(candidate)


@pytest_twisted.ensureDeferred
async def test_a_staged_credential_is_known_by_its_certificate_and_opens_whenever_it_is_needed(
    keeping: Keeping,
) -> None:
    candidate = await keeping.keep("site-1", _answer(), NOW, imported=True)
    staged, material = await keeping.stage(candidate, _container(), NOW, AttemptOutcome(verdict="fetched"))
    assert (staged.state, staged.imported, staged.fingerprint) == (CandidateState.STAGED, True, SITE.fingerprint)
    assert (int(staged.serial, 16), staged.subject) == (SITE.certificate.serial_number, str(material.facts.subject))
    assert (staged.valid_from, staged.valid_until) == (material.valid_from, material.valid_until)
    again = await keeping.material(staged)
    assert (again.certificate, again.chain) == (material.certificate, material.chain)
    assert again.key.private_numbers() == SITE.key.private_numbers()
    assert (await keeping.container(staged)).passphrase == Secret(PASSPHRASE)
    assert keeping.ledger.credential_sets.get("site-1").verdict == "fetched"


@pytest_twisted.ensureDeferred
async def test_what_does_not_open_changes_nothing(keeping: Keeping) -> None:
    candidate = await keeping.keep("site-1", _answer(), NOW)
    with pytest.raises(OperatorError, match="does not open"):
        await keeping.stage(candidate, _container(b"wrong"), NOW, AttemptOutcome(verdict="fetched"))
    assert keeping.ledger.credential_sets.candidate(candidate.id) == candidate
    assert keeping.ledger.credential_sets.get("site-1").verdict == ""
    assert await keeping.answer(candidate) == _answer()


@pytest_twisted.ensureDeferred
async def test_what_is_erased_is_said_to_be_gone(keeping: Keeping) -> None:
    candidate = await keeping.keep("site-1", _answer(), NOW)
    staged, material = await keeping.stage(candidate, _container(), NOW)
    (ended,) = keeping.ledger.credential_sets.erase_ended(material.valid_until + timedelta(seconds=1))
    for ask in (keeping.material, keeping.container):
        with pytest.raises(
            OperatorError, match="credential 1 of credential set site-1 is ended: its content is not kept"
        ):
            await ask(ended)
    assert staged.id == ended.id


@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_far_too_large_is_refused(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 8)
    with pytest.raises(OperatorError, match="has 9 octets, more than 8"):
        await keeping.keep("site-1", _answer(), NOW)
    assert keeping.ledger.credential_sets.candidates("site-1") == []


@pytest_twisted.ensureDeferred
async def test_another_master_key_opens_nothing_of_it(keeping: Keeping) -> None:
    candidate = await keeping.keep("site-1", _answer(), NOW)
    await keeping.keep_secret("site-1", "password", Secret("geheim"), NOW)
    stranger = replace(keeping, vault=Vault(bytes(32)))
    with pytest.raises(OperatorError, match="master key"):
        await stranger.answer(candidate)
    with pytest.raises(OperatorError, match="master key"):
        await stranger.secret("site-1", "password")


@pytest_twisted.ensureDeferred
async def test_a_secret_is_kept_proposed_and_settled(keeping: Keeping) -> None:
    assert await keeping.secret("site-1", "password") is None
    assert (await keeping.held("site-1", "password"), await keeping.proposed_secret("site-1", "password")) == (
        None,
        None,
    )
    await keeping.keep_secret("site-1", "password", Secret("geheim-1 äöü"), NOW)
    assert await keeping.secret("site-1", "password") == Secret("geheim-1 äöü")
    assert await keeping.held("site-1", "password") == Held(changed_at=NOW)
    later = NOW + timedelta(days=1)
    await keeping.propose_secret("site-1", "password", Secret("geheim-2"), later)
    assert await keeping.secret("site-1", "password") == Secret("geheim-1 äöü")
    assert await keeping.proposed_secret("site-1", "password") == Secret("geheim-2")
    assert await keeping.held("site-1", "password") == Held(changed_at=NOW, proposed_at=later)
    await keeping.settle_secret("site-1", "password", later, accepted=True)
    assert await keeping.secret("site-1", "password") == Secret("geheim-2")
    assert await keeping.held("site-1", "password") == Held(changed_at=later)


@pytest_twisted.ensureDeferred
async def test_nothing_that_was_kept_is_in_clear_on_the_disk(keeping: Keeping, tmp_path: Path) -> None:
    answer, container = _answer(content=Secret(b"the answer in clear")), _container()
    candidate = await keeping.keep("site-1", answer, NOW)
    await keeping.keep("site-2", answer, NOW)
    await keeping.stage(candidate, container, NOW)
    await keeping.keep_secret("site-1", "password", Secret("geheim-1"), NOW)
    await keeping.propose_secret("site-1", "password", Secret("geheim-2"), NOW)
    written = _all_of(tmp_path)
    assert SITE.fingerprint.encode() in written, "it is looked for where it would be"
    for secret in (b"the answer", PASSPHRASE, b"geheim", container.content.reveal()[:64]):
        assert secret not in written


def test_a_digest_tells_one_value_from_another(keeping: Keeping) -> None:
    assert keeping.digest(Secret("geheim")) == keeping.digest(Secret("geheim")) != keeping.digest(Secret("Geheim"))
    assert "geheim" not in keeping.digest(Secret("geheim"))
