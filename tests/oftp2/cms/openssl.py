"""The openssl command as a partner: what it makes of files of ours, and files that it makes for us."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from oftp2.cms.suites import CipherSuite, ContentCipher
from tests.pki import Issued


def openssl(*arguments: str, octets: bytes, **files: bytes) -> bytes:
    """What the command writes for these octets. A file ``recipient_pem`` is there as ``recipient.pem``."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name.replace("_pem", ".pem")).write_bytes(content)
        done = subprocess.run(["openssl", *arguments], input=octets, capture_output=True, cwd=folder, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


def encrypted(content: bytes, suite: CipherSuite, recipients: Sequence[Issued], *options: str) -> bytes:
    """``openssl cms -encrypt`` for several recipients."""
    files = {f"recipient{number}_pem": one.pem for number, one in enumerate(recipients)}
    cipher = "-des3" if suite.cipher is ContentCipher.TRIPLE_DES else "-aes256"
    to: list[str] = []
    for number in range(len(recipients)):
        to += ["-recip", f"recipient{number}.pem", *_transport(suite)]
    return openssl("cms", "-encrypt", "-binary", "-outform", "DER", cipher, *options, *to, octets=content, **files)


def decrypted(octets: bytes, owner: Issued) -> bytes:
    """``openssl cms -decrypt`` with the key of one certificate."""
    arguments = ("cms", "-decrypt", "-binary", "-inform", "DER", "-inkey", "key.pem", "-recip", "owner.pem")
    return openssl(*arguments, octets=octets, key_pem=owner.key_pem, owner_pem=owner.pem)


def signed(content: bytes, suite: CipherSuite, signers: Sequence[Issued], *options: str) -> bytes:
    """``openssl cms -sign`` by several signers, the content inside."""
    files: dict[str, bytes] = {}
    by: list[str] = []
    for number, one in enumerate(signers):
        files |= {f"signer{number}_pem": one.pem, f"key{number}_pem": one.key_pem}
        by += ["-signer", f"signer{number}.pem", "-inkey", f"key{number}.pem"]
        if suite.probabilistic:
            by += ["-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:-1"]
    command = ("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", _digest(suite), *options)
    return openssl(*command, *by, octets=content, **files)


def verified(octets: bytes, signers: Sequence[Issued]) -> bytes:
    """The content by ``openssl cms -verify``, every signature by one of these."""
    arguments = ("cms", "-verify", "-binary", "-inform", "DER", "-noverify", "-nointern", "-certfile", "signers.pem")
    return openssl(*arguments, octets=octets, signers_pem=b"".join(one.pem for one in signers))


def _digest(suite: CipherSuite) -> str:
    return suite.digest.value.replace("_", "-")


def _transport(suite: CipherSuite) -> Iterator[str]:
    if suite.probabilistic:
        for option in ("padding_mode:oaep", f"oaep_md:{_digest(suite)}", f"mgf1_md:{_digest(suite)}"):
            yield from ("-keyopt", f"rsa_{option}")
