"""Secrets at rest."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from oftp2d.errors import OperatorError
from oftp2d.vault import CREDENTIAL, ENVIRONMENT, Secret, Vault

MASTER = bytes(range(32))


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("opensesame")
    assert "opensesame" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "opensesame"
    assert secret == Secret("opensesame")
    assert hash(secret) == hash(Secret("opensesame"))
    assert secret != "opensesame"
    assert not Secret(b"")


def test_what_is_sealed_opens_again_and_only_with_the_same_master_key() -> None:
    vault = Vault(MASTER)
    sealed = vault.seal(b"password")
    assert b"password" not in sealed
    assert vault.open_sealed(sealed) == b"password"
    with pytest.raises(OperatorError, match="does not open with this master key"):
        Vault(bytes(32)).open_sealed(sealed)
    with pytest.raises(OperatorError):
        vault.open_sealed(sealed[:-4])


def test_a_digest_tells_two_values_apart_and_nothing_to_who_has_another_master_key() -> None:
    vault = Vault(MASTER)
    assert vault.digest(b"password") == Vault(MASTER).digest(b"password")
    assert vault.digest(b"password") != vault.digest(b"Password")
    assert vault.digest(b"password") != Vault(bytes(32)).digest(b"password")
    assert len(bytes.fromhex(vault.digest(b""))) == 32


def test_the_passphrase_is_derived_and_stays_the_same() -> None:
    assert Vault(MASTER).passphrase() == Vault(MASTER).passphrase()
    assert Vault(MASTER).passphrase() != Vault(bytes(32)).passphrase()
    assert MASTER not in Vault(MASTER).passphrase()


def test_a_new_master_key_is_readable_by_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    vault = Vault.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    assert Vault.open(path).open_sealed(vault.seal(b"x")) == b"x"
    with pytest.raises(OperatorError, match="is there already"):
        Vault.create(path)


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot write"):
        Vault.create(tmp_path / "none" / "master.key")
    with pytest.raises(OperatorError, match="cannot read the master key"):
        Vault.open(tmp_path / "master.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_master_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    Vault.create(path)
    path.chmod(mode)
    with pytest.raises(OperatorError, match="chmod 600"):
        Vault.open(path)


@pytest.mark.parametrize("content", [b"short", b"x" * 33, b"%%%not base64%%%"])
def test_a_master_key_of_another_length_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(OperatorError, match="instead of 32") as caught:
        Vault.open(path)
    assert content.decode() not in str(caught.value)


def test_the_environment_beats_the_credential_beats_the_file(tmp_path: Path) -> None:
    file, credentials = tmp_path / "home", tmp_path / "credentials"
    file.mkdir()
    credentials.mkdir()
    in_file = Vault.create(file / "master.key")
    with_credential = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert Vault.find(file, {}).passphrase() == in_file.passphrase()
    assert Vault.find(file, with_credential).passphrase() == in_file.passphrase()
    (credentials / CREDENTIAL).write_bytes(MASTER)
    assert Vault.find(file, with_credential).passphrase() == Vault(MASTER).passphrase()
    for encode in (b64encode, urlsafe_b64encode):
        other = b"\xff" * 32
        environ = with_credential | {ENVIRONMENT: encode(other).decode()}
        assert Vault.find(file, environ).passphrase() == Vault(other).passphrase()
