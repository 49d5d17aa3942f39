from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oftp2d.appending import ALIGNED, BLOCK, DIRECT, Appending


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def content(handle: int) -> bytes:
    return os.pread(handle, os.fstat(handle).st_size, 0)


SIZES = {
    "nothing": [0],
    "small": [10, 20],
    "up to direct writes": [DIRECT],
    "one octet beyond": [DIRECT, 1],
    "a whole block beyond": [DIRECT + BLOCK],
    "blocks and a tail in pieces of odd sizes": [DIRECT - 5, 7, BLOCK + 1, 2 * BLOCK - 1, 4095, 300_001],
    "one large piece": [DIRECT + 3 * BLOCK + 17],
}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_what_was_written_is_there(handle: int, sizes: list[int], *, cached: bool) -> None:
    pieces = [os.urandom(size) for size in sizes]
    appending = Appending(handle, cached=cached)
    for piece in pieces:
        appending.write(piece)
    appending.flush()
    assert content(handle) == b"".join(pieces)


@pytest.mark.parametrize("begin", [0, 1, ALIGNED, DIRECT, DIRECT + 1, DIRECT + ALIGNED - 1, DIRECT + 3 * ALIGNED])
def test_a_file_goes_on_where_it_was_cut(handle: int, begin: int) -> None:
    first, second = os.urandom(begin), os.urandom(DIRECT + BLOCK + 1)
    os.write(handle, first)
    appending = Appending(handle)
    appending.start(begin)
    appending.write(second)
    appending.flush()
    assert content(handle) == first + second


def test_writing_goes_on_behind_a_flush(handle: int) -> None:
    pieces = [os.urandom(DIRECT + 10), os.urandom(5), os.urandom(BLOCK + 3)]
    appending = Appending(handle)
    for piece in pieces:
        appending.write(piece)
        appending.flush()
    assert content(handle) == b"".join(pieces)


def test_a_file_system_without_direct_writes_is_written_the_ordinary_way(
    handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_handle: int, *, wanted: bool) -> None:
        raise OSError(errno.EINVAL, f"no O_DIRECT={wanted} here")

    monkeypatch.setattr("oftp2d.appending._set_direct", refuse)
    octets = os.urandom(DIRECT + BLOCK + 9)
    appending = Appending(handle)
    appending.write(octets)
    appending.write(octets)
    appending.flush()
    assert content(handle) == octets + octets
