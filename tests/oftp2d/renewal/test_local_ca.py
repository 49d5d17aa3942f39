"""The plugin local-ca: an authority of the site's own signs, and what it signs follows the one before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet import reactor

from oftp2.certs.facts import CertificateFacts
from oftp2d.credentials import issued as is_issued
from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import Case, House
from oftp2d.renewal.local_ca import LocalCa, Options
from oftp2d.renewal.material import Container, Material, opened
from oftp2d.renewal.timetable import Due, NotDue, Phase, Terms
from oftp2d.settings import UnfitError
from oftp2d.vault import Secret
from oftp2d.workers import Workers
from tests import pki
from tests.pki import Issued

NOW = pki.NOW
DAY = timedelta(days=1)


class Given:
    """Secrets that are in hand."""

    def __init__(self, **secrets: bytes) -> None:
        self._secrets = secrets

    async def get(self, name: str) -> Secret[str]:
        return Secret(self._secrets[name].decode())


@pytest_twisted.async_yield_fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(reactor)  # type: ignore[arg-type]  # the module stands for the reactor
    made.start()
    yield made
    await made.stop()


@pytest.fixture
def plugin(tmp_path: Path, workers: Workers) -> LocalCa:
    return LocalCa(House(reactor=reactor, workers=workers, home=tmp_path))  # type: ignore[arg-type]  # as above


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """An issuing authority below a root."""
    authority = pki.issuing("A")
    (tmp_path / "ca.pem").write_bytes(authority.pem + b"".join(each.pem for each in authority.chain))
    return Options(
        authority=Path("ca.pem"),
        key="store",
        common_name="site.example",
        organisation="Site Ltd",
        country="DE",
        station="O0013000001SITE",
        key_bits=2048,
    )


def case(plugin: LocalCa, options: Options, current: Material | None = None, **secrets: bytes) -> Case:
    given: Any = Given(**({"key": pki.issuing("A").key_pem} | secrets))
    return Case(
        name="site",
        options=options,
        terms=plugin.usual(options),
        demands=plugin.demands,
        current=current,
        secrets=given,
    )


async def fetched(plugin: LocalCa, asked: Case, now: datetime = NOW) -> Material:
    answer = await plugin.fetch(asked, now)
    read = await plugin.read(asked, answer, now)
    material = opened(read.container)  # type: ignore[union-attr]
    assert answer.transaction == f"{material.certificate.serial_number:x}"
    with pytest.raises(OperatorError):
        opened(Container(content=answer.content, passphrase=Secret(b"another")))
    return material


@pytest_twisted.ensureDeferred
async def test_it_makes_a_key_and_a_certificate_with_what_is_wanted_and_the_chain_to_the_root(
    plugin: LocalCa, options: Options
) -> None:
    made = await fetched(plugin, case(plugin, options))
    certificate = made.certificate
    assert certificate.subject.rfc4514_string() == "2.5.4.5=O0013000001SITE,CN=site.example,O=Site Ltd,C=DE"
    assert [CertificateFacts.of(each).fingerprint for each in made.chain] == [
        pki.issuing("A").fingerprint,
        pki.root("A").fingerprint,
    ]
    assert is_issued(CertificateFacts.of(pki.issuing("A").der), made.facts)
    assert abs(made.valid_until - NOW - 365 * DAY) < timedelta(minutes=1)
    assert made.valid_from < NOW
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["site.example"]
    identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    above = pki.issuing("A").certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert identifier.key_identifier == above.digest


@pytest_twisted.ensureDeferred
async def test_a_successor_follows_the_one_before_without_a_problem(plugin: LocalCa, options: Options) -> None:
    first = await fetched(plugin, case(plugin, options))
    asked = case(plugin, options, first)
    assert isinstance(await plugin.plan(asked, NOW), NotDue)
    due = first.valid_until - 60 * DAY
    assert await plugin.plan(asked, due + timedelta(hours=30)) == Due(Phase.DUE)
    second = await fetched(plugin, asked, due)
    assert await plugin.validate(asked, second, due) == []
    assert second.certificate.serial_number != first.certificate.serial_number


@pytest_twisted.ensureDeferred
async def test_a_certificate_ends_no_later_than_its_authority_and_one_that_ends_signs_nothing(
    tmp_path: Path, plugin: LocalCa, options: Options
) -> None:
    soon = authority(tmp_path, days=(-100, 10))
    made = await fetched(plugin, case(plugin, options, key=soon.key_pem))
    assert made.valid_until == soon.certificate.not_valid_after_utc
    with pytest.raises(OperatorError, match="the authority CN=Soon ends on"):
        await plugin.fetch(case(plugin, options, key=soon.key_pem), NOW + 9.5 * DAY)


def authority(tmp_path: Path, **wanted: Any) -> Issued:
    usual = {"subject": "CN=Soon", "ca": True, "key_usage": ("keyCertSign",), "extended": None, "hosts": ()}
    made = pki.make(**(usual | wanted))
    (tmp_path / "ca.pem").write_bytes(made.der)
    return made


@pytest_twisted.ensureDeferred
async def test_an_authority_with_a_key_of_an_elliptic_curve_signs_too(
    tmp_path: Path, plugin: LocalCa, options: Options
) -> None:
    curve = authority(tmp_path, key=ec.generate_private_key(ec.SECP256R1()))
    made = await fetched(plugin, case(plugin, options, key=curve.key_pem))
    assert is_issued(CertificateFacts.of(curve.der), made.facts)


@pytest_twisted.ensureDeferred
async def test_a_key_that_is_encrypted_opens_with_its_passphrase_alone(plugin: LocalCa, options: Options) -> None:
    sealed = pki.issuing("A").encrypted_key_pem(b"hunter2")
    wanted = attrs.evolve(options, passphrase="store")
    assert await fetched(plugin, case(plugin, wanted, key=sealed, passphrase=b"hunter2"))
    for wrong in (
        case(plugin, wanted, key=sealed, passphrase=b"hunter3"),
        case(plugin, options, key=sealed),
        case(plugin, options, key=b"hunter2"),
    ):
        with pytest.raises(OperatorError, match="the private key of the authority does not open") as caught:
            await plugin.fetch(wrong, NOW)
        assert "hunter" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_the_key_of_another_authority_signs_nothing(plugin: LocalCa, options: Options) -> None:
    with pytest.raises(OperatorError, match="does not belong to the certificate of the authority"):
        await plugin.fetch(case(plugin, options, key=pki.issuing("B").key_pem), NOW)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read (No such file or directory); check the path, its owner and mode"),
        (b"nonsense", "name the file of your authority, PEM or DER"),
        (pki.certificate("CA01").pem, "is no authority; put its certificate first in the file"),
    ],
)
def test_a_file_without_an_authority_is_a_fault_of_the_definition(
    tmp_path: Path, plugin: LocalCa, options: Options, content: bytes | None, why: str
) -> None:
    if content is None:
        (tmp_path / "ca.pem").unlink()
    else:
        (tmp_path / "ca.pem").write_bytes(content)
    (fault,) = plugin.check(options)
    assert why in fault


def test_what_x509_has_no_room_for_is_a_fault_of_the_definition(plugin: LocalCa, options: Options) -> None:
    assert list(plugin.check(options)) == []
    (fault,) = plugin.check(attrs.evolve(options, email="nobody"))
    assert fault == "'nobody' is no e-mail address; give one such as oftp@company.example"


@pytest.mark.parametrize(
    ("days", "terms"),
    [(730, (60, 30, 7)), (365, (60, 30, 7)), (90, (30, 15, 7)), (30, (10, 5, 2)), (2, (1, 1, 1))],
)
def test_short_lives_are_renewed_in_time_too(
    plugin: LocalCa, options: Options, days: int, terms: tuple[int, int, int]
) -> None:
    usual = plugin.usual(attrs.evolve(options, days=days))
    assert isinstance(usual, Terms)
    assert (usual.lead_days, usual.alarm_days, usual.critical_days, usual.valid_days) == (*terms, days)
    assert usual.lead_days < days


@pytest.mark.parametrize(
    ("host", "fit"),
    [
        ("oftp.company.example", True),
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("a..b", False),
        ("a b", False),
        ("", False),
    ],
)
def test_a_host_is_a_name_or_an_address(host: str, fit: bool) -> None:
    check = attrs.fields_dict(Options)["hosts"].metadata["check"]
    if fit:
        assert check([host]) == (host,)
    else:
        with pytest.raises(UnfitError, match="does not stand here"):
            check([host])


@pytest_twisted.ensureDeferred
async def test_all_but_the_common_name_can_be_left_out(plugin: LocalCa, options: Options) -> None:
    made = await fetched(plugin, case(plugin, attrs.evolve(options, station="", country="", organisation="")))
    assert [each.oid for each in made.certificate.subject] == [NameOID.COMMON_NAME]
