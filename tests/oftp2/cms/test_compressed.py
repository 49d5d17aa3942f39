"""Compressed files: made for others, made by others with zlib and asn1crypto, damaged, and made to burst."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from asn1crypto import cms
from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms.compressed import PART, Compressing, Decompressing
from oftp2.cms.errors import CmsError, DecompressionError, PackageError
from oftp2.cms.limits import Limits
from oftp2.cms.stage import chain
from tests.oftp2.cms.layers import LENGTHS, compressed_data, cut, loosened, run

CONTENT = b"EDIFACT, with much that is said again, said again and said again. " * 20
OURS = run(Compressing(), CONTENT)


def decompressed(source: bytes, **limits: int) -> bytes:
    return run(Decompressing(Limits(**limits)), source)


@pytest.mark.rfc("6.4")
def test_others_read_what_we_compress() -> None:
    info = cms.ContentInfo.load(OURS)
    assert info["content_type"].native == "compressed_data"
    compressed = info["content"]
    assert compressed["version"].native == "v0"
    assert compressed["compression_algorithm"]["algorithm"].native == "zlib"
    encapsulated = compressed["encap_content_info"]
    assert encapsulated["content_type"].native == "data"
    assert zlib.decompress(encapsulated["content"].native) == CONTENT
    assert len(OURS) < len(CONTENT) / 4


@pytest.mark.rfc("6.4")
@pytest.mark.parametrize("encode", [bytes, loosened], ids=["DER", "BER"])
def test_we_read_what_others_compress(encode: type[bytes]) -> None:
    assert decompressed(encode(compressed_data(CONTENT))) == CONTENT
    null = cms.CompressionAlgorithm({"algorithm": "zlib"}).dump()
    with_null = b"\x30" + bytes((null[1] + 2,)) + null[2:] + b"\x05\x00"
    tolerated = compressed_data(CONTENT, compression_algorithm=cms.CompressionAlgorithm.load(with_null))
    assert b"\x05\x00" in tolerated
    assert decompressed(encode(tolerated)) == CONTENT


@given(st.binary(max_size=3000), LENGTHS, LENGTHS)
def test_any_octets_in_any_pieces_come_back(content: bytes, one: list[int], other: list[int]) -> None:
    compressed = run(Compressing(), cut(content, one))
    assert run(Decompressing(Limits()), cut(compressed, other)) == content


def test_without_a_chain_it_is_a_stage_like_others() -> None:
    stage = Decompressing(Limits())
    assert stage.update(OURS) + stage.finish() == CONTENT


def test_an_empty_file_is_compressed_too() -> None:
    assert decompressed(run(Compressing(), b"")) == b""


def test_much_is_written_in_segments_and_read_in_parts() -> None:
    source = (bytes((turn % 251,)) * 999_999 for turn in range(40))
    parts = list(chain([Compressing(), Decompressing(Limits())], source))
    assert max(len(part) for part in parts) <= PART
    assert sum(len(part) for part in parts) == 40 * 999_999


@given(st.integers(0, len(OURS) * 8 - 1))
def test_a_flipped_bit_is_refused_or_changes_nothing(bit: int) -> None:
    changed = bytearray(OURS)
    changed[bit // 8] ^= 1 << bit % 8
    with suppress(CmsError):
        assert decompressed(bytes(changed)) == CONTENT


@given(st.integers(0, len(OURS) - 1))
def test_a_file_that_breaks_off_is_refused(length: int) -> None:
    with pytest.raises(DecompressionError):
        decompressed(OURS[:length])


@given(st.binary(max_size=300))
def test_noise_raises_nothing_but_errors_of_cms(octets: bytes) -> None:
    with pytest.raises(CmsError):
        decompressed(octets)


def dictionary() -> bytes:
    compressor = zlib.compressobj(zdict=b"said again")
    return compressor.compress(CONTENT) + compressor.flush()


STREAM = zlib.compress(CONTENT)


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (STREAM[:-1], "break off"),
        (STREAM[:-20], "break off"),
        (STREAM[:-1] + bytes((STREAM[-1] ^ 1,)), "damaged"),
        (STREAM + b"x", "follow the end"),
        (STREAM + STREAM, "follow the end"),
        (dictionary(), "damaged"),
        (b"\x1f\x8b" + STREAM, "damaged"),
        (b"not zlib at all", "damaged"),
    ],
    ids=["short", "shorter", "checksum", "one more", "twice", "dictionary", "gzip", "noise"],
)
def test_a_stream_that_is_not_exactly_one_of_zlib_is_refused(stream: bytes, text: str) -> None:
    for encode in (bytes, loosened):
        with pytest.raises(DecompressionError, match=text):
            decompressed(encode(compressed_data(b"", stream=stream)))


def test_octets_behind_the_stream_are_refused_also_when_they_come_later() -> None:
    octets = compressed_data(b"", stream=STREAM + b"later")
    with pytest.raises(DecompressionError, match="follow the end"):
        run(Decompressing(Limits()), cut(octets, [len(octets) - 2]))


def test_octets_behind_the_layer_are_refused() -> None:
    with pytest.raises(PackageError, match="octets follow"):
        decompressed(compressed_data(CONTENT) + b"\x00")


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (cms.ContentInfo({"content_type": "data", "content": CONTENT}).dump(), "not compressed data"),
        (compressed_data(CONTENT, version="v1"), "version"),
        (compressed_data(CONTENT, compression_algorithm={"algorithm": "1.2.3"}), "another way"),
        (compressed_data(CONTENT, encap_content_info={"content_type": "data"}), "cannot be read"),
        (b"\x30\x80" * 40, "cannot be read"),
    ],
    ids=["data", "version", "algorithm", "no content", "nesting"],
)
def test_another_structure_is_refused(octets: bytes, text: str) -> None:
    with pytest.raises(DecompressionError, match=text):
        decompressed(octets)


def bomb(mebibytes: int) -> Iterator[bytes]:
    """So many mebibytes of zeros, compressed as well as it goes."""
    compressor = zlib.compressobj(9)
    for _ in range(mebibytes):
        yield compressor.compress(bytes(1 << 20))
    yield compressor.flush()


def test_a_file_made_to_burst_costs_no_more_than_the_limit() -> None:
    stream = b"".join(bomb(256))
    parts = chain([Decompressing(Limits(floor=4 << 20, ratio=20))], [compressed_data(b"", stream=stream)])
    taken: list[bytes] = []
    with pytest.raises(DecompressionError, match="expands more than allowed"):
        taken.extend(parts)
    assert max(len(part) for part in taken) <= PART
    assert sum(len(part) for part in taken) <= len(stream) * 20 + 1000


def test_a_file_may_begin_with_what_compresses_best_where_its_length_is_known() -> None:
    compressor = zlib.compressobj()
    stream = compressor.compress(bytes(1 << 20)) + compressor.compress(os.urandom(1 << 17)) + compressor.flush()
    octets = compressed_data(b"", stream=stream)
    limits = Limits(floor=1 << 16, ratio=10)
    content = run(Decompressing(limits, source=len(octets)), cut(octets, [1000]))
    assert len(content) == (1 << 20) + (1 << 17)
    with pytest.raises(DecompressionError, match="expands more than allowed"):
        run(Decompressing(limits), cut(octets, [1000]))


def test_content_may_be_as_long_as_the_limit_and_no_longer() -> None:
    assert decompressed(OURS, octets=len(CONTENT)) == CONTENT
    with pytest.raises(DecompressionError, match="larger than allowed"):
        decompressed(OURS, octets=len(CONTENT) - 1)


def test_zeros_up_to_the_floor_come_through() -> None:
    assert decompressed(compressed_data(bytes(1 << 20)), floor=1 << 20) == bytes(1 << 20)
