"""How much a received message may cost before it is refused: octets, memory, work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what is read. Numbers are positive; exceeding one is an error of the message, not of the program."""

    octets: int = 1 << 40
    """The longest content that may come out of a message, in octets."""

    ratio: int = 200
    """How many times its compressed length content may have. Below ``floor`` octets of content any ratio will do."""

    floor: int = 64 << 20
    """Octets of content up to which ``ratio`` is not asked for: small files that are almost empty compress well."""

    signers: int = 16
    """Signatures in one message."""

    recipients: int = 64
    """Recipients of one message."""

    unwrappings: int = 64
    """Private key operations that one message may cost."""

    held: int = 1 << 20
    """Octets of all that is held in memory at once: recipients, certificates, signatures and their attributes."""

    depth: int = 32
    """How deep ASN.1 values may be nested: a file takes about 10, a time stamp beside a signature up to 25."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"the limit {name} is a positive number, not {getattr(self, name)}")

    def expanded(self, octets: int, source: int) -> bool:
        """Whether ``octets`` of content out of ``source`` octets are too many, by length or by ratio."""
        return octets > self.octets or (octets > self.floor and octets > source * self.ratio)
