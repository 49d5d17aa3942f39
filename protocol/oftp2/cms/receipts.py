"""Signed end responses: what the signature of an EERP or NERP is over, made and verified (RFC 5024 sections 5.3.13, 5.3.14).

The signature is SignedData, with what is signed inside: the fields of the command in their entirety, blanks included, and
the hash of the Virtual File. Reason and text of a NERP are not among them. Whether the hash is that of the file in
question is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from cryptography import x509

from oftp2.cms import signed
from oftp2.cms.attached import content_of
from oftp2.cms.errors import SignatureError
from oftp2.cms.keys import Signer
from oftp2.cms.limits import Limits
from oftp2.cms.signed import Verified
from oftp2.cms.suites import CipherSuite
from oftp2.commands import EndResponse, Nerp

MAX_SIGNATURE: Final = 65_535
"""Octets that EERPSIGL and NERPSIGL can say."""

# Name, attribute and octets of the fields; CREA is that of NERP alone.
_FIELDS: Final = (
    ("DSN", "dataset", 26),
    ("DATE", "date", 8),
    ("TIME", "time", 10),
    ("DEST", "destination", 25),
    ("ORIG", "originator", 25),
)
_CREATOR: Final = ("CREA", "creator", 25)


def signed_content(command: EndResponse) -> bytes:
    """What the signature is over. Raises ``ValueError`` for a field that the command cannot carry."""
    return b"".join(octets for _, octets in _parts(command))


def sign(
    command: EndResponse, signers: Sequence[Signer], suite: CipherSuite, *, at: datetime, certificates: bool = False
) -> bytes:
    """The signature for EERPSIG or NERPSIG, of up to ``MAX_SIGNATURE`` octets; the one in ``command`` does not matter.

    ``at`` and ``certificates`` are those of :class:`oftp2.cms.signed.Signing`. Raises ``ValueError`` for a command without a
    hash of the suite, and for signers with whom the signature gets too long.
    """
    if len(command.hash) != suite.digest_octets:
        raise ValueError(f"a hash of {suite.digest} has {suite.digest_octets} octets, not {len(command.hash)}")
    signature = signed.sign(signed_content(command), signers, suite, at=at, certificates=certificates)
    if len(signature) > MAX_SIGNATURE:
        raise ValueError(f"a signature of {len(signature)} octets does not fit an end response")
    return signature


def verify(
    command: EndResponse,
    certificates: Sequence[x509.Certificate],
    suite: CipherSuite,
    *,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
) -> Verified:
    """The signature of ``command``, if it is valid and over just these fields and this hash.

    What is signed may be missing inside, the encoding be BER, the certificate be there or not. ``suite`` is that of the
    file. Raises :class:`SignatureError`, which names the field that differs.
    """
    if not command.signature:
        raise SignatureError("the end response is not signed")
    if len(command.hash) != suite.digest_octets:
        raise SignatureError(f"the end response holds no hash of {suite.digest}")
    inside = content_of(command.signature)
    if inside is not None:
        _compare(command, inside)
    return signed.verify(command.signature, certificates, suite, content=signed_content(command), limits=limits)


def _compare(command: EndResponse, inside: bytes) -> None:
    """Raise :class:`SignatureError` with the name of the first field that is not as it was signed."""
    at = 0
    for name, octets in _parts(command):
        if inside[at : at + len(octets)] != octets:
            raise SignatureError(f"the signature is over another {name} than that of the end response")
        at += len(octets)
    if len(inside) != at:
        raise SignatureError("the signature is over more than the end response")


def _parts(command: EndResponse) -> Iterator[tuple[str, bytes]]:
    """Name and octets of each field that is signed, and of the hash."""
    prefix = type(command).__name__.upper()
    for name, attribute, size in (*_FIELDS, *([_CREATOR] if isinstance(command, Nerp) else ())):
        octets = getattr(command, attribute).encode("ascii").ljust(size)
        if len(octets) != size:
            raise ValueError(f"{prefix}{name} takes up to {size} octets, not {len(octets)}")
        yield prefix + name, octets
    yield f"{prefix}HSH", command.hash
