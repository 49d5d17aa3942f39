"""Command <-> Exchange Buffer (RFC 5024 section 5.3).

The level is the one that both sides have agreed upon. SSID itself comes before that: it is laid out by the level it names.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import fields
from typing import Final

from construct import StreamError

from oftp2.commands import Aurp, Command, Data, Ssid
from oftp2.errors import BufferSizeError, LocalProtocolError, UnknownCommandError
from oftp2.layouts import COMMAND_OCTETS, LAYOUTS
from oftp2.values import MAX_BUFFER_SIZE, Level

CHALLENGE_SIZE: Final = 20
"""Octets of a challenge and of its response (RFC 5024 sections 5.3.17 and 5.3.18)."""

_OCTET_OF: Final[Mapping[type[Command], bytes]] = {
    command: octet.to_bytes(1, "big") for octet, command in COMMAND_OCTETS.items()
}
_FIELDS: Final[Mapping[type[Command], tuple[str, ...]]] = {
    command: tuple(field.name for field in fields(command)) for command in COMMAND_OCTETS.values()
}


def encode(command: Command, level: Level = Level.REVISION_2_0) -> bytes:
    """The Exchange Buffer of ``command``. Raises ``LocalProtocolError`` for what cannot be said at this level."""
    kind = type(command)
    if isinstance(command, Data):
        return _OCTET_OF[kind] + bytes(command.payload)
    if isinstance(command, Aurp) and len(command.response) != CHALLENGE_SIZE:
        raise LocalProtocolError(f"AURPRSP takes {CHALLENGE_SIZE} octets, not {len(command.response)}")
    if isinstance(command, Ssid):
        level = Level.up_to(command.level)
    layout = LAYOUTS[level].get(kind)
    if layout is None:
        raise LocalProtocolError(f"there is no {kind.__name__.upper()} at release level {level}")
    values = {name: getattr(command, name) for name in _FIELDS[kind]}
    buffer = _OCTET_OF[kind] + bytes(layout.build(values))
    if len(buffer) > MAX_BUFFER_SIZE:
        raise LocalProtocolError(f"{kind.__name__.upper()} takes up to {MAX_BUFFER_SIZE} octets, not {len(buffer)}")
    return buffer


def decode(buffer: bytes, level: Level = Level.REVISION_2_0) -> Command:
    """The command in an Exchange Buffer of one octet or more.

    Raises ``UnknownCommandError`` for a first octet that means nothing at this level, ``BufferSizeError`` when the buffer is
    longer or shorter than its command, ``InvalidDataError`` (of ``oftp2.errors``) when a field breaks its format.
    """
    kind = COMMAND_OCTETS.get(buffer[0])
    if kind is None:
        raise UnknownCommandError(f"no command begins with {buffer[:1]!r}")
    if kind is Data:
        return Data(payload=memoryview(buffer)[1:])
    if kind is Ssid and buffer[1:2].isdigit():
        level = Level.up_to(int(buffer[1:2]))
    layout = LAYOUTS[level].get(kind)
    if layout is None:
        raise UnknownCommandError(f"there is no {kind.__name__.upper()} at release level {level}")
    stream = io.BytesIO(buffer)
    stream.seek(1)
    try:
        read = layout.parse_stream(stream)
    except StreamError:
        raise BufferSizeError(f"{kind.__name__.upper()} is too short with {len(buffer)} octets") from None
    if stream.tell() != len(buffer):
        raise BufferSizeError(f"{kind.__name__.upper()} has {len(buffer) - stream.tell()} octets too many")
    return kind(**{name: read[name] for name in _FIELDS[kind]})
