"""What a new credential must be before it takes the place of the one in use: pure functions (nmvs.md 8.2, validate)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from oftp2.certs.facts import CertificateFacts
from oftp2d.renewal.material import Material

LEAST_BITS: Final[Mapping[str, int]] = {"RSA": 2048, "EC": 224}
"""Of a key, by its type: 112 bits of security (NIST SP 800-57 part 1)."""


class Identity(StrEnum):
    """What is demanded of the subject of a new certificate."""

    EQUAL = "equal"
    """That of the certificate in use."""
    PATTERN = "pattern"
    """That it matches a regular expression."""
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is demanded of a new credential."""

    identity: Identity = Identity.EQUAL
    pattern: str = ""
    """For PATTERN: a regular expression for the whole subject, as 'oftp2d cert show' writes it."""
    extended_usages: tuple[str, ...] = ()
    """Dotted identifiers of extended key usages that it must have."""
    chain: bool = True
    """Whether it must come with all authorities up to the root."""
    clock_tolerance: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that keeps a new credential from being activated."""

    key: str
    """A word for it, always the same."""
    text: str
    may_be_overruled: bool
    """Whether an operator may activate it all the same."""


def problems(old: Material | None, new: Material, demands: Demands, now: datetime) -> Sequence[Problem]:
    """Everything that is wrong with a new credential; ``old`` is the one in use."""
    return [
        *_of_period(old, new, demands, now),
        *_of_key(new),
        *_of_usages(new, demands),
        *_of_identity(old, new, demands),
        *_of_sameness(old, new),
        *_of_chain(new, demands),
    ]


def _of_period(old: Material | None, new: Material, demands: Demands, now: datetime) -> Iterator[Problem]:
    if new.valid_from > now + demands.clock_tolerance:
        yield Problem(
            key="not yet valid",
            text=f"it is valid from {new.valid_from:%Y-%m-%d %H:%M} UTC on only",
            may_be_overruled=False,
        )
    if new.valid_until <= now:
        yield Problem(key="expired", text=f"it ended on {new.valid_until:%Y-%m-%d}", may_be_overruled=False)
    if old is not None and new.valid_until <= old.valid_until:
        text = f"it ends on {new.valid_until:%Y-%m-%d}, not later than the one in use ({old.valid_until:%Y-%m-%d})"
        yield Problem(key="ends no later", text=text, may_be_overruled=True)


def _of_key(new: Material) -> Iterator[Problem]:
    bits, least = new.facts.key_bits or 0, LEAST_BITS.get(new.facts.key_type, 0)
    if bits < least:
        yield Problem(key="weak key", text=f"its key has {bits} bits, fewer than {least}", may_be_overruled=True)
    # Opening a container has compared the two; a plugin of others may have made the material in another way.
    if new.certificate.public_key() != new.key.public_key():
        yield Problem(key="key of another", text="its private key does not belong to it", may_be_overruled=False)


def _of_usages(new: Material, demands: Demands) -> Iterator[Problem]:
    present = new.facts.extended
    # Without the extension a certificate is good for everything (RFC 5280 section 4.2.1.12).
    missing = [] if present is None else [each for each in demands.extended_usages if each not in present]
    if missing:
        yield Problem(key="usage", text=f"its extended key usage lacks {', '.join(missing)}", may_be_overruled=True)


def _of_identity(old: Material | None, new: Material, demands: Demands) -> Iterator[Problem]:
    subject = new.facts.subject
    match demands.identity:
        case Identity.EQUAL if old is not None and subject != old.facts.subject:
            text = f"it is for {subject}, the one in use is for {old.facts.subject}"
            yield Problem(key="subject", text=text, may_be_overruled=True)
        case Identity.PATTERN if not re.fullmatch(demands.pattern, str(subject)):
            yield Problem(key="subject", text=f"it is for {subject}, which is not as demanded", may_be_overruled=True)


def _of_sameness(old: Material | None, new: Material) -> Iterator[Problem]:
    if old is None:
        return
    if new.certificate.serial_number == old.certificate.serial_number:
        yield Problem(key="serial number", text="it has the serial number of the one in use", may_be_overruled=True)
    if new.certificate.public_key() == old.certificate.public_key():
        yield Problem(key="same key", text="it has the key of the one in use", may_be_overruled=True)


def _of_chain(new: Material, demands: Demands) -> Iterator[Problem]:
    top = new.chain[-1] if new.chain else new.certificate
    if demands.chain and not CertificateFacts.of(top).self_signed:
        yield Problem(
            key="chain",
            text=f"the authority that issued {CertificateFacts.of(top).subject} did not come with it",
            may_be_overruled=True,
        )
