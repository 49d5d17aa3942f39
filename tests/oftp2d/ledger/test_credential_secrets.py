"""Secrets of credential sets: one value that counts, and one that waits to be settled."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from oftp2d.ledger import Ledger, UnknownError

DAY = timedelta(days=1)


def test_a_secret_is_kept_by_its_set_and_name(ledger: Ledger, now: datetime) -> None:
    secrets = ledger.credential_secrets
    assert secrets.get("site-1", "password") is None
    secrets.put("site-1", "password", b"sealed 1", now)
    secrets.put("site-1", "passphrase", b"sealed 2", now)
    secrets.put("site-2", "password", b"sealed 3", now)
    found = secrets.get("site-1", "password")
    assert found is not None
    assert (found.value, found.proposed, found.changed_at, found.proposed_at) == (b"sealed 1", None, now, None)
    assert "sealed" not in repr(found)
    assert [each.name for each in secrets.list("site-1")] == ["passphrase", "password"]
    secrets.remove("site-1", "password", now)
    assert secrets.get("site-1", "password") is None


@pytest.mark.parametrize("accepted", [True, False])
def test_a_proposed_value_waits_beside_the_one_that_counts_until_it_is_settled(
    url: str, ledger: Ledger, now: datetime, accepted: bool
) -> None:
    secrets = ledger.credential_secrets
    secrets.put("site-1", "password", b"old", now)
    secrets.propose("site-1", "password", b"new", now + DAY)
    later = Ledger.open(url)
    found = later.credential_secrets.get("site-1", "password")
    later.close()
    assert found is not None
    assert (found.value, found.proposed, found.proposed_at) == (b"old", b"new", now + DAY)
    secrets.settle("site-1", "password", now + 2 * DAY, accepted=accepted)
    found = secrets.get("site-1", "password")
    assert found is not None
    assert (found.value, found.changed_at) == ((b"new", now + 2 * DAY) if accepted else (b"old", now))
    assert (found.proposed, found.proposed_at) == (None, None)
    before = ledger.audit.list()
    secrets.settle("site-1", "password", now + 3 * DAY, accepted=True)
    assert secrets.get("site-1", "password") == found, "there is nothing to settle any more"
    assert ledger.audit.list() == before


def test_a_value_that_an_operator_gives_ends_what_was_proposed(ledger: Ledger, now: datetime) -> None:
    secrets = ledger.credential_secrets
    secrets.put("site-1", "password", b"old", now)
    secrets.propose("site-1", "password", b"new", now)
    secrets.put("site-1", "password", b"typed", now + DAY)
    secrets.settle("site-1", "password", now + DAY, accepted=True)
    found = secrets.get("site-1", "password")
    assert found is not None
    assert (found.value, found.proposed) == (b"typed", None)


def test_nothing_is_proposed_beside_nothing(ledger: Ledger, now: datetime) -> None:
    with pytest.raises(UnknownError, match="no secret password of credential set site-1"):
        ledger.credential_secrets.propose("site-1", "password", b"new", now)


def test_the_audit_trail_tells_of_every_change_and_of_no_value(ledger: Ledger, now: datetime) -> None:
    secrets = ledger.credential_secrets
    secrets.put("site-1", "password", b"old", now)
    secrets.propose("site-1", "password", b"new", now)
    secrets.settle("site-1", "password", now, accepted=False)
    secrets.remove("site-1", "password", now)
    secrets.remove("site-1", "password", now)
    history = ledger.credential_sets.history("site-1")
    events = [entry.event.removeprefix("credential secret ") for entry in history]
    assert events == ["removed", "kept", "proposed", "changed"]
    assert all(entry.detail == {"set": "site-1", "secret": "password"} for entry in history)
