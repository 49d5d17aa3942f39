"""Secured files: signed, compressed and encrypted in the order of RFC 5024 section 6.1, and the way back.

Each service is a layer, a ContentInfo of its own (RFC 5652 section 3) around the octets of the one below. A file that is
opened has to consist of exactly the layers that its SFID announced, each of which ends where the one around it ends.

Of a file with a signature either the octets that were signed come out or none that are vouched for, whatever became of it
on its way. Compression finds accidents and no intent; encryption alone finds neither
(see :mod:`oftp2.cms.enveloped`). Nothing is vouched for before the last stage has finished.

**What a partner is told.** Who has got hold of an encrypted file may send us altered copies of it. If our answers depended on
what comes out, they would decrypt it for him, one octet after the other: by a padding that is right or not, by a layer
inside that can be read or not, or by an error that quotes what it found. So all that fails behind an encryption is
answered alike, until a signature inside proves that nothing was altered; see :meth:`Unpacking.told`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography import x509

from oftp2.cms.compressed import Compressing, Decompressing
from oftp2.cms.data import Unwrapping
from oftp2.cms.decryption import content_info
from oftp2.cms.enveloped import Enveloping, Opening
from oftp2.cms.errors import CmsError, DecompressionError, DecryptionError, SignatureError
from oftp2.cms.keys import Owner, Signer, fingerprint
from oftp2.cms.limits import Limits
from oftp2.cms.signed import Signature, Signing, Verifying
from oftp2.cms.stage import Joined, Stage
from oftp2.cms.suites import CipherSuite
from oftp2.values import SecurityLevel


@dataclass(frozen=True, slots=True)
class Services:
    """What is done to a file."""

    sign: bool = False
    compress: bool = False
    encrypt: bool = False

    @classmethod
    def of(cls, security: SecurityLevel, compression: int) -> Self:
        """As SFIDSEC and SFIDCOMP announce it (RFC 5024 section 5.3.3)."""
        return cls(
            sign=security.signed,
            compress=compression != 0,
            encrypt=security.encrypted,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is known of a file that has gone through all stages."""

    signatures: tuple[Signature, ...] = ()
    """The valid ones by certificates that were given; at least one where the file had to be signed."""

    ignored: tuple[str, ...] = ()
    """For people: what was found of signatures by others."""

    digest: bytes | None = None
    """Of the file, by the digest of the suite, where it was signed."""

    recipient: str | None = None
    """The fingerprint of the certificate of ours whose key opened it, where it was encrypted."""


def pack(
    *,
    suite: CipherSuite,
    signers: Sequence[Signer] = (),
    compress: bool = False,
    recipients: Sequence[x509.Certificate] = (),
    octets: int | None,
    at: datetime,
    certificates: bool = False,
    by_key_identifier: bool = False,
) -> list[Stage]:
    """The stages that secure a file, in their order: none for a service that is not asked for.

    ``octets`` is the length of the file where it is known: then what comes out is DER, up to the compression, if there is
    one. ``at`` is the signing time; ``certificates`` says whether those of the signers go along. Raises ``ValueError`` for
    a certificate without RSA key, and for a key too short for the suite.
    """
    stages: list[Stage] = []
    if signers:
        signing = Signing(signers, suite, octets=octets, at=at, certificates=certificates)
        stages.append(signing)
        octets = signing.length
    if compress:
        stages.append(Compressing())
        octets = None
    if recipients:
        stages.append(
            Enveloping(suite=suite, recipients=recipients, octets=octets, by_key_identifier=by_key_identifier)
        )
    return stages


class Unpacking:
    """The stages that open one file, and what they found."""

    def __init__(
        self,
        services: Services,
        *,
        suite: CipherSuite,
        owners: Sequence[Owner],
        certificates: Sequence[x509.Certificate],
        limits: Limits,
        octets: int | None,
    ) -> None:
        self.stages: list[Stage] = []
        """In their order. What is both encrypted and compressed is opened by one: most of that work is to expand it."""
        self._services = services
        self._opening: Opening | None = None
        self._verifying: Verifying | None = None
        if services.encrypt:
            proof = content_info if services.compress or services.sign else None
            self._opening = Opening(owners, suite=suite, limits=limits, proof=proof)
            self.stages.append(self._opening)
        if services.compress:
            expanding = Decompressing(limits, source=octets)
            self.stages = [Joined(self._opening, expanding) if self._opening else expanding]
        if services.sign:
            self._verifying = Verifying(certificates, suite, limits=limits)
            self.stages.append(self._verifying)
        if not self.stages:
            self.stages.append(Unwrapping(limits))

    @property
    def opened(self) -> Opened:
        """What was found. Raises ``ValueError`` before all stages have finished."""
        owner = self._opening and self._opening.owner
        verified = self._verifying
        if (self._opening and not owner) or (verified and not verified.signatures):
            raise ValueError("the file has not gone through all stages")
        return Opened(
            signatures=verified.signatures if verified else (),
            ignored=verified.ignored if verified else (),
            digest=verified.digest if verified else None,
            recipient=fingerprint(owner.certificate) if owner else None,
        )

    def told(self, error: Exception) -> Exception:
        """What a partner may be told of a failure, of a stage or of what looks at the content behind them.

        It is the error itself where nothing was decrypted yet, and where a signature vouches for the content; else what
        :func:`undisclosed` says.
        """
        opening, verifying = self._opening, self._verifying
        if opening is None or not opening.begun or (verifying and verifying.signatures):
            return error
        return undisclosed(self._services, named=opening.named)


def undisclosed(services: Services, *, named: bool) -> CmsError:
    """What a partner is told of an encrypted file that fails, whatever is wrong with it.

    It depends on what everybody sees: the services, and whether a recipient was ``named`` whose key is here.
    """
    if named and services.sign:
        return SignatureError(
            "what is encrypted is not signed with a certificate that is known here, or damaged, or not as agreed"
        )
    if named and services.compress:
        return DecompressionError("what is encrypted is not compressed as agreed, or damaged")
    return DecryptionError("no key here opens the encrypted data, or what is inside is damaged or not as agreed")


def unpack(
    services: Services,
    *,
    suite: CipherSuite,
    owners: Sequence[Owner] = (),
    certificates: Sequence[x509.Certificate] = (),
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    octets: int | None = None,
) -> Unpacking:
    """What opens a file with these services; one with none is taken for plain data in an envelope.

    ``owners`` are those whose keys may open it, ``certificates`` those that may have signed it, ``octets`` is the length
    of the file as it came, where it is known. The stages raise the children of :class:`oftp2.cms.errors.CmsError`.
    """
    return Unpacking(services, suite=suite, owners=owners, certificates=certificates, limits=limits, octets=octets)
