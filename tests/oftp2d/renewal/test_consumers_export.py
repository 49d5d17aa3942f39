"""The export: files that other programs read, each pair of one generation, whatever happens meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from twisted.internet.threads import deferToThread

from oftp2d.errors import OperatorError
from oftp2d.renewal import exporting
from oftp2d.renewal.definitions import Export, Form
from oftp2d.renewal.exporting import Exporter
from tests.oftp2d.desk import Office, open_office
from tests.oftp2d.renewal.tellings import activation, defined, issued, rollback


@pytest_twisted.async_yield_fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with open_office(tmp_path) as opened:
        yield opened


@pytest.fixture
def exporter(office: Office) -> Exporter:
    return Exporter(office.renewals._context)


P12 = defined(export=Export(folder=Path("out"), name="site"))
PEM = defined(export=Export(folder=Path("out"), name="site", form=Form.PEM))


def opened(folder: Path) -> x509.Certificate:
    """The certificate of a PKCS#12 file, opened with the passphrase beside it."""
    passphrase = (folder / "site.passphrase").read_text().removesuffix("\n")
    key, certificate, chain = pkcs12.load_key_and_certificates((folder / "site.p12").read_bytes(), passphrase.encode())
    assert certificate is not None
    assert key is not None
    assert key.public_key() == certificate.public_key()
    assert len(chain) == 2
    return certificate


def generations(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir() if each.name != "current")


@pytest_twisted.ensureDeferred
async def test_pkcs12_and_its_passphrase_are_for_the_stations_user_alone(tmp_path: Path, exporter: Exporter) -> None:
    new = issued()
    told = await exporter.tell(activation(P12, new))
    current = tmp_path / "out" / "current"
    assert told == f"exported to {current.resolve()}"
    assert opened(current) == new.certificate
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in current.resolve().iterdir()}
    assert modes == {"site.p12": 0o600, "site.passphrase": 0o600}
    for folder in (tmp_path / "out", current.resolve()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest_twisted.ensureDeferred
async def test_a_pem_pair_has_the_chain_behind_the_certificate(tmp_path: Path, exporter: Exporter) -> None:
    new = issued()
    await exporter.tell(activation(PEM, new))
    current = tmp_path / "out" / "current"
    chain = x509.load_pem_x509_certificates((current / "site.crt").read_bytes())
    assert chain == [new.certificate, *(each.certificate for each in new.chain)]
    key = load_pem_private_key((current / "site.key").read_bytes(), None)
    assert key.public_key() == new.certificate.public_key()
    assert stat.S_IMODE((current / "site.key").stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_who_is_told_again_writes_nothing_again(tmp_path: Path, exporter: Exporter) -> None:
    new = issued()
    await exporter.tell(activation(P12, new))
    before = {each: each.stat().st_mtime_ns for each in (tmp_path / "out").rglob("*")}
    assert (await exporter.tell(activation(P12, new))).endswith("holds it already")
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "out").rglob("*")} == before


@pytest_twisted.ensureDeferred
async def test_the_generation_before_stays_for_who_reads_it_and_earlier_ones_go(
    tmp_path: Path, exporter: Exporter
) -> None:
    first, second, third = issued(begins=-3), issued(begins=-2), issued()
    folder = tmp_path / "out"
    await exporter.tell(activation(P12, first))
    reading = (folder / "current").resolve()
    (folder / "notes.txt").write_text("of somebody else")
    await exporter.tell(activation(P12, second, first))
    assert opened(reading) == first.certificate, "who followed the link before still reads a pair"
    assert opened(folder / "current") == second.certificate
    await exporter.tell(activation(P12, third, second))
    assert len(generations(folder)) == 3
    assert not reading.exists()
    assert (folder / "notes.txt").exists(), "what is not ours is not touched"
    await exporter.tell(rollback(P12, second, third))
    assert opened(folder / "current") == second.certificate


@pytest_twisted.ensureDeferred
async def test_another_form_of_the_same_credential_is_another_generation(tmp_path: Path, exporter: Exporter) -> None:
    new = issued()
    await exporter.tell(activation(P12, new))
    await exporter.tell(activation(PEM, new))
    assert sorted(each.name for each in (tmp_path / "out" / "current").iterdir()) == ["site.crt", "site.key"]


@pytest.mark.parametrize("step", ["_write_file", "_sync", "rename", "replace"])
@pytest_twisted.ensureDeferred
async def test_a_crash_at_any_step_leaves_a_whole_pair_and_the_next_try_clears_up(
    tmp_path: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    first, second = issued(begins=-3), issued()
    folder = tmp_path / "out"
    await exporter.tell(activation(P12, first))
    with monkeypatch.context() as patched:

        def fails(*_arguments: object) -> None:
            raise OSError(28, os.strerror(28))

        patched.setattr(exporting if step.startswith("_") else Path, step, fails)
        with pytest.raises(OperatorError, match="No space left on device"):
            await exporter.tell(activation(P12, second, first))
        assert opened(folder / "current") == first.certificate
    await exporter.tell(activation(P12, second, first))
    assert opened(folder / "current") == second.certificate
    assert len(generations(folder)) == 2
    assert not [each for each in generations(folder) if each.startswith(".")]


@pytest_twisted.ensureDeferred
async def test_readers_see_a_whole_pair_at_any_time(tmp_path: Path, exporter: Exporter) -> None:
    pair = [issued(begins=-3), issued()]
    link = tmp_path / "out" / "current"
    await exporter.tell(activation(PEM, pair[0]))

    def read() -> None:
        seen = set[bytes]()
        while len(seen) < 2:
            folder = link.resolve(strict=True)
            try:
                names = [folder / name for name in ("site.crt", "site.key")]
                chain, key = (name.read_bytes() for name in names)
            except FileNotFoundError:
                # It was two generations behind: programs begin again, too.
                continue
            certificate = x509.load_pem_x509_certificates(chain)[0]
            assert load_pem_private_key(key, None).public_key() == certificate.public_key()
            seen.add(chain)

    reading = deferToThread(read)
    while not reading.called:
        for current in (pair[1], pair[0]):
            await exporter.tell(activation(PEM, current))
    await reading


@pytest_twisted.ensureDeferred
async def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path, exporter: Exporter) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OperatorError, match="credential set site cannot be exported to"):
        await exporter.tell(activation(P12, issued()))
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    with pytest.raises(OperatorError, match="others than the station's user can write to"):
        await exporter.tell(activation(P12, issued()))
    assert list((tmp_path / "out").iterdir()) == []
