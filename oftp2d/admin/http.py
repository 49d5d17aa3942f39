"""The parts of Twisted's HTTP request that are used here, with their types; Twisted gives it none."""

# ruff: noqa: N802 - the names are Twisted's

from __future__ import annotations

from typing import IO, Protocol


class HttpRequest(Protocol):
    """A request and its answer."""

    @property
    def content(self) -> IO[bytes] | None:
        """The body."""

    @property
    def args(self) -> dict[bytes, list[bytes]] | None:
        """The query string."""

    def setResponseCode(self, code: int) -> None:
        """Set the status."""

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a header."""

    def write(self, data: bytes) -> None:
        """Write a part of the answer."""

    def registerProducer(self, producer: object, streaming: bool) -> None:  # noqa: FBT001 - Twisted's own
        """Name who writes, so that it can be paused."""

    def unregisterProducer(self) -> None:
        """All is written."""

    def loseConnection(self) -> None:
        """End the connection."""
