"""ASN.1 in the Basic Encoding Rules as it streams by (X.690), read and written.

What is read may be DER or BER, with indefinite lengths and constructed, even nested octet strings, and is pushed in
pieces that end anywhere. A decoder is a generator: it takes elements from an :class:`Input` by ``yield from``, which
waits where octets are missing, and a :class:`Parser` drives it. Held are a piece, and one element up to the bound
that its reader gives. Which structures there are is known to the layers alone.

Tags are identifier octets, such as 0x30 for a SEQUENCE. Tag numbers above 30 do not occur in CMS and are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final, TypeVar

OBJECT_IDENTIFIER: Final = 0x06
OCTET_STRING: Final = 0x04
INTEGER: Final = 0x02
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONSTRUCTED: Final = 0x20
"""The bit of an identifier octet that says that the content consists of elements."""

END: Final = b"\x00\x00"
"""End-of-contents, behind the content of an element of indefinite length."""

DEPTH: Final = 32
"""Elements inside each other. A file takes about 10; a time stamp among the attributes of a signature up to 25."""

SEGMENT: Final = 65_536
"""The least octets of a segment when an octet string is written without knowing its length; the last may be shorter."""

# How many headers a segmented octet string may have in any case, and beyond that how many octets to each on average.
_FREE_HEADERS: Final = 65_536
_LEAST_SEGMENT: Final = 128
_LONGEST_HEADER: Final = 10
_LENGTH_OCTETS: Final = 8
_LONGEST_IDENTIFIER: Final = 128
"""Octets of an object identifier: those in use have about ten, and to read one takes time by the square of them."""
_INDEFINITE: Final = 0x80
_BIT_STRING: Final = 0x03
# Strings and times: these may come constructed, of segments.
_STRINGS: Final = frozenset({_BIT_STRING, OCTET_STRING, 0x0C, *range(0x12, 0x1D), 0x1E})

_T = TypeVar("_T")
Decoding = Generator[None, None, _T]
"""A decoder: yields where it needs more octets, returns what it read."""


class BerError(ValueError):
    """The octets are not what is asked for. The message is half a sentence that says what is wrong with them."""


class TrailingOctetsError(BerError):
    """Octets follow where everything has been read."""


class Input:
    """The octets that were pushed and not read yet, and the constructed elements that are open.

    All methods but :meth:`push` are for decoders, and raise :class:`BerError`.
    """

    def __init__(self, *, depth: int = DEPTH) -> None:
        self._depth = depth
        self._octets = b""
        self._at = 0
        self._before = 0
        # The elements that were entered: whether the length is indefinite, and the position where it ends at the latest.
        self._open: list[tuple[bool, int | None]] = []

    def push(self, octets: bytes) -> None:
        """Put a piece behind what is left: nothing or a part of a header."""
        self._before += self._at
        self._octets = self._octets[self._at :] + octets if self._at < len(self._octets) else octets
        self._at = 0

    @property
    def position(self) -> int:
        """How many octets have been read."""
        return self._before + self._at

    @property
    def left(self) -> int:
        """How many octets are waiting to be read."""
        return len(self._octets) - self._at

    def next_tag(self) -> Decoding[int | None]:
        """The tag of the element that follows, without reading it; None where the element that is open ends."""
        if self._open:
            indefinite, end = self._open[-1]
            if not indefinite and self.position == end:
                return None
        while self.left < len(END):
            yield
        if self._open and self._open[-1][0] and self._octets.startswith(END, self._at):
            return None
        return self._octets[self._at]

    def enter(self, tag: int) -> Decoding[int | None]:
        """Read the header of a constructed element, whose content follows. Its length, None for an indefinite one."""
        found, length = yield from self._header()
        if found != tag:
            raise BerError(f"an element {found:02X} stands where {tag:02X} belongs")
        self._enter(length)
        return length

    def leave(self) -> Decoding[None]:
        """Read the end of the element that was entered last; nothing may be left in it."""
        indefinite, end = self._open[-1]
        if indefinite:
            found, _ = yield from self._header()
            if found:
                raise BerError(f"an element {found:02X} stands where nothing more belongs")
        elif self.position != end:
            raise BerError("an element stands where nothing more belongs")
        self._open.pop()

    def element(self, *, most: int) -> Decoding[bytes]:
        """One whole element of up to ``most`` octets, for a parser of DER (see :func:`der`)."""
        raw = bytearray()
        unfinished = 0
        while True:
            before = self.position
            found, length = yield from self._header()
            raw += self._octets[self._at - (self.position - before) : self._at]
            if len(raw) + (length or 0) > most:
                raise BerError(f"an element has more than {most} octets")
            if length is None:
                unfinished += 1
                self._check_depth(unfinished)
            elif found:
                yield from self._take(length, raw.extend)
            elif unfinished:
                unfinished -= 1
            else:
                raise BerError("an end stands where an element belongs")
            if not unfinished:
                return der(bytes(raw), depth=self._depth - len(self._open))

    def octet_string(self, tag: int, hand_on: Callable[[bytes], object]) -> Decoding[int]:
        """Read an octet string that has ``tag`` when it is primitive; its content goes to ``hand_on`` in pieces.

        Whether it is primitive or constructed, of segments that may be constructed in turn, makes no difference, as long
        as it is not cut so small that reading it costs far more than its content. Returns the octets of its content.
        """
        outside = len(self._open)
        octets = headers = 0
        while True:
            found, length = yield from self._header()
            headers += 1
            if headers > _FREE_HEADERS + octets // _LEAST_SEGMENT:
                raise BerError("an octet string is cut into very many very small pieces")
            if found == tag and length is not None:
                yield from self._take(length, hand_on)
                octets += length
            elif found == tag | CONSTRUCTED:
                self._enter(length)
                tag = OCTET_STRING
            elif not found and len(self._open) > outside and self._open[-1][0]:
                self._open.pop()
            else:
                raise BerError(f"an element {found:02X} stands where a piece of an octet string belongs")
            while len(self._open) > outside and self._open[-1] == (False, self.position):
                self._open.pop()
            if len(self._open) == outside:
                return octets

    def _enter(self, length: int | None) -> None:
        self._check_depth(1)
        end = (self._open[-1][1] if self._open else None) if length is None else self.position + length
        self._open.append((length is None, end))

    def _check_depth(self, more: int) -> None:
        if len(self._open) + more > self._depth:
            raise BerError(f"more than {self._depth} elements stand inside each other")

    def _header(self) -> Decoding[tuple[int, int | None]]:
        """Tag and length of the element that follows; tag 0 is an end-of-contents."""
        end = self._open[-1][1] if self._open else None
        if end is not None and self.position >= end:
            raise BerError("an element is missing")
        while (read := read_header(self._octets, self._at)) is None:
            yield
        tag, length, self._at = read
        if end is not None and self.position + (length or 0) > end:
            raise BerError("an element is longer than the one around it")
        return tag, length

    def _take(self, length: int, hand_on: Callable[[bytes], object]) -> Decoding[None]:
        while length:
            while self._at == len(self._octets):
                yield
            piece = self._octets[self._at : self._at + length]  # a whole piece is not copied
            self._at += len(piece)
            length -= len(piece)
            hand_on(piece)


class Parser:
    """Drives a decoder with the octets that are pushed."""

    def __init__(self, decode: Callable[[Input], Decoding[None]], *, depth: int = DEPTH) -> None:
        self._input = Input(depth=depth)
        self._ended = False
        self._decoding = self._run(decode)

    def feed(self, octets: bytes) -> None:
        """Go on with a piece. Raises what the decoder raises, and :class:`TrailingOctetsError` behind its end."""
        self._input.push(octets)
        next(self._decoding, None)
        if self._ended and self._input.left:
            raise TrailingOctetsError("something follows its end")

    def finish(self) -> None:
        """Say that nothing follows. Raises :class:`BerError` where the decoder still waits for octets."""
        if not self._ended:
            raise BerError("it breaks off")

    def _run(self, decode: Callable[[Input], Decoding[None]]) -> Decoding[None]:
        yield from decode(self._input)
        self._ended = True


def der(octets: bytes, *, depth: int = DEPTH) -> bytes:
    """The same element with definite lengths and primitive strings; what is so already stays as it is, octet by octet.

    This is not all of DER: lengths that are written too long and the order of sets are kept, because a signature may
    stand over them; see :func:`distinguished`. A string whose tag is implicit cannot be told from other elements and
    is kept as well. Raises :class:`BerError`.
    """
    return _whole(octets, depth, again=False)


def distinguished(octets: bytes, *, depth: int = DEPTH) -> bytes:
    """As :func:`der`, with lengths that are as short as possible and the elements of each SET in the order of SET OF."""
    return _whole(octets, depth, again=True)


def header(tag: int, length: int | None) -> bytes:
    """The identifier and length octets of an element; None is the indefinite length, whose content ends with END."""
    if length is None:
        return bytes((tag, _INDEFINITE))
    if length < _INDEFINITE:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _INDEFINITE | len(octets))) + octets


def element(tag: int, *contents: bytes) -> bytes:
    """An element in DER."""
    content = b"".join(contents)
    return header(tag, len(content)) + content


class OctetString:
    """Writes an octet string as its content comes.

    With its length known it is primitive, as in DER. Without, it is constructed, of indefinite length and of segments
    of at least ``SEGMENT`` octets. ``tag`` is that of the primitive form.
    """

    def __init__(self, length: int | None, tag: int = OCTET_STRING) -> None:
        self.begin: Final = header(tag, length) if length is not None else header(tag | CONSTRUCTED, None)
        """What stands before the content."""
        self._due = length
        self._segment: list[bytes] = []
        self._held = 0

    def update(self, octets: bytes) -> bytes:
        """The octets to write for a piece of content. Raises ``ValueError`` for more than was said."""
        if self._due is not None:
            self._due -= len(octets)
            if self._due < 0:
                raise ValueError(f"the content has at least {-self._due} octets more than was said")
            return octets
        self._segment.append(octets)
        self._held += len(octets)
        return self._flush() if self._held >= SEGMENT else b""

    def finish(self) -> bytes:
        """The octets to write behind the last piece. Raises ``ValueError`` for less content than was said."""
        if self._due is None:
            return self._flush() + END
        if self._due:
            raise ValueError(f"the content has {self._due} octets less than was said")
        return b""

    def _flush(self) -> bytes:
        if not self._held:
            return b""
        segment = b"".join((header(OCTET_STRING, self._held), *self._segment))
        self._segment, self._held = [], 0
        return segment


def read_header(octets: bytes, at: int = 0) -> tuple[int, int | None, int] | None:
    """Tag and length of the element at a position, None for an indefinite one, and the position of its content.

    None while octets of the header are missing. Tag 0 is an end-of-contents. Raises :class:`BerError`.
    """
    if len(octets) - at < 2:
        return None
    tag, first = octets[at], octets[at + 1]
    at += 2
    if tag & 0x1F == 0x1F:
        raise BerError("a tag number is above 30")
    length: int | None = first
    if first == _INDEFINITE:
        if not tag & CONSTRUCTED:
            raise BerError("an element without inner ones has an indefinite length")
        length = None
    elif first > _INDEFINITE:
        size = first & ~_INDEFINITE
        if size > _LENGTH_OCTETS:
            raise BerError(f"a length is written in {size} octets")
        if len(octets) - at < size:
            return None
        length = int.from_bytes(octets[at : at + size], "big")
        at += size
    if not tag and length:
        raise BerError("an end of contents has a content")
    return tag, length, at


def _whole(octets: bytes, depth: int, *, again: bool) -> bytes:
    normal, end = _normal(octets, 0, len(octets), depth, again=again)
    if end != len(octets):
        raise TrailingOctetsError("something follows its end")
    return normal


def _normal(octets: bytes, at: int, limit: int, depth: int, *, again: bool) -> tuple[bytes, int]:
    """The element at a position as :func:`der` says, and the position behind it; ``again``: all is written anew."""
    tag, length, inside = _whole_header(octets, at, limit)
    if not tag:
        raise BerError("an end stands where an element belongs")
    if not tag & CONSTRUCTED:
        end = inside + (length or 0)
        if tag == OBJECT_IDENTIFIER and end - inside > _LONGEST_IDENTIFIER:
            raise BerError(f"an object identifier has more than {_LONGEST_IDENTIFIER} octets")
        return element(tag, octets[inside:end]) if again else octets[at:end], end
    if not depth:
        raise BerError("too many elements stand inside each other")
    ends = None if length is None else inside + length
    elements: list[bytes] = []
    end = inside
    while end != ends and not (ends is None and octets.startswith(END, end, limit)):
        inner, end = _normal(octets, end, ends or limit, depth - 1, again=again)
        elements.append(inner)
    if ends is None:
        end += len(END)
    if tag & ~CONSTRUCTED in _STRINGS:
        return _joined(tag & ~CONSTRUCTED, elements), end
    content = b"".join(sorted(elements) if again and tag == SET else elements)
    if not again and octets[inside:end] == content:
        return octets[at:end], end
    return element(tag, content), end


def _whole_header(octets: bytes, at: int, limit: int) -> tuple[int, int | None, int]:
    read = read_header(octets, at)
    if read is None:
        raise BerError("it breaks off")
    if read[2] + (read[1] or 0) > limit:
        raise BerError("an element is longer than the one around it")
    return read


def _joined(tag: int, segments: list[bytes]) -> bytes:
    """A primitive string of segments that are primitive already."""
    contents = []
    for segment in segments:
        found, _, inside = _whole_header(segment, 0, len(segment))
        if found != tag:
            raise BerError("a string has a segment of another kind")
        contents.append(segment[inside:])
    if tag == _BIT_STRING:
        if not contents or not all(contents) or any(content[0] for content in contents[:-1]):
            raise BerError("a bit string has segments that cannot be joined")
        return element(tag, contents[-1][:1], *(content[1:] for content in contents))
    return element(tag, *contents)
