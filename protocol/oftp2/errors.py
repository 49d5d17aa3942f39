"""The two error roots of the protocol library: our mistake, and theirs.

``LocalProtocolError``: the application asked for what the state does not allow, or for what cannot be written on the
wire. It is raised, and nothing has changed. ``RemoteProtocolError``: the peer did what RFC 5024 does not allow. It
carries the reason that ESID tells the peer, and the session turns it into an event: it never reaches the application
as an exception.
"""

from __future__ import annotations

from typing import ClassVar

from oftp2.reasons import EndSessionReason


class LocalProtocolError(Exception):
    """The application's mistake: refused, and nothing has changed."""


class RemoteProtocolError(Exception):
    """The peer's mistake; ``reason`` is what ESID answers (RFC 5024 section 5.3.11)."""

    reason: ClassVar[EndSessionReason] = EndSessionReason.PROTOCOL_VIOLATION


class UnknownCommandError(RemoteProtocolError):
    """The first octet of an Exchange Buffer is no command code, or the stream header is of no known version."""

    reason = EndSessionReason.COMMAND_NOT_RECOGNISED


class InvalidDataError(RemoteProtocolError):
    """A field of a command holds what its format does not allow."""

    reason = EndSessionReason.INVALID_DATA


class BufferSizeError(RemoteProtocolError):
    """An Exchange Buffer is longer or shorter than its command allows."""

    reason = EndSessionReason.BUFFER_SIZE_ERROR
