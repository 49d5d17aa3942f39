"""The openssl command as a partner: what it makes of files of ours, and files that it makes for us."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from oftp2.cms.suites import CipherSuite, ContentCipher
from tests.pki import Issued


def openssl(*arguments: str, octets: bytes, **files: bytes) -> bytes:
    """What the command writes for these octets. ``recipient_pem`` is there as ``recipient.pem``."""
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


def _transport(suite: CipherSuite) -> Iterator[str]:
    if suite.probabilistic:
        name = suite.digest.value.replace("_", "-")
        for option in ("rsa_padding_mode:oaep", f"rsa_oaep_md:{name}", f"rsa_mgf1_md:{name}"):
            yield from ("-keyopt", option)
