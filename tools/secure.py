"""What file security costs: one file signed, compressed and encrypted, and opened again, in the way the station does it.

tools/bench runs it in a process of its own, so that its peak memory is that of the work. Prints one JSON object, in which
``cores_busy`` says how much of all processors the whole took: at 1 nothing but less work can make it faster. Beside it, in
the same run: each stage alone over what it gets in the whole, and ``openssl cms``, which signs and encrypts the same file as
it streams, in two processes at once. OpenSSL does not compress here: most of its builds cannot.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from oftp2.cms.keys import Owner, Signer, SoftwareKey
from oftp2.cms.package import Services, pack, unpack
from oftp2.cms.stage import Stage, chain
from oftp2.cms.suites import suite
from oftp2d import heap
from oftp2d.pipeline import PIECE, Hashing, Work, run
from oftp2d.spool import Spool, pieces_of

MEBIBYTE = 1024 * 1024
SUITE = suite(6)


def write_drawing(path: Path, octets: int) -> None:
    """Lines as in an engineering file, which compress to about a quarter; whole mebibytes."""
    noise = random.Random(5024)  # noqa: S311 - repeatable content, no secret
    blocks = [_drawing(noise) for _ in range(16)]
    with path.open("wb") as file:
        for number in range(octets // MEBIBYTE):
            file.write(blocks[number % len(blocks)])
        # Or the disk would be busy with it while something else is measured.
        file.flush()
        os.fsync(file.fileno())


def _drawing(noise: random.Random) -> bytes:
    lines = []
    for number in range(MEBIBYTE // 50):
        at = ",".join(f"{noise.randrange(-5000, 5000) / 8:.3f}" for _ in range(3))
        lines.append(
            f"#{number * 10}=CARTESIAN_POINT('NONE',({at}));\r\n#{number * 10 + 5}=VERTEX_POINT('',#{number * 10});\r\n"
        )
    return "".join(lines).encode()[:MEBIBYTE]


class Bench:
    """The keys, the files, and what is measured."""

    def __init__(self, folder: Path, octets: int) -> None:
        self._folder = folder
        self._octets = octets
        self._spool = Spool(folder / "spool")
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
        self._now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder(issuer_name=name, subject_name=name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(hours=1))
            .not_valid_after(self._now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self._plain, self._secured = folder / "plain.dat", folder / "secured.dat"
        write_drawing(self._plain, octets)

    def measure(self) -> dict[str, float | str | None]:
        """Both ways as a whole, then what they are compared with."""
        opened = self._folder / "opened.dat"
        stages = [*self._pack(), Hashing(SUITE.new_hash())]
        securing, cores_busy = self._through(self._plain, stages, self._secured)
        stages = [*self._unpack(), Hashing(hashlib.sha256())]
        opening, open_cores_busy = self._through(self._secured, stages, opened)
        # What is measured behind this is not the station's memory.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if not filecmp.cmp(self._plain, opened, shallow=False):
            raise AssertionError("what was opened is not what was secured")
        opened.unlink()
        return {
            "stage_ratio": max(self._alone(self._plain, self._pack())) / securing,
            "open_ratio": max(self._alone(self._secured, self._unpack())) / opening,
            "mb_s": self._octets / securing / 1e6,
            "open_mb_s": self._octets / opening / 1e6,
            "cores_busy": cores_busy,
            "open_cores_busy": open_cores_busy,
            "compressed_to": self._secured.stat().st_size / self._octets,
            "peak_mib": peak,
            **self._openssl(securing),
        }

    def _pack(self) -> list[Stage]:
        return pack(
            suite=SUITE,
            signers=[Signer(self._certificate, SoftwareKey(self._key))],
            compress=True,
            recipients=[self._certificate],
            octets=self._octets,
            at=self._now,
        )

    def _unpack(self) -> list[Stage]:
        return unpack(
            Services(sign=True, compress=True, encrypt=True),
            suite=SUITE,
            owners=[Owner(self._certificate, SoftwareKey(self._key))],
            certificates=[self._certificate],
            octets=self._secured.stat().st_size,
        ).stages

    def _through(self, source: Path, stages: list[Stage], target: Path) -> tuple[float, float]:
        """Seconds for a file through all stages onto the disk, as the station does it, and how busy it kept the processors."""
        begun, worked = time.perf_counter(), time.process_time()
        with source.open("rb", buffering=0) as file, self._spool.staging(cached=False, hashed=False) as writing:
            run(file, stages, write=writing.write, work=Work())
            made = writing.seal()
        seconds, worked = time.perf_counter() - begun, time.process_time() - worked
        (self._folder / "spool" / "outgoing" / made.name).rename(target)
        return seconds, worked / seconds / (os.cpu_count() or 1)

    def _alone(self, source: Path, stages: Sequence[Stage]) -> Iterator[float]:
        """Seconds of each stage alone, over what it gets in the whole. What comes out is written down, unmeasured."""
        for number, stage in enumerate(stages):
            result = self._folder / f"stage-{number}.dat"
            spent = 0.0
            with source.open("rb", buffering=0) as file, result.open("wb") as out:
                made = chain([stage], pieces_of(file, PIECE))
                begun = time.perf_counter()
                for piece in made:
                    spent += time.perf_counter() - begun
                    out.write(piece)
                    begun = time.perf_counter()
                spent += time.perf_counter() - begun
            yield spent
            if source not in {self._plain, self._secured}:
                source.unlink()
            source = result

    def _openssl(self, ours: float) -> dict[str, float | str | None]:
        """How much longer OpenSSL takes."""
        pem = self._folder / "bench.pem"
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem.write_bytes(self._certificate.public_bytes(Encoding.PEM) + private)
        streaming = ["-binary", "-stream", "-outform", "DER"]
        begun = time.perf_counter()
        sign = ["openssl", "cms", "-sign", "-nodetach", "-nocerts", "-md", "sha512", "-signer", pem, *streaming]
        encrypt = ["openssl", "cms", "-encrypt", "-aes256", *streaming, "-out", self._folder / "openssl.dat", pem]
        try:
            with subprocess.Popen([*sign, "-in", self._plain], stdout=subprocess.PIPE) as signing:
                subprocess.run(encrypt, stdin=signing.stdout, check=True)
        except OSError as error:
            return {"openssl_ratio": None, "openssl_ratio_reason": f"openssl cannot be run: {error.strerror}"}
        if signing.returncode:
            raise subprocess.CalledProcessError(signing.returncode, "openssl cms -sign")
        seconds = time.perf_counter() - begun
        return {"openssl_ratio": seconds / ours, "openssl_mb_s": self._octets / seconds / 1e6}


if __name__ == "__main__":
    heap.share()
    print(json.dumps(Bench(Path(sys.argv[1]), int(sys.argv[2])).measure()))
