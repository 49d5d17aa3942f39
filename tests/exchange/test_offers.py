"""What an operator offers to a partner: which certificate, between which stations, and where it is not even queued."""

from __future__ import annotations

import pytest_twisted

from oftp2 import commands as c
from oftp2.certs.usages import Usage
from oftp2d.ledger import Station as StationRecord
from oftp2d.ledger import Transfer, Transport
from tests import pki
from tests.exchange.peer import files, responses, session
from tests.exchange.station import CODE_A, CODE_B, Log, Station, introduce

PLANT_A = "O0013000001TESTPLANTA"
PLANT_B = "O0013000002TESTPLANTB"
OF_PLANT = pki.certificate("CA05")


async def with_plant(a: Station, b: Station) -> Station:
    """Station A with a plant that has a certificate of its own; B has a plant as well. Running, B is not."""
    introduce(a, b, a_host=None, a_sub_stations=(PLANT_B,))
    await a.start()

    def furnish() -> None:
        context = a.running.context
        context.ledger.stations.add(StationRecord(code=PLANT_A, name="Plant", main=False))
        context.certificates.adopt(
            OF_PLANT.key, OF_PLANT.certificate, alias="plant", now=context.now(), station=PLANT_A
        )

    await a.db(furnish)
    return a


async def queued(a: Station) -> list[tuple[str, str]]:
    found: list[Transfer] = await a.transfers()
    return [(each.originator, each.destination) for each in found]


@pytest_twisted.ensureDeferred
async def test_a_certificate_goes_from_the_station_it_belongs_to_and_to_the_one_it_is_for(
    a: Station, b: Station
) -> None:
    await with_plant(a, b)
    for options in (
        ("--certificate", "plant"),
        ("--station", PLANT_A, "--to", PLANT_B),
        ("--certificate", "station", "--to", PLANT_B),
    ):
        code, printed = await a.run("exchange", "deliver", CODE_B, *options)
        assert code == 0, printed
    assert await queued(a) == [(PLANT_A, CODE_B), (PLANT_A, PLANT_B), (CODE_A, PLANT_B)]
    async with session(a, tls=True) as peer:
        heard = files(await peer.turn())
    assert [octets for _, octets in heard] == [OF_PLANT.der, OF_PLANT.der, a.certificate.der]
    assert [sfid.destination for sfid, _ in heard] == [CODE_B, PLANT_B, PLANT_B]


@pytest_twisted.ensureDeferred
async def test_a_plant_that_is_asked_for_its_certificates_answers_with_its_own(a: Station, b: Station) -> None:
    await with_plant(a, b)
    async with session(a, tls=True) as peer:
        await peer.deliver(pki.certificate("CB01").der, "REQUEST", destination=PLANT_A, originator=PLANT_B)
        ((sfid, octets),) = files(await peer.turn())
    assert (sfid.originator, sfid.destination) == (PLANT_A, PLANT_B)
    assert octets == OF_PLANT.der


@pytest_twisted.ensureDeferred
async def test_a_plant_answers_without_what_serves_sessions_alone(a: Station, b: Station) -> None:
    await with_plant(a, b)

    def furnish() -> None:
        context, only = a.running.context, frozenset({Usage.AUTHENTICATION})
        for station in (CODE_A, PLANT_A):
            made = pki.make(subject=f"CN={station}", issuer=pki.issuing("A"), station=station)
            context.certificates.adopt(
                made.key, made.certificate, alias=f"of {station}", now=context.now(), station=station, usages=only
            )

    await a.db(furnish)
    answers = {}
    async with session(a, tls=True) as peer:
        for station in (PLANT_A, CODE_A):
            await peer.deliver(pki.certificate("CB01").der, "REQUEST", destination=station)
            answers[station] = len(files(await peer.turn()))
    assert answers == {PLANT_A: 1, CODE_A: 2}


@pytest_twisted.ensureDeferred
async def test_stations_that_do_not_fit_are_refused_with_what_to_do(a: Station, b: Station) -> None:
    await with_plant(a, b)
    for options, told in (
        (("--station", "O0013000009NOBODY"), "O0013000009NOBODY is no station of ours: see 'oftp2d station list'"),
        (("--to", "O0013000009NOBODY"), f"O0013000009NOBODY is no code of {CODE_B}: see 'oftp2d partner show'"),
        (
            ("--station", CODE_A, "--certificate", "plant"),
            f"plant is the certificate of {PLANT_A}, not of {CODE_A}: leave out the station",
        ),
    ):
        code, printed = await a.run("exchange", "request", CODE_B, *options)
        assert (code, told in " ".join(printed.split())) == (1, True), printed
    assert await queued(a) == []


@pytest_twisted.ensureDeferred
async def test_a_request_to_a_station_without_a_certificate_is_acknowledged_and_the_operator_is_told(
    a: Station, b: Station, log: Log
) -> None:
    introduce(a, b, a_host=None, transport=Transport.TCP)
    await a.start()
    await a.db(lambda: a.running.context.certificates.remove(a.running.context.certificates.own_entries()[0]))
    async with session(a) as peer:
        await peer.deliver(pki.certificate("CB01").der, "REQUEST")
        heard = await peer.turn()
    assert isinstance(responses(heard)[0], c.Eerp)
    assert files(heard) == []
    await a.idle()
    assert log.lines("error", f"requests a certificate of {CODE_A}, and there is none in use", "cert generate")
