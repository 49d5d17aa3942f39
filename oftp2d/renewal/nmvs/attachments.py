"""Messages of several parts (MTOM: RFC 2387 multipart/related), taken apart: the message itself, and what is attached to it.

Only as much of MIME is known as such messages use: parts one behind the other, never within each other, as octets or in base64.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from email.message import Message as Headers
from itertools import islice, pairwise
from typing import Final

MOST_PARTS: Final = 10
_LONGEST_HEAD: Final = 4_096


class PartsError(Exception):
    """A message cannot be taken apart."""


def is_of_parts(content_type: str) -> bool:
    """Whether a media type is one of several parts."""
    return content_type.strip().lower().startswith("multipart/")


def taken_apart(content_type: str, body: bytes) -> tuple[bytes, Mapping[str, bytes]]:
    """The message, and all parts by their Content-ID. Raises PartsError."""
    boundary = _parameter(content_type, "boundary")
    if not re.fullmatch(r"[ -~]{1,70}", boundary):
        raise PartsError
    # Each part begins behind a line with the boundary; the line break before that line belongs to the boundary.
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    cuts = list(islice(line.finditer(body), MOST_PARTS + 2))
    if len(cuts) < 2 or len(cuts) > MOST_PARTS + 1 or not cuts[-1][1]:
        raise PartsError
    parts = [_part(body[begin.end() : end.start()]) for begin, end in pairwise(cuts)]
    start = _parameter(content_type, "start").strip("<> ")
    root = next((content for name, content in parts if start and name == start), parts[0][1])
    return root, dict(parts)


def _part(octets: bytes) -> tuple[str, bytes]:
    """The Content-ID of a part, and its content."""
    head, _, content = octets.lstrip(b"\r\n").partition(b"\r\n\r\n" if b"\r\n\r\n" in octets else b"\n\n")
    if len(head) > _LONGEST_HEAD:
        raise PartsError
    fields = dict(_field(line) for line in head.decode("latin-1").splitlines() if ":" in line)
    name = fields.get("content-id", "").strip("<> ")
    if fields.get("content-transfer-encoding", "").lower() != "base64":
        return name, content
    try:
        return name, b64decode(re.sub(rb"\s", b"", content), validate=True)
    except (Base64Error, ValueError):
        raise PartsError from None


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip().lower(), value.strip()


def _parameter(content_type: str, name: str) -> str:
    headers = Headers()
    headers["Content-Type"] = "".join(letter for letter in content_type if " " <= letter <= "~")
    found = headers.get_param(name)
    return found if isinstance(found, str) else ""
