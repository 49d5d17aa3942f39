"""The Virtual Files of the certificate exchange: which dataset name carries which message (acx.md 2.1)."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from oftp2.certs.acceptance import Message

DATASETS: Final = MappingProxyType({message: f"ODETTE_CERTIFICATE_{message}" for message in Message})
"""Message -> SFIDDSN."""

MAX_OCTETS: Final = 64 * 1024
"""The largest file that is taken for a certificate (acx.md 4.1)."""

_MESSAGES: Final = MappingProxyType({dataset: message for message, dataset in DATASETS.items()})


def message_of(dataset: str) -> Message | None:
    """The message a file of this name carries, whatever its case and padding; None for an ordinary file."""
    return _MESSAGES.get(dataset.strip().upper())
