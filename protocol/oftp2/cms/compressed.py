"""CompressedData as it streams by (RFC 3274, RFC 5024 section 6.4), with zlib by isal.

Written is BER with indefinite lengths: how long compressed octets get is known only behind them. What is read may be
encoded in any way. Octets that expand beyond the limits are refused while they come, and are never held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

from isal import isal_zlib

from oftp2.cms import ber, oids
from oftp2.cms.errors import DecompressionError, PackageError
from oftp2.cms.limits import Limits

LEVEL: Final = 2
"""Of isal's levels 0 to 3 the one that is fast and still compresses well."""

PART: Final = 1 << 19
"""The most octets that come out of decompressing at once."""

_FAULT = cast("type[Exception]", isal_zlib.IsalError)
_ZLIB_HEADER: Final = ber.element(ber.SEQUENCE, oids.ZLIB)
_VERSION: Final = b"\x02\x01\x00"
_MOST: Final = 64
"""Octets of a version or an algorithm at the most."""


class Compressing:
    """A stage that wraps what comes in a ContentInfo with CompressedData, whose content is of type id-data."""

    def __init__(self) -> None:
        self._zlib = isal_zlib.compressobj(LEVEL)
        self._content = ber.OctetString(None)
        self._begin = b"".join(
            (
                ber.header(ber.SEQUENCE, None) + oids.COMPRESSED_DATA,
                ber.header(oids.CONTENT, None),
                ber.header(ber.SEQUENCE, None) + _VERSION + _ZLIB_HEADER,
                ber.header(ber.SEQUENCE, None) + oids.DATA,
                ber.header(oids.CONTENT, None) + self._content.begin,
            )
        )

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        return self._began() + self._content.update(self._zlib.compress(octets))

    def finish(self) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says."""
        rest = self._content.update(self._zlib.flush()) + self._content.finish()
        return self._began() + rest + 5 * ber.END

    def _began(self) -> bytes:
        begin, self._begin = self._begin, b""
        return begin


class Decompressing:
    """A stage that takes the content out of a ContentInfo with CompressedData.

    Raises :class:`DecompressionError` for what is no such thing, is damaged, incomplete or expands beyond the limits, and
    :class:`PackageError` for octets behind its end.
    """

    def __init__(self, limits: Limits, *, source: int | None = None) -> None:
        """``source`` is the length of all that will come, where it is known.

        The ratio is then measured against it, and not against what has come so far: a file may begin with what
        compresses best.
        """
        self._limits = limits
        self._zlib = isal_zlib.decompressobj()
        self._compressed: list[bytes] = []
        self._octets = 0
        self._all = source
        self._source = 0
        self._parser = ber.Parser(self._decode, depth=limits.depth)

    def update(self, octets: bytes) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says; to be preferred are :meth:`parts`."""
        return b"".join(self.parts(octets))

    def parts(self, octets: bytes) -> Iterator[bytes]:
        """What comes out for a piece, in parts of at most ``PART`` octets."""
        try:
            self._parser.feed(octets)
        except ber.TrailingOctetsError as error:
            raise PackageError("octets follow the compressed data") from error
        except ber.BerError as error:
            raise DecompressionError(f"the compressed data cannot be read: {error}") from error
        compressed = b"".join(self._compressed)
        self._compressed.clear()
        if compressed:
            self._source += len(compressed)
            yield from self._inflate(compressed)

    def finish(self) -> bytes:
        """As :class:`oftp2.cms.stage.Stage` says. Nothing is left by then."""
        try:
            self._parser.finish()
        except ber.BerError as error:
            raise DecompressionError(f"the compressed data cannot be read: {error}") from error
        if not self._zlib.eof:
            raise DecompressionError("the compressed data break off")
        return b""

    def _inflate(self, compressed: bytes) -> Iterator[bytes]:
        full = True
        while full or compressed:
            if self._zlib.eof:
                raise DecompressionError("octets follow the end of what is compressed")
            try:
                part = self._zlib.decompress(compressed, PART)
            except _FAULT as error:
                raise DecompressionError("the compressed data are damaged") from error
            compressed = self._zlib.unconsumed_tail or self._zlib.unused_data
            full = len(part) == PART and not self._zlib.eof
            self._octets += len(part)
            if self._limits.expanded(self._octets, self._all or self._source):
                raise DecompressionError("the content is larger than allowed, or expands more than allowed")
            yield part

    def _decode(self, source: ber.Input) -> ber.Decoding[None]:
        yield from source.enter(ber.SEQUENCE)
        if (yield from source.element(most=_MOST)) != oids.COMPRESSED_DATA:
            raise DecompressionError(
                "the content is not compressed data of CMS, though the file was said to be compressed"
            )
        yield from source.enter(oids.CONTENT)
        yield from source.enter(ber.SEQUENCE)
        if (yield from source.element(most=_MOST)) != _VERSION:
            raise DecompressionError("the compressed data are of a version that does not exist")
        algorithm = yield from source.element(most=_MOST)
        if algorithm not in {_ZLIB_HEADER, ber.element(ber.SEQUENCE, oids.ZLIB, oids.NULL)}:
            raise DecompressionError("the content is compressed in another way than by zlib")
        yield from source.enter(ber.SEQUENCE)
        yield from source.element(most=_MOST)  # the type of what is inside, which shows by itself
        yield from source.enter(oids.CONTENT)
        yield from source.octet_string(ber.OCTET_STRING, self._compressed.append)
        for _ in range(5):
            yield from source.leave()
