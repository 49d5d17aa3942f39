"""How far a connection has come: what the other side's network has taken of the octets we sent.

TCP knows it: an octet counts when its receipt was acknowledged, which a peer that reads nothing stops to do when its
buffers are full. Only Linux tells; elsewhere the answer is that nobody knows.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_ACKNOWLEDGED: Final = 120
"""Where ``tcpi_bytes_acked`` stands in Linux's struct tcp_info (linux/tcp.h), eight octets; it is there since 4.1."""


def below_tls(transport: object) -> object:
    """The transport of TCP that is under that of TLS, or is the one given."""
    return getattr(transport, "transport", None) or transport


def octets_taken(transport: object) -> int | None:
    """Octets that the peer's side has acknowledged since the connection stands, TLS and all; None where nobody knows."""
    handle = getattr(below_tls(transport), "socket", None)
    if not isinstance(handle, socket.socket) or _TCP_INFO is None:
        return None
    try:
        told = handle.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _ACKNOWLEDGED + 8)
    except OSError:
        return None
    if len(told) < _ACKNOWLEDGED + 8:
        return None
    return int.from_bytes(told[_ACKNOWLEDGED:], sys.byteorder)
