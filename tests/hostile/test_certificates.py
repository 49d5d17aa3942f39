"""Certificates and chains made to hurt: they cost no time, break nothing, and are refused like any other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from oftp2 import commands as c
from oftp2.certs.acceptance import Assurance, Message, Mode, judge
from oftp2.certs.content import ContentError, read_certificate
from oftp2d.ledger import Transport
from oftp2d.trust import Trust
from tests import pki
from tests.exchange.peer import Tls, answering, responses, session
from tests.exchange.station import CODE_B, Station
from tests.hostile.mischief import serves
from tests.pki import Issued


def tangle(count: int, *, names: int = 1) -> tuple[Issued, Sequence[Issued]]:
    """A certificate, and authorities that all issued each other: the ways between them are beyond counting."""
    key = ec.generate_private_key(ec.SECP256R1())
    common = {"ca": True, "key": key, "key_usage": ("keyCertSign",), "extended": None, "hosts": ()}
    tops = [pki.make(subject=f"CN=T{number}", **common) for number in range(names)]  # type: ignore[arg-type]
    others = [
        pki.make(subject=f"CN=T{number % names}", issuer=tops[(number + 1) % names], **common)  # type: ignore[arg-type]
        for number in range(count)
    ]
    return pki.make(subject="CN=b.test", issuer=tops[0], key=ec.generate_private_key(ec.SECP256R1())), others


def bundled(leaf: Issued, others: Sequence[Issued]) -> bytes:
    return pkcs7.serialize_certificates([each.certificate for each in (leaf, *others)], Encoding.DER)


@pytest.mark.parametrize(("count", "names"), [(60, 1), (60, 2), (120, 3)])
@pytest_twisted.ensureDeferred
async def test_authorities_that_issue_each_other_come_to_an_end(count: int, names: int, victim: Station) -> None:
    octets = bundled(*tangle(count, names=names))
    assert len(octets) <= 65_536
    await victim.start()
    async with session(victim) as peer:
        await peer.deliver(octets)
        (response,) = responses(await peer.turn())
        await peer.leave()
    assert isinstance(response, c.Nerp)
    await serves(victim)


@pytest_twisted.ensureDeferred
async def test_a_tangle_of_authorities_shown_in_tls_comes_to_an_end_too(victim: Station) -> None:
    leaf, others = tangle(20)

    def show_all(tls: object) -> None:
        for other in others:
            tls.add_extra_chain_cert(other.certificate)  # type: ignore[attr-defined]  # the context of pyOpenSSL

    await victim.start()
    async with answering(Tls(leaf, show_all)) as desk:
        await victim.set(CODE_B, host="127.0.0.1", port=desk.port, transport=Transport.TLS)
        steps = await victim.test(CODE_B)
        assert "is not trusted" in steps["tls"][1]


@pytest.mark.parametrize(
    "piece",
    [
        b"-----BEGIN A-----",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN A",
        b"-----BEGIN ",
        b"-----BEGIN A-----\n-----END B-----\n",
        b"-----BEGIN a-----\n-----END a-----\n",
        b"0\x80",
        b"\x30\x84\x00\x00\xff\xff",
        b"\xa0\x80\x30\x80",
        b"\xff",
        b" ",
        b"<",
    ],
)
def test_content_that_repeats_itself_is_read_to_its_end(piece: bytes) -> None:
    with pytest.raises(ContentError):
        read_certificate((piece * 65_536)[:65_536])


def test_the_sections_of_a_pem_file_are_found_among_others() -> None:
    pem = pki.certificate("CB01").pem
    noise = b"-----BEGIN -----BEGIN LOST-----\n-----BEGIN small-----\n-----END small-----\n"
    assert read_certificate(noise + pem + noise).facts.der == pki.certificate("CB01").der
    assert read_certificate(pem + b"-----BEGIN CERTIFICATE").facts.der == pki.certificate("CB01").der


def test_damaged_certificates_are_judged_or_refused_and_raise_nothing_else() -> None:
    chance = random.Random(5024)  # noqa: S311 - repeatable, no secret
    trust = Trust.of([pki.issuing("A").der, pki.issuing("B").der])
    now = datetime.now(UTC)
    whole = [pki.certificate("CB01").der, pki.make(subject="CN=b.test").der]
    for _ in range(1500):
        octets = bytearray(chance.choice(whole))
        for _ in range(chance.choice((1, 1, 2, 4))):
            at = chance.randrange(len(octets))
            octets[at : at + chance.randrange(2)] = chance.randbytes(chance.randrange(1, 3))
        try:
            content = read_certificate(bytes(octets))
        except ContentError:
            continue
        verdict = judge(
            mode=Mode.TRUSTED,
            message=Message.DELIVER,
            facts=content.facts,
            clid=None,
            held=(),
            announced=(),
            trust=trust.judge(content.facts, content.chain, now),
            session=Assurance(),
            now=now,
        )
        assert len(verdict.text.encode()) <= 999


def test_the_way_to_an_anchor_is_found_through_intermediates_and_around_one_that_has_ended() -> None:
    def authority(name: str, issuer: Issued, **more: object) -> Issued:
        common = {"ca": True, "key_usage": ("keyCertSign",), "extended": None, "hosts": ()}
        return pki.make(subject=name, issuer=issuer, **(common | more))  # type: ignore[arg-type]

    upper = authority("CN=Upper", pki.issuing("A"))
    lower = authority("CN=Lower", upper)
    ended = authority("CN=Lower", upper, key=lower.key, days=(-30, -1))
    leaf = pki.make(subject="CN=leaf", issuer=lower)
    now = datetime.now(UTC)
    trust = Trust.of([pki.issuing("A").der], [upper.der])
    facts = [read_certificate(each.der).facts for each in (leaf, ended, lower)]
    assert trust.judge(facts[0], facts[1:], now).trusted
    verdict = trust.judge(facts[0], facts[1:2], now)
    assert not verdict.trusted
    assert "outside its period" in verdict.text
    assert not trust.judge(facts[0], (), now).trusted
