"""Chapter 4.7, changes of the trust list: they count without a restart, and only as far as the list proves itself."""

from __future__ import annotations

import pytest
import pytest_twisted

from oftp2.certs.usages import FILE_USAGES
from oftp2d.ledger import ExchangeState
from tests import pki
from tests.exchange.station import Log
from tests.odette.pair import Pair, publish
from tests.pki import WITHDRAWN


async def delivered(two: Pair, name: str) -> tuple[ExchangeState, str]:
    """B delivers a certificate to A: what A makes of it."""
    record = await two.exchange(two.b, "deliver", two.certificate(name))
    return record.state, record.text


async def begin(two: Pair, name: str) -> None:
    """Both run, and B has a further certificate."""
    two.acquaint()
    await two.start()
    await two.bring(two.b, two.certificate(name), usages=FILE_USAGES)


@pytest.mark.odette("4.7 added")
@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_added_is_trusted_without_a_restart(two: Pair) -> None:
    await begin(two, "CB06")
    state, why = await delivered(two, "CB06")
    assert state is ExchangeState.REFUSED
    assert "is not in the trust list" in why
    url = two.authority.url
    publish(two.authority, [*pki.listed(url), pki.service("outside", url)], sequence=2)
    await two.refresh()
    assert await delivered(two, "CB06") == (ExchangeState.ACCEPTED, "")
    _, of_b = await two.files_both_ways()
    assert set(of_b.signers) == two.prints("CB06")


@pytest.mark.odette("4.7 withdrawn")
@pytest.mark.parametrize("how", ["gone", "another status"])
@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_withdrawn_is_trusted_no_more_without_a_restart(how: str, two: Pair) -> None:
    await begin(two, "CB04")
    url = two.authority.url
    withdrawn = [] if how == "gone" else [pki.service("B", url, status=WITHDRAWN)]
    publish(two.authority, [pki.service("A", url), *withdrawn], sequence=2)
    await two.refresh()
    state, why = await delivered(two, "CB04")
    assert state is ExchangeState.REFUSED
    assert "trust list" in why
    publish(two.authority, pki.listed(url), sequence=3)
    await two.refresh()
    assert await delivered(two, "CB04") == (ExchangeState.ACCEPTED, "")


@pytest.mark.odette("4.7 signer")
@pytest_twisted.ensureDeferred
async def test_a_list_by_another_signer_is_refused_until_an_operator_says_that_it_is_right(two: Pair, log: Log) -> None:
    await begin(two, "CB06")
    url = two.authority.url
    other = pki.list_signer("the next")
    publish(two.authority, [*pki.listed(url), pki.service("outside", url)], sequence=2, signer=other)
    for station in (two.a, two.b):
        code, said = await station.run("trust", "refresh")
        assert code == 1
        assert other.fingerprint in said
        assert "trust pin" in said
    assert (await delivered(two, "CB06"))[0] is ExchangeState.REFUSED
    for station in (two.a, two.b):
        code, said = await station.run("trust", "pin", other.fingerprint)
        assert code == 0, said
    await two.refresh()
    assert await delivered(two, "CB06") == (ExchangeState.ACCEPTED, "")


@pytest.mark.odette("4.7 sequence")
@pytest_twisted.ensureDeferred
async def test_an_older_list_never_takes_the_place_of_a_newer_one(two: Pair) -> None:
    url = two.authority.url
    publish(two.authority, pki.listed(url), sequence=7)
    await begin(two, "CB06")
    publish(two.authority, [*pki.listed(url), pki.service("outside", url)], sequence=6)
    for station in (two.a, two.b):
        code, said = await station.run("trust", "refresh")
        assert code == 1
        assert "6" in said
        assert "7" in said
    assert (await delivered(two, "CB06"))[0] is ExchangeState.REFUSED
