"""``init`` and ``check`` on a real home folder."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from oftp2d import config
from oftp2d.certificates import Certificates
from oftp2d.cli.app import execute
from oftp2d.cli.screen import Screen
from oftp2d.cli.terminal import Exit, Terminal
from oftp2d.ledger import Demand, Holder, Ledger, NewPartner
from oftp2d.vault import Vault
from tests import pki

CODE = "O0013000001TEST"
PARTNER = "O0013000002PART"


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(
        out=lambda: Screen(file=out, width=200), err=lambda: Screen(file=err, width=200), serve=lambda _config: 0
    )
    return execute(arguments, terminal), out.getvalue(), err.getvalue()


def init(*more: str) -> tuple[int, str, str]:
    return run("init", "--code", CODE, "--name", "Test Ltd", "--host", "oftp.test.example", "--tls-port", "0", *more)


def findings() -> dict[str, dict[str, object]]:
    code, out, _ = run("check", "--json")
    document = json.loads(out)
    assert document["ok"] is (code == Exit.DONE)
    return {f"{each['subject']}: {each['what']}": each for each in document["findings"]}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OFTP2D_MASTER_KEY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "station"
    monkeypatch.setenv("OFTP2D_HOME", str(home))
    return home


def test_init_makes_a_station_that_check_finds_in_order(home: Path) -> None:
    code, out, _ = init()
    assert code == Exit.DONE
    assert "oftp2d run" in out
    assert "master.key" in out
    assert all(each["ok"] for each in findings().values())
    assert run("check")[0] == Exit.DONE


def test_everything_init_makes_is_private(home: Path) -> None:
    init()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in home.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_init_makes_the_main_station_and_a_certificate_that_names_it(home: Path) -> None:
    init()
    settings = config.load(home)
    ledger = Ledger.open(settings.database_url)
    main = ledger.stations.main()
    assert main is not None
    assert (main.code, main.name) == (CODE, "Test Ltd")
    (stored,) = ledger.certificates.list(Holder.OWN)
    certificate = x509.load_der_x509_certificate(stored.der)
    assert certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value == CODE
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "oftp.test.example"
    assert Certificates(ledger, Vault.open(settings.master_key_path)).owners(stored.valid_from)
    ledger.close()


def test_init_with_csr_also_writes_a_request_whose_key_waits(home: Path) -> None:
    code, out, _ = init("--csr", "--json")
    assert code == Exit.DONE
    path = Path(json.loads(out)["csr_path"])
    request = x509.load_pem_x509_csr(path.read_bytes())
    assert request.is_signature_valid
    ledger = Ledger.open(config.load(home).database_url)
    assert [pending.alias for pending in ledger.certificates.pending()] == ["station-ca"]
    ledger.close()


def test_init_never_overwrites(home: Path) -> None:
    init()
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    code, _, err = init()
    assert code == Exit.FAILED
    assert "exists already" in err
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["master.key", "ledger.sqlite", "spool"])
def test_init_refuses_a_folder_that_holds_a_part_of_a_station(home: Path, name: str) -> None:
    home.mkdir()
    (home / name).write_text("precious")
    assert init()[0] == Exit.FAILED
    assert [path.name for path in home.iterdir()] == [name]
    assert (home / name).read_text() == "precious"


def test_init_that_fails_leaves_nothing_behind(home: Path) -> None:
    code, _, err = run("init", "--code", CODE, "--name", "Test Ltd", "--host", "höst")
    assert code == Exit.FAILED
    assert "host name" in err
    assert not home.exists()


def test_init_that_fails_keeps_what_was_in_the_folder(home: Path) -> None:
    home.mkdir()
    (home / "notes.txt").write_text("mine")
    run("init", "--code", CODE, "--name", "Test Ltd", "--host", "höst")
    assert [path.name for path in home.iterdir()] == ["notes.txt"]


def test_a_master_key_from_the_environment_is_not_written_down(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFTP2D_MASTER_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    assert init()[0] == Exit.DONE
    assert not (home / "master.key").exists()
    assert all(each["ok"] for each in findings().values())


def test_check_of_nothing_says_how_to_begin() -> None:
    code, out, _ = run("check")
    assert code == Exit.FAILED
    assert "oftp2d init" in out


def test_check_names_every_fault_of_the_configuration(home: Path) -> None:
    init()
    (home / "oftp2d.toml").write_text("[session]\ncredit = 0\nbuffersize = 5\n")
    found = findings()
    assert {str(each["subject"]) for each in found.values()} == {
        "configuration session.credit",
        "configuration session.buffersize",
    }


def test_check_names_all_faults_of_a_station_at_once(home: Path) -> None:
    init()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        (home / "oftp2d.toml").write_text(
            f'[[listeners]]\nhost = "127.0.0.1"\nport = {port}\n[spool]\nfree_octets_reserved = {2**60}\n'
        )
        home.chmod(0o755)
        (home / "master.key").chmod(0o644)
        faults = {name for name, each in findings().items() if not each["ok"]}
    assert len(faults) == 4
    for word in ("others may read", "disk", "master key", "listeners[0]"):
        assert any(word in fault for fault in faults), word


def test_a_self_signed_certificate_does_not_hide_that_the_one_of_the_authority_ends(home: Path) -> None:
    init("--csr")
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    issued = pki.sign_request((home / "station-ca.csr").read_bytes(), issuer=pki.issuing("A"), days=(-1, 20))
    Certificates(ledger, Vault.find(home, {})).import_own(
        issued.public_bytes(Encoding.PEM), now=datetime.now(UTC), alias="station-ca"
    )
    ledger.close()
    faults = {each["subject"] for each in findings().values() if not each["ok"]}
    assert faults == {"certificate station-ca"}


def agree(home: Path, *, certificate: bool = False, **settings: Any) -> list[tuple[str, str]]:
    """What check finds fault with, and advises, where this is agreed with a partner."""
    init()
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    now = datetime.now(UTC)
    partner = ledger.partners.add(NewPartner(code=PARTNER, name="", station=CODE, **settings), now)
    if certificate:
        store = Certificates(ledger, Vault.find(home, {}))
        store.import_partner(pki.certificate("CA01").pem, partner_id=partner.id, station=PARTNER, now=now)
    ledger.close()
    faults = [each for each in findings().values() if not each["ok"]]
    assert {each["subject"] for each in faults} <= {f"partner {PARTNER}"}
    return [(str(each["what"]), str(each["advice"])) for each in faults]


def test_check_finds_nothing_wrong_with_file_security_that_works(home: Path) -> None:
    everything = {"sign_files": True, "encrypt_files": True, "signed_receipts": True, "compress_files": True}
    assert agree(home, certificate=True, incoming_signed=Demand.REQUIRED, **everything) == []


@pytest.mark.parametrize(
    ("settings", "word", "way_out"),
    [
        ({"encrypt_files": True, "sign_files": True}, "to encrypt files for it", f"exchange request {PARTNER}"),
        ({"incoming_signed": Demand.REQUIRED}, "to verify the signatures of its files", "cert import FILE --partner"),
        ({"signed_receipts": True}, "to verify its signed receipts", f"exchange request {PARTNER}"),
    ],
)
def test_check_names_the_certificates_that_are_missing_for_what_is_agreed(
    home: Path, settings: dict[str, Any], word: str, way_out: str
) -> None:
    [(what, advice)] = agree(home, **settings)
    assert word in what
    assert way_out in advice


def test_check_tells_why_a_certificate_that_is_there_will_not_do(home: Path) -> None:
    [(what, _)] = agree(home, certificate=True, encrypt_files=True, sign_files=True, least_rsa_bits=3072)
    assert "its key has 2048 bits, fewer than 3072" in what


@pytest.mark.parametrize(
    ("settings", "word", "way_out"),
    [
        ({"cipher_suite": 1}, "suite 01 hashes with SHA-1", "--cipher-suite 4"),
        ({"cipher_suite": 2}, "suite 02 hashes with SHA-1", "--cipher-suite 4"),
        ({"encrypt_files": True}, "can be altered unnoticed", "--sign-files"),
        ({"least_rsa_bits": 1024}, "RSA keys of 1024 bits", "--least-rsa-bits 2048"),
        ({"level": 4, "compress_files": True}, "release level 4, which has no compressed files", "--level 5"),
    ],
)
def test_check_names_what_is_weak_or_cannot_work(home: Path, settings: dict[str, Any], word: str, way_out: str) -> None:
    [(what, advice)] = agree(home, certificate=True, **settings)
    assert word in what
    assert f"'oftp2d partner change {PARTNER} {way_out}'" in advice


def test_check_does_not_mind_a_partner_that_is_switched_off(home: Path) -> None:
    assert agree(home, cipher_suite=1, encrypt_files=True, active=False) == []


def test_check_finds_that_there_is_no_certificate_to_sign_with(home: Path) -> None:
    init()
    ledger = Ledger.open(f"sqlite:///{home / 'ledger.sqlite'}")
    ledger.partners.add(NewPartner(code=PARTNER, name="", station=CODE, sign_files=True), datetime.now(UTC))
    for each in ledger.certificates.list(Holder.OWN):
        ledger.certificates.remove(each.id)
    ledger.close()
    faults = {str(each["what"]): str(each["advice"]) for each in findings().values() if not each["ok"]}
    assert "oftp2d cert generate" in faults[f"there is no certificate of {CODE} to sign files"]


def test_check_finds_a_master_key_that_does_not_fit(home: Path) -> None:
    init()
    (home / "master.key").write_bytes(os.urandom(32))
    faults = [name for name, each in findings().items() if not each["ok"]]
    assert len(faults) == 1


def test_check_finds_a_database_that_is_gone_or_foreign(home: Path) -> None:
    init()
    (home / "ledger.sqlite").rename(home / "elsewhere")
    assert any("does not exist" in name for name in findings())
    (home / "ledger.sqlite").write_bytes(b"this is no database, but it has some length" * 100)
    (home / "ledger.sqlite").chmod(0o600)
    assert any("can't be opened" in name for name in findings())


def test_check_names_faults_of_credential_sets_and_secrets_that_cannot_be_read(home: Path) -> None:
    init()
    folder = home / "renewal"
    folder.mkdir(mode=0o700)
    (home / "open").write_text("secret-1\n")
    (home / "open").chmod(0o644)
    (home / "private").write_text("secret-2\n")
    (home / "private").chmod(0o600)
    command = 'plugin = "command"\n[set.command]\ncommand = ["/bin/true"]\n'
    for name, reference in (("open", "file:open"), ("good", "file:private"), ("stored", "store"), ("later", "env:X")):
        (folder / f"{name}.toml").write_text(f'[[set]]\nname = "{name}"\n{command}password = "{reference}"\n')
    (folder / "typo.toml").write_text(f'[[set]]\nname = "typo"\ncontcat = "x"\n{command}')
    (folder / "nmvs.toml").write_text(
        '[[set]]\nname = "nmvs"\nplugin = "nmvs"\n[set.nmvs]\nprofile = "missing"\n'
        'client_login_id = "A"\nuser_id = "B"\npassword = "store"\n'
    )
    found = findings()
    named = {key: each for key, each in found.items() if key.startswith(("credential set", "renewal/"))}
    assert {key.split(":")[0]: each["ok"] for key, each in named.items()} == {
        "credential set open": False,
        "credential set good": True,
        "credential set stored": False,
        "credential set later": True,
        "renewal/typo.toml": False,
        "renewal/nmvs.toml": False,
    }
    told = "\n".join(f"{key} {each['advice']}" for key, each in named.items())
    for words in ("chmod 600", "oftp2d renew secret stored password", "did you mean 'contact'", "missing.toml"):
        assert words in told, words
    assert "secret-" not in told


def test_check_says_nothing_of_credential_sets_where_there_are_none() -> None:
    init()
    assert not [key for key in findings() if key.startswith(("credential set", "renewal"))]


def test_plugins_and_examples_are_shown_without_a_station(home: Path) -> None:
    home.mkdir()
    assert {each["name"] for each in json.loads(run("renew", "plugins", "--json")[1])["plugins"]} >= {
        "command", "local-ca", "nmvs",
    }  # fmt: skip
    for plugin in ("command", "local-ca", "nmvs"):
        code, out, _ = run("renew", "example", plugin)
        assert code == Exit.DONE
        # What must be given stands there, and all of it can be read.
        (table,) = tomllib.loads(out)["set"]
        assert table["plugin"] == plugin
        assert plugin in table
    assert json.loads(run("renew", "example", "nmvs", "--json")[1])["text"].startswith("# A credential set")
    assert tomllib.loads(run("renew", "example", "nmvs", "--profile")[1])["verified"] is False
    assert run("renew", "example", "command", "--profile")[0] == Exit.FAILED
    code, _, err = run("renew", "example", "nothing")
    assert code == Exit.FAILED
    assert "there is no plugin called 'nothing': known are command, local-ca, nmvs" in err
