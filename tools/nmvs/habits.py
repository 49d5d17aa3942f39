"""How the stand-in behaves: the choices that the public facts leave open, each a switch (nmvs.md 8.1 and 8.3)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from .containers import Encryption


class Refusal(StrEnum):
    """How a client certificate that is not good is refused (8.3 point 1)."""

    HANDSHAKE = "handshake"
    """The TLS handshake fails."""
    HTTP = "http"
    """The handshake succeeds, the answer is 403."""
    PROCESS = "process"
    """As HTTP, but one that only expired gets as far as the process, which answers PKI_01."""


class Again(StrEnum):
    """What a second download of the same certificate brings (8.3 point 6)."""

    SAME = "same"
    """The same container."""
    NEW_PASSPHRASE = "new passphrase"
    """The same certificate and key under a new passphrase."""
    LIMITED = "limited"
    """The same container, as often as ``downloads`` says, then PKI_09."""
    REFUSED = "refused"
    """PKI_09."""


class TanMode(StrEnum):
    """What the with-certificate listener wants of the element Tan (8.3 point 10)."""

    OMIT = "omit"
    EMPTY = "empty"
    FIXED = "fixed"
    """``fixed_tan``."""
    TAN = "tan"
    """One that was issued for the user."""


@dataclass(frozen=True, kw_only=True)
class Habits:
    """All switches; changed as a whole."""

    version: str = "4.0"
    """Of the interface: 2.0, 4.0 or 5.0; in the namespaces and in the paths."""
    soap: str = "1.2"
    """The envelope that is understood: 1.2 or 1.1."""
    element: str = "G615Request"
    """The wrapper of the request on the with-certificate listener; that of the answer is called accordingly."""
    confirm_element: str = "G616Request"
    """The wrapper of a confirmation. Nothing public names one: PKI_09 alone hints that there is such a step."""
    tan_mode: TanMode = TanMode.OMIT
    fixed_tan: str = "00000000"
    refusal: Refusal = Refusal.HANDSHAKE
    error_status: int = 200
    """The HTTP status of an answer whose return code is no success."""
    lead_days: int = 60
    """A successor is made so many days before the end; older pages say 30."""
    store_days: int = 60
    """So long a successor is kept for the user."""
    valid_days: int = 730
    encryption: Encryption = Encryption.AES_256
    again: Again = Again.SAME
    downloads: int = 2
    revoke_old: bool = False
    """Whether a certificate is revoked when its successor is first used."""
    rate_calls: int = 0
    """Calls of a user within ``rate_seconds``, above which the frequency is exceeded; 0: no limit."""
    rate_seconds: int = 60
    password_days: int = 0
    """How long a password is valid; 0: for ever."""
    password_notice_days: int = 10
    password_grace_days: int = 3
    """How long the former password goes on to be taken."""
    change_password: bool = True
    """Whether G445 is there."""

    def but(self, **changes: Any) -> Habits:
        """With other values; raises ValueError for a name or a value that there is not."""
        kinds = {each.name: type(getattr(self, each.name)) for each in fields(self)}
        taken = {}
        for name, value in changes.items():
            if name not in kinds:
                raise ValueError(f"there is no habit {name}: {', '.join(kinds)}")
            kind = kinds[name]
            if kind in {int, bool, str} and type(value) is not kind:
                raise ValueError(f"{name} is of the kind {kind.__name__}")
            taken[name] = kind(value)
        found = replace(self, **taken)
        if found.version not in VERSIONS or found.soap not in ENVELOPES:
            raise ValueError(f"version is one of {', '.join(VERSIONS)}, soap one of {', '.join(ENVELOPES)}")
        return found


VERSIONS = ("2.0", "4.0", "5.0")
ENVELOPES = {"1.2": "http://www.w3.org/2003/05/soap-envelope", "1.1": "http://schemas.xmlsoap.org/soap/envelope/"}
