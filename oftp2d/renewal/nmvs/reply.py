"""What a server answered, before anybody has read it: kept as it came, with as much of its head as reading it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LONGEST_LINE: Final = 1_000


class NoReplyError(Exception):
    """Octets that are no kept answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP response, complete."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = ""
    retry_after: str = ""

    def kept(self) -> bytes:
        """As octets, in the form of HTTP/1.1 (RFC 9112)."""
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: {_line(self.content_type)}\r\nRetry-After: {_line(self.retry_after)}\r\n"
        return head.encode() + b"\r\n" + self.body

    @classmethod
    def of(cls, octets: bytes) -> Reply:
        """The inverse of :meth:`kept`. Raises NoReplyError."""
        head, found, body = octets.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        try:
            status = int(lines[0].removeprefix("HTTP/1.1 "))
            content_type = lines[1].removeprefix("Content-Type: ")
            retry_after = lines[2].removeprefix("Retry-After: ")
        except (ValueError, IndexError):
            raise NoReplyError from None
        if not found:
            raise NoReplyError
        return cls(status=status, body=body, content_type=content_type, retry_after=retry_after)


def _line(text: str) -> str:
    return "".join(letter for letter in text[:LONGEST_LINE] if letter.isprintable())
