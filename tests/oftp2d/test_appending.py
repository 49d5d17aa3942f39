from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oftp2d.appending import ALIGNED, BLOCK, DIRECT, Appending


@pytest.fixture
def handle() -> Iterator[int]:
    # On a disk, which other files of tests need not be: one in memory takes writes of any alignment, or no direct ones.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        number = os.open(Path(folder, "file"), os.O_RDWR | os.O_CREAT)
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


def test_what_comes_before_direct_writes_is_on_disk_before_the_first_of_them(
    handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    real_write, real_sync = os.write, os.fdatasync

    def write(number: int, octets: memoryview) -> int:
        steps.append(("direct" if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_DIRECT else "ordinary", len(octets)))
        return real_write(number, octets)

    def sync(number: int) -> None:
        steps.append(("sync", os.fstat(number).st_size))
        real_sync(number)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fdatasync", sync)
    appending = Appending(handle)
    appending.write(bytes(DIRECT))
    assert steps == [("ordinary", DIRECT)], "a file that ends here is not made to wait"
    appending.write(bytes(BLOCK + 5))
    appending.flush()
    front = [("ordinary", DIRECT), ("ordinary", 0)]
    assert [step for step in steps if step not in front] == [("sync", DIRECT), ("direct", BLOCK), ("ordinary", 5)]


def test_a_file_that_goes_on_is_on_disk_before_its_next_direct_write(
    handle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda number: synced.append(os.fstat(number).st_size))
    os.write(handle, bytes(DIRECT + 1))
    appending = Appending(handle)
    appending.start(DIRECT + 1)
    appending.write(bytes(BLOCK))
    appending.flush()
    assert synced == [DIRECT + ALIGNED]


def test_a_front_that_cannot_be_brought_to_disk_is_told(handle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", fail)
    appending = Appending(handle)
    with pytest.raises(OSError, match="Input/output error"):
        appending.write(bytes(DIRECT + BLOCK))
    appending.flush()
    assert len(content(handle)) == DIRECT


@pytest.mark.parametrize("tail", [False, True], ids=["a block", "the tail"])
def test_a_write_that_fails_half_way_leaves_a_file_that_can_be_closed(
    handle: int, monkeypatch: pytest.MonkeyPatch, *, tail: bool
) -> None:
    """The error that is still being told holds on to whatever the write had in hand."""
    real = os.write
    appending = Appending(handle)
    appending.write(bytes(DIRECT))
    appending.write(b"x" * 10_000 if tail else b"")
    left = [ALIGNED]

    def fill(number: int, octets: memoryview) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(number, octets[: left.pop()])

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space left") as told:
        appending.flush() if tail else appending.write(b"x" * BLOCK)
    appending.flush()
    assert content(handle) == bytes(DIRECT) + b"x" * ALIGNED
    assert told.value.__traceback__ is not None
