"""Files of the spool through stages, each in a thread of its own: with stages that really work, and with those that fail."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from oftp2.cms.stage import Stage
from oftp2d.pipeline import PIECE, WAITING, AbandonedError, Hashing, Work, run
from oftp2d.spool import SpoolError
from tests.stations.house import noise

SIZES = [0, 1, PIECE, PIECE + 1, 9 * PIECE + 7]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name == "oftp2d-pipeline"]


class Deflating:
    def __init__(self) -> None:
        self._zlib = zlib.compressobj(1)

    def update(self, octets: bytes) -> bytes:
        return self._zlib.compress(octets)

    def finish(self) -> bytes:
        return self._zlib.flush()


class Watching:
    """Passes everything on, and does something at each piece or at the end."""

    def __init__(self, each: Callable[[], object] = int, end: Callable[[], object] = int) -> None:
        self._each = each
        self._end = end
        self.octets = 0

    def update(self, octets: bytes) -> bytes:
        self.octets += len(octets)
        self._each()
        return octets

    def finish(self) -> bytes:
        self._end()
        return b""


@pytest.fixture
def through(tmp_path: Path) -> Callable[..., bytes]:
    def through(content: bytes, *stages: Stage, **more: object) -> bytes:
        path = tmp_path / "source"
        path.write_bytes(content)
        out = bytearray()
        options: dict[str, object] = {"write": out.extend, "work": Work(), **more}
        with path.open("rb", buffering=0) as source:
            run(source, stages, **options)  # type: ignore[arg-type]  # as the test has it
        return bytes(out)

    return through


@pytest.mark.parametrize("octets", SIZES)
def test_octets_pass_all_stages_in_their_order_whatever_the_size(through: Callable[..., bytes], octets: int) -> None:
    content = noise(octets, octets)
    plain, packed = hashlib.sha256(), hashlib.sha512()
    work = Work()
    out = through(content, Hashing(plain), Deflating(), Hashing(packed), work=work)
    assert zlib.decompress(out) == content
    assert plain.digest() == hashlib.sha256(content).digest()
    assert packed.digest() == hashlib.sha512(out).digest()
    assert work.octets == octets


def test_each_stage_runs_in_a_thread_of_its_own_and_a_small_file_in_one(through: Callable[..., bytes]) -> None:
    seen: list[set[threading.Thread]] = [set(), set(), set()]

    def here(stage: int) -> Callable[[], None]:
        return lambda: seen[stage].add(threading.current_thread())

    three = [Watching(here(stage)) for stage in range(3)]
    through(noise(2 * PIECE), *three)
    assert [len(threads) for threads in seen] == [1, 1, 1]
    assert len(set.union(*seen) | {threading.current_thread()}) == 4
    seen = [set(), set(), set()]
    through(noise(PIECE), *three)
    assert set.union(*seen) == {threading.current_thread()}


def test_no_more_pieces_are_read_than_may_wait_while_nothing_is_written(through: Callable[..., bytes]) -> None:
    first = Watching()
    reached = threading.Event()
    most = (2 * WAITING + 5) * PIECE

    def enough() -> None:
        if first.octets >= (2 * WAITING + 1) * PIECE:
            reached.set()

    first._each = enough
    held: list[int] = []

    def write(_: bytes) -> None:
        if not held:
            assert reached.wait(10)
            held.append(first.octets)

    through(noise(3 * most), first, Watching(), write=write)
    assert held[0] <= most
    assert first.octets == 3 * most


@pytest.mark.parametrize("octets", [5, 40 * PIECE])
@pytest.mark.parametrize("where", ["0", "1", "2", "0 at the end", "1 at the end", "2 at the end", "write"])
def test_what_goes_wrong_anywhere_ends_all_threads_and_is_raised(
    through: Callable[..., bytes], where: str, octets: int
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(where)

    stages = [Watching(), Watching(), Watching()]
    stage, _, at = where.partition(" ")
    if stage != "write":
        stages[int(stage)] = Watching(end=fail) if at else Watching(each=fail)
    how: dict[str, object] = {"write": fail} if stage == "write" else {}
    with pytest.raises(RuntimeError, match=where):
        through(b"x" * octets, *stages, **how)


@pytest.mark.parametrize("octets", [5, 40 * PIECE])
@pytest.mark.parametrize("stage", [0, 1])
def test_abandoned_work_ends_before_its_file(through: Callable[..., bytes], stage: int, octets: int) -> None:
    work = Work()
    written: list[bytes] = []
    stages = [Watching(), Watching()]
    stages[stage] = Watching(work.abandon)
    with pytest.raises(AbandonedError):
        through(b"x" * octets, *stages, work=work, write=written.append)
    assert sum(map(len, written)) < octets
    assert work.octets < 40 * PIECE


@pytest.mark.parametrize("octets", [5, 2 * PIECE])
def test_a_source_that_cannot_be_read_is_an_error_of_the_spool(tmp_path: Path, octets: int) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(octets))
    with path.open("ab", buffering=0) as unreadable:
        source: BinaryIO = unreadable  # type: ignore[assignment]  # it can only be written
        with pytest.raises(SpoolError, match="could not read a file"):
            run(source, [], write=bytes, work=Work())
