"""The trust list in a running station: what it makes of certificates that arrive, and what its operator sees and says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted

from oftp2 import commands as c
from oftp2d.ledger import AcxMode, Transport
from tests import pki
from tests.authority import Authority, serving
from tests.exchange.peer import responses, session
from tests.exchange.station import CODE_B, PASSWORD_A, PASSWORD_B, Log, Station, eventually, station_a

LIST, STAMP = "/list.xml", "/list.upd"


@pytest.fixture
def authority() -> Iterator[Authority]:
    with serving() as running:
        yield running


@pytest_twisted.async_yield_fixture
async def station(tmp_path: Path, log: Log, authority: Authority) -> AsyncIterator[Station]:
    """Station A, which has no anchor for B, and a trust list; B brings certificates by itself."""
    settings = (
        f'[trust_list]\nenabled = true\nurl = "{authority.url}{LIST}"\nstamp_url = "{authority.url}{STAMP}"\n'
        '[revocation]\nmode = "off"\n'
    )
    made = station_a(tmp_path, settings=settings, anchors=[pki.issuing("outside")])
    made.add_partner(
        CODE_B, transport=Transport.TCP, acx=AcxMode.TRUSTED, password_ours=PASSWORD_A, password_theirs=PASSWORD_B
    )
    yield made
    await made.stop()


async def deliver(station: Station, name: str) -> c.Eerp | c.Nerp:
    async with session(station) as peer:
        await peer.deliver(pki.certificate(name).der)
        (response,) = responses(await peer.turn())
        await peer.leave()
    await station.idle()
    return response


@pytest_twisted.ensureDeferred
async def test_a_change_of_the_trust_list_counts_without_a_restart(
    station: Station, authority: Authority, log: Log
) -> None:
    """Odette test cases 4.7, 7.2 and 7.3."""
    authority.put(LIST, pki.trust_list([pki.service("A")]))
    authority.put(STAMP, b"1")
    await station.start()

    async def counts() -> list[str]:
        return log.lines("trust list", "counts")

    await eventually("the list", counts)
    refused = await deliver(station, "CB01")
    assert isinstance(refused, c.Nerp)
    assert "is not in the trust list, and no anchor of ours" in refused.text
    authority.put(LIST, pki.trust_list(sequence=2))
    authority.put(STAMP, b"2")
    code, said = await station.run("trust", "refresh")
    assert code == 0
    assert said.startswith("OFTP2 Test Trust List, number 2, is taken up: 2 authorities\n")
    direct = await deliver(station, "CB05")
    assert isinstance(direct, c.Nerp)
    assert "which the trust list names only to verify its issuing authorities (Hierarchy B)" in direct.text
    assert isinstance(await deliver(station, "CB01"), c.Eerp)
    authority.fail(LIST)
    authority.fail(STAMP)
    await station.restart()
    assert len(log.lines("number 2", "counts")) == 2, "the copy counts from the start"
    assert isinstance(await deliver(station, "CB05"), c.Nerp)


@pytest_twisted.ensureDeferred
async def test_an_operator_sees_whom_the_station_trusts_and_tests_a_certificate(
    station: Station, authority: Authority, tmp_path: Path, log: Log
) -> None:
    await station.start()
    code, said = await station.run("trust", "refresh")
    assert code == 1
    assert "is not taken up" in said
    code, said = await station.run("trust", "list")
    assert "none counts yet" in said
    assert any("no new trust list" in each for each in (await station.ask("/v1/status"))["warnings"])
    authority.put(LIST, pki.trust_list(next_update=-1, issued=-2))
    assert (await station.run("trust", "refresh"))[0] == 0
    code, said = await station.run("trust", "list")
    assert code == 0
    for words in ("Unlisted Issuing", "anchor", "trust list: Hierarchy A", "(overdue)", pki.list_signer().fingerprint):
        assert words in said, said
    document = json.loads((await station.run("trust", "list", "--json"))[1])
    assert document["trust_list"]["authorities"] == 2
    assert [each["accepted"] for each in document["trust_list"]["entries"]] == [True, True]
    file = tmp_path / "certificate.pem"
    for name, result in (("CB01", "trusted"), ("CB06", "trusted"), ("CB05", "not trusted")):
        file.write_bytes(pki.certificate(name).pem)
        code, said = await station.run("trust", "test", str(file))
        assert (code, said.split(":")[0]) == (int(result != "trusted"), result)
    await station.set(CODE_B, only_own_anchors=True)
    file.write_bytes(pki.certificate("CB01").pem)
    code, said = await station.run("trust", "test", str(file), "--partner", CODE_B)
    assert (code, "only these count for it" in said) == (1, True)
    (station.home / "ca.pem").write_bytes(pki.issuing("B").pem)
    assert (await station.run("cert", "import", str(station.home / "ca.pem"), "--anchor", "--partner", CODE_B))[0] == 0
    code, said = await station.run("trust", "test", str(file), "--partner", CODE_B)
    assert (code, "an anchor of this partner alone" in said) == (0, True)
    code, said = await station.run("trust", "list")
    assert f"anchor of {CODE_B}" in said


@pytest_twisted.ensureDeferred
async def test_an_operator_says_who_signs_the_trust_list(station: Station, authority: Authority, log: Log) -> None:
    other = pki.list_signer("other")
    authority.put(LIST, pki.trust_list())
    await station.start()
    assert (await station.run("trust", "refresh"))[0] == 0
    authority.put(LIST, pki.trust_list([pki.service("A")], signer=other))
    code, said = await station.run("trust", "refresh")
    assert (code, f"say 'oftp2d trust pin {other.fingerprint}'" in said) == (1, True)
    code, said = await station.run("trust", "pin", "12:34")
    assert (code, "is no SHA-256 fingerprint" in said) == (1, True)
    colons = ":".join(other.fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    code, said = await station.run("trust", "pin", colons)
    assert (code, said) == (0, "pinned; 'oftp2d trust refresh --anew' reads the list of that signer\n")
    assert (await station.run("trust", "refresh", "--anew"))[0] == 0
    authority.put(LIST, pki.trust_list(sequence=9))
    assert (await station.run("trust", "refresh", "--anew"))[0] == 1
    code, said = await station.run("trust", "unpin")
    assert (code, said.startswith("forgotten;")) == (0, True)
    assert (await station.run("trust", "refresh", "--anew"))[0] == 0
    assert (await station.ask("/v1/trust"))["trust_list"]["signer"] == pki.list_signer().fingerprint
