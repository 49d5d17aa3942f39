"""Local files and the stored form of Virtual Files: what an administrator has in a folder, and what travels.

U travels as it is. An F file is its records one after the other. A V file is its records too, each led by its length in two
octets, big-endian (RFC 5024 section 6.5). Text (T) has CR-LF behind its lines when it travels, in the partner's character
set; here it is UTF-8 with the line ends that were set for the partner. What cannot be turned back into the very same octets
is refused when it is sent. Everything is done piece by piece, in constant memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from oftp2.records import LINE_END, LONGEST_VARIABLE, FixedReader, RecordError, VariableReader
from oftp2.values import FileFormat
from oftp2d.charsets import UTF_8, Charset, Decoder, named
from oftp2d.errors import OperatorError
from oftp2d.ledger import LineEnds, Partner
from oftp2d.spool import Spool, Staged, pieces_of

PIECE: Final = 1 << 18
"""Octets of a file that are worked on at once."""

LONGEST_FIXED: Final = 99_999
"""The longest record that SFIDLRECL can say, in octets."""

_LONE_LINE_FEED: Final = re.compile("(?<!\r)\n")


class LocalFileError(OperatorError):
    """The content is not what its format says, or does not fit the partner's character set or line ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a file is to travel; ``record_length`` in octets: of each record (F), at most (V), 0 for none or not said."""

    format: FileFormat
    record_length: int = 0

    def __post_init__(self) -> None:
        """Raise ``LocalFileError`` for a record length that does not go with the format."""
        most = {FileFormat.FIXED: LONGEST_FIXED, FileFormat.VARIABLE: LONGEST_VARIABLE}.get(self.format, 0)
        if not most and self.record_length:
            raise LocalFileError(
                f"format {self.format} has no records", "leave the record length out, or send it as F or V"
            )
        if self.format is FileFormat.FIXED and not self.record_length:
            raise LocalFileError("format F needs a record length", "say how many octets each record has")
        if not 0 <= self.record_length <= most:
            raise LocalFileError(
                f"a record of {self.record_length} octets can't travel in format {self.format}", f"use at most {most}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A file in the spool as it is to travel, and what SFID and EFID say of it."""

    staged: Staged
    octets: int
    """Octets of the Virtual File: those of V without the lengths."""
    records: int
    record_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """How a partner's text differs from ours; without a character set the octets stay what they are."""

    charset: Charset | None
    line_ends: LineEnds

    @classmethod
    def of(cls, partner: Partner) -> Text:
        """As it was set for the partner."""
        charset = named(partner.text_charset) if partner.text_charset else None
        return cls(charset=charset, line_ends=partner.text_line_ends)

    @property
    def same(self) -> bool:
        """Whether there is no difference."""
        return self.charset is None and self.line_ends is LineEnds.AS_IS

    @property
    def line_end(self) -> bytes:
        """CR-LF as the partner writes it."""
        return LINE_END if self.charset is None else self.charset.encode("\r\n")

    @property
    def ours(self) -> Charset:
        """The character set on our side. Latin 1 takes any octet for a character."""
        return named("latin-1" if self.charset is None else UTF_8)

    @property
    def theirs(self) -> Charset:
        """The character set on the partner's side."""
        return self.charset or named("latin-1")


# --- out -----------------------------------------------------------------------------------------------------------


def stage(spool: Spool, source: BinaryIO, form: Form, text: Text) -> Outgoing:
    """Put a local file into the spool as it is to travel. Raises LocalFileError and SpoolError, and leaves nothing then.

    Blocks; to be called in a disk worker.
    """
    count = _Count(form)
    pieces: Iterable[bytes] = pieces_of(source, PIECE)
    if form.format is FileFormat.TEXT and not text.same:
        pieces = _outgoing_text(pieces, text)
    staged = spool.stage_pieces(count.of(pieces))
    return Outgoing(staged=staged, octets=count.octets, records=count.records, record_length=count.record_length)


class _Count:
    """Counts records on the way, and makes sure that they are whole."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self.octets = 0
        self.records = 0
        self.record_length = form.record_length

    def of(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces."""
        try:
            match self._form.format:
                case FileFormat.FIXED:
                    yield from self._through(FixedReader(self._form.record_length), pieces)
                case FileFormat.VARIABLE:
                    reader = VariableReader(self._form.record_length or LONGEST_VARIABLE)
                    yield from self._through(reader, pieces)
                    self.record_length = self._form.record_length or reader.longest
                case _:
                    for piece in pieces:
                        self.octets += len(piece)
                        yield piece
        except RecordError as error:
            raise LocalFileError(f"this is no file of format {self._form.format}: {error}", self._advice()) from None

    def _through(self, reader: FixedReader | VariableReader, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.octets += len(reader.take(piece).octets)
            yield piece
        reader.finish()
        self.records = reader.records

    def _advice(self) -> str:
        if self._form.format is FileFormat.FIXED:
            return (
                f"make its size a multiple of {self._form.record_length} octets, give the record length it has,"
                " or send it as format U"
            )
        return "each record must be led by its length in two octets, the higher one first; or send it as format U"


def _outgoing_text(pieces: Iterable[bytes], text: Text) -> Iterator[bytes]:
    """The lines as they travel."""
    ours, theirs = text.ours, text.theirs
    decoder = ours.decoder()
    line, before = 1, ""
    for octets, final in _to_the_end(pieces):
        letters = _decoded(decoder, octets, ours, line, final=final)
        _check_line_ends(before + letters, text.line_ends, line)
        yield _encoded(letters.replace("\n", "\r\n") if text.line_ends is LineEnds.LF else letters, theirs, line)
        line += letters.count("\n")
        before = "\r" if letters.endswith("\r") else ""


def _check_line_ends(letters: str, line_ends: LineEnds, line: int) -> None:
    """Refuse line ends that would come back as others."""
    if line_ends is LineEnds.LF:
        at, told, other = letters.find("\r\n"), "with CR-LF", LineEnds.CRLF
    elif line_ends is LineEnds.CRLF:
        lone = _LONE_LINE_FEED.search(letters)
        at, told, other = lone.start() if lone else -1, "with LF alone", LineEnds.LF
    else:
        return
    if at >= 0:
        raise LocalFileError(
            f"line {line + letters.count(chr(10), 0, at)} ends {told}, but the partner's text is set to {line_ends} here",
            f"correct the file, or set --text-line-ends {other} or {LineEnds.AS_IS} with 'oftp2d partner change'",
        )


# --- in ------------------------------------------------------------------------------------------------------------


def ready_text(spool: Spool, source: str, name: str, text: Text) -> Staged:
    """Make a received text ready for the inbox, as it is to be here. Raises LocalFileError and SpoolError; the source stays."""
    return spool.make_ready_as(source, name, lambda file: _incoming_text(pieces_of(file, PIECE), text))


def _incoming_text(pieces: Iterable[bytes], text: Text) -> Iterator[bytes]:
    """The lines as they are to be here."""
    ours, theirs = text.ours, text.theirs
    decoder = theirs.decoder()
    line, held = 1, ""
    for octets, final in _to_the_end(pieces):
        letters = held + _decoded(decoder, octets, theirs, line, final=final)
        held = ""
        if text.line_ends is LineEnds.LF:
            if letters.endswith("\r") and not final:
                letters, held = letters[:-1], "\r"
            letters = letters.replace("\r\n", "\n")
        yield ours.encode(letters)
        line += letters.count("\n")


# --- pieces --------------------------------------------------------------------------------------------------------


def _to_the_end(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each piece, and an empty last one that says so."""
    for piece in pieces:
        yield piece, False
    yield b"", True


def _decoded(decoder: Decoder, octets: bytes, charset: Charset, line: int, *, final: bool) -> str:
    try:
        return decoder.decode(octets, final)
    except UnicodeDecodeError as error:
        line += error.object.count(charset.encode("\n"), 0, error.start)
        raise LocalFileError(
            f"line {line} holds the octet {error.object[error.start]:02X}, which is no text in {charset.name}",
            "correct the file, or the character set with 'oftp2d partner change --text-charset'",
        ) from None


def _encoded(letters: str, charset: Charset, line: int) -> bytes:
    try:
        return charset.encode(letters)
    except UnicodeEncodeError as error:
        letter = letters[error.start]
        raise LocalFileError(
            f"line {line + letters.count(chr(10), 0, error.start)} holds {letter!r} (U+{ord(letter):04X}),"
            f" which the partner's character set {charset.name} does not have",
            "replace it, or set another character set with 'oftp2d partner change --text-charset'",
        ) from None
