"""TLS under a link: what one read from the network brought is given to it at once.

OpenSSL deals out what it deciphers in records of 16 KiB, and Twisted passes on each as it comes. A session does its work once
for many data buffers, so it is told behind the last record. What it says goes out at once: a link joins its writes itself, and
to collect small ones for a moment, as Twisted does otherwise, would only make each answer later.
"""

# mypy: disallow-untyped-calls=False
# Twisted gives its TLS protocol no types.

from __future__ import annotations

from typing import Any, Protocol, cast

from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol


class Gatherer(Protocol):
    """What the wrapped protocol has besides ``dataReceived``, which only collects."""

    def allReceived(self) -> None:  # noqa: N802 - in one row with Twisted's names
        """Everything there is for now has been given to ``dataReceived``."""


class GatheringTls(TLSMemoryBIOProtocol):
    """The TLS end of one connection."""

    def dataReceived(self, octets: bytes) -> None:  # noqa: N802 - Twisted's name
        """Octets from the network."""
        super().dataReceived(octets)
        cast("Gatherer", self.wrappedProtocol).allReceived()


class Tls(TLSMemoryBIOFactory):
    """Wraps the links of a factory in TLS, as client or as server."""

    protocol = GatheringTls
    noisy = False

    def __init__(self, contexts: Any, inner: Any, *, client: bool) -> None:
        super().__init__(contexts, client, inner)
