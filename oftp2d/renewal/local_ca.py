"""The plugin ``local-ca``: certificates that an authority of the site's own vouches for, made here.

A new key pair is made each time, and signed with the authority's key; nothing is asked outside of this machine.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from oftp2.certs.content import ContentError, certificates_in
from oftp2.certs.facts import CertificateFacts
from oftp2d import credentials
from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import Answer, Case, Plugin
from oftp2d.renewal.material import MAX_OCTETS, Material, packed
from oftp2d.renewal.timetable import Terms
from oftp2d.settings import REQUIRED, each_matching, file_path, matching, secret_reference, text, whole
from oftp2d.vault import Secret

LEAST_LEFT: Final = timedelta(days=1)
"""An authority that ends sooner vouches for nothing any more."""

_PASSPHRASE_OCTETS: Final = 24
_LABEL: Final = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
_HOST: Final = rf"{_LABEL}(?:\.{_LABEL}){{0,30}}|[0-9A-Fa-f]{{0,4}}:[0-9A-Fa-f:.]{{1,40}}"


@attrs.frozen(kw_only=True)
class Options:
    """An authority of your own, and what the certificates that it vouches for say.

    Each certificate is good for TLS (server and client), signatures and encryption, has an RSA key and SHA-256.
    """

    authority: Path = file_path(
        REQUIRED,
        "The file with the certificate of your authority, PEM or DER; in the same file the authorities above it up to the root,"
        " where there are any.",
        example="authority/ca.pem",
    )
    key: str = secret_reference(
        REQUIRED,
        'Where the private key of the authority is, RSA or of an elliptic curve, in PEM. With "file:" nobody but the user of'
        " the station may read the file (chmod 600).",
        example="file:authority/ca.key",
    )
    passphrase: str = secret_reference("", "Where the passphrase of that key is. Left out: the key is not encrypted.")
    common_name: str = text(64, REQUIRED, "The common name (CN) of the subject.", example="oftp.company.example")
    organisation: str = text(64, "", "The organisation (O) of the subject.", example="Company Ltd")
    country: str = matching(
        "[A-Z]{2}", "", "The country (C) of the subject.", values="two capital letters of ISO 3166", example="DE"
    )
    station: str = matching(
        "[A-Z0-9 ]{1,25}",
        "",
        "The Odette ID of your station, which becomes the serialNumber of the subject: partners find the station by it, and so"
        " does [set.store].",
        values='an Odette ID like "O0013000001COMPANY"',
        example="O0013000001COMPANY",
    )
    hosts: tuple[str, ...] = each_matching(
        _HOST,
        50,
        (),
        "The names and addresses under which it is called, for TLS. Left out: the common name, where that is a host name.",
        values='a host name or an IP address like "oftp.company.example"',
        example=("oftp.company.example",),
    )
    email: str = text(254, "", "Whom partners may ask about it.", example="edi@company.example")
    days: int = whole(2, 3650, 365, "How long a certificate is valid, in days; never longer than its authority.")
    key_bits: int = whole(2048, 8192, credentials.KEY_BITS, "The length of its key, in bits.")


class LocalCa(Plugin):
    """Signs certificates with an authority of the site's own."""

    summary = "an authority of your own signs: a key pair and a certificate are made on this machine"
    options = Options
    secrets = ("key", "passphrase")

    def usual(self, options: Any) -> Terms:
        """The authority is always there: a third of the life of a certificate is time enough, and never more than usual."""
        usual, days = self.terms, options.days
        return Terms(
            valid_days=days,
            lead_days=max(1, min(usual.lead_days, days // 3)),
            alarm_days=max(1, min(usual.alarm_days, days // 6)),
            critical_days=max(1, min(usual.critical_days, days // 12)),
            store_days=days,
        )

    def check(self, options: Any) -> Iterable[str]:
        """Whether the file holds an authority, and the subject is possible."""
        for look in (lambda: _authorities(self.house.home / options.authority), lambda: _profile(options)):
            try:
                look()
            except OperatorError as error:
                yield f"{error.what}; {error.advice}"

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer:  # noqa: ARG002
        """Make a key pair and sign. Raises OperatorError."""
        options = case.options
        authorities = await self.house.workers.disk(_authorities, self.house.home / options.authority)
        key = await case.secrets.get("key")
        passphrase = await case.secrets.get("passphrase") if options.passphrase else None
        return await self.house.workers.crypto(_made, case, authorities, key, passphrase, now)


def _profile(options: Options) -> credentials.Profile:
    """What the certificate is to say. Raises OperatorError where that is not possible."""
    profile = credentials.Profile(
        common_name=options.common_name,
        station=options.station,
        organisation=options.organisation or None,
        country=options.country or None,
        hosts=options.hosts,
        email=options.email or None,
    )
    profile.subject()
    tuple(profile.extensions())
    return profile


def _authorities(path: Path) -> Sequence[CertificateFacts]:
    """The authority and those above it, as they stand in the file. Raises OperatorError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_OCTETS)
        found = certificates_in(content, keys=True)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read ({error.strerror})", "check the path, its owner and mode") from None
    except ContentError:
        raise OperatorError(
            f"there is no certificate in {path}", "name the file of your authority, PEM or DER"
        ) from None
    if not found[0].is_ca:
        raise OperatorError(f"{found[0].subject} in {path} is no authority", "put its certificate first in the file")
    return found


def _made(
    case: Case, authorities: Sequence[CertificateFacts], key: Secret[str], passphrase: Secret[str] | None, now: datetime
) -> Answer:
    """A new credential in its container; slow. Raises OperatorError."""
    options, authority = case.options, authorities[0]
    if authority.not_after - now < LEAST_LEFT:
        raise OperatorError(
            f"the authority {authority.subject} ends on {authority.not_after:%Y-%m-%d}",
            "give the certificate and the key of its successor in the definition of the set",
        )
    signing = _opened(key, passphrase, authority.certificate)
    new_key = credentials.generate_key(options.key_bits)
    made = credentials.signed_by(
        authority.certificate, signing, key=new_key, profile=_profile(options), now=now, days=options.days
    )
    chain = tuple(each.certificate for each in authorities)
    secret = secrets.token_urlsafe(_PASSPHRASE_OCTETS).encode()
    return Answer(
        content=Secret(packed(Material(certificate=made, key=new_key, chain=chain), secret, case.name)),
        passphrase=Secret(secret),
        transaction=f"{made.serial_number:x}",
    )


def _opened(
    key: Secret[str], passphrase: Secret[str] | None, authority: x509.Certificate
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        found = load_pem_private_key(key.reveal().encode(), passphrase.reveal().encode() if passphrase else None)
    except (ValueError, TypeError):
        raise OperatorError(
            "the private key of the authority does not open", "check that it is PEM, and its passphrase"
        ) from None
    if not isinstance(found, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise OperatorError(
            "the key of the authority is neither RSA nor of an elliptic curve", "take another authority"
        )
    if found.public_key() != authority.public_key():
        raise OperatorError(
            "the private key does not belong to the certificate of the authority", "give the two that belong together"
        )
    return found
