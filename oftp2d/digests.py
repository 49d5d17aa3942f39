"""The hash of a Virtual File as it travels, which signed end responses name (RFC 5024 sections 5.3.13 and 5.3.14).

What travels are the octets of the file without anything that marks its records. In the spool the records of a V file are each
led by their length, which is no part of it; every other file is there as it travels. Text whose line ends were put in here,
because its sender left them to the records, counts with them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO

from oftp2.cms.stage import Stage
from oftp2.cms.suites import CipherSuite, Digest
from oftp2.records import VariableReader
from oftp2.values import FileFormat
from oftp2d.pipeline import Hashing, Work, run


class _Bare:
    """A stage that leaves out the lengths of V records."""

    def __init__(self) -> None:
        self._reader = VariableReader()

    def update(self, octets: bytes) -> bytes:
        return bytes(self._reader.take(octets).octets)

    def finish(self) -> bytes:
        return b""


def virtual_hash(
    source: Callable[[], BinaryIO], *, form: FileFormat, sha256: str | None, suite: CipherSuite, work: Work
) -> bytes:
    """By the digest of a suite, of a file in the spool, in whose format it travels; its own ``sha256`` may be all it takes.

    Blocks as a pipeline does. Raises SpoolError and AbandonedError.
    """
    if sha256 is not None and suite.digest is Digest.SHA256 and form is not FileFormat.VARIABLE:
        return bytes.fromhex(sha256)
    into = suite.new_hash()
    bare: list[Stage] = [_Bare()] if form is FileFormat.VARIABLE else []
    with closing(source()) as file:
        run(file, [*bare, Hashing(into)], write=len, work=work)
    return into.digest()
