"""Stages one behind the other."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from oftp2.cms.stage import Joined, Stage, chain


class Hold:
    """Gives back what came, one piece later, with a mark at the end."""

    def __init__(self, mark: bytes) -> None:
        self.held, self.mark = b"", mark

    def update(self, octets: bytes) -> bytes:
        assert octets, "no stage is asked for nothing"
        ready, self.held = self.held, octets
        return ready

    def finish(self) -> bytes:
        return self.held + self.mark


@given(st.lists(st.binary(max_size=3)))
def test_what_each_stage_held_goes_through_those_behind_it(pieces: list[bytes]) -> None:
    out = list(chain([Hold(b"1"), Hold(b"2"), Hold(b"3")], pieces))
    assert b"".join(out) == b"".join(pieces) + b"123"
    assert all(out)


class Grow(Hold):
    """Makes three of each piece, and gives them back one by one."""

    def parts(self, octets: bytes) -> Iterator[bytes]:
        yield from (octets, b"", octets, octets)


def test_a_stage_that_expands_hands_on_its_parts_one_by_one() -> None:
    taken: list[bytes] = []

    def source() -> Iterator[bytes]:
        for piece in (b"a", b"b"):
            taken.append(piece)
            yield piece

    out = chain([Grow(b"")], source())
    assert [next(out), next(out)] == [b"a", b"a"]
    assert taken == [b"a"]
    assert list(out) == [b"a", b"b", b"b", b"b"]


def joined() -> tuple[Stage, list[bytes]]:
    """Some that expand and some that hold, as one; and what the last of them was given."""
    given: list[bytes] = []

    class Last(Hold):
        def update(self, octets: bytes) -> bytes:
            given.append(octets)
            return super().update(octets)

    return Joined(Hold(b"1"), Grow(b"2"), Last(b"3")), given


@given(st.lists(st.binary(min_size=1, max_size=3)))
def test_joined_stages_do_as_one_what_they_do_one_by_one(pieces: list[bytes]) -> None:
    alone = b"".join(chain([Hold(b"1"), Grow(b"2"), Hold(b"3")], pieces))
    assert b"".join(chain([joined()[0]], pieces)) == alone
    stage = joined()[0]
    assert b"".join(map(stage.update, pieces)) + stage.finish() == alone


def test_joined_stages_hand_on_the_parts_of_one_that_expands_one_by_one() -> None:
    stage, given = joined()
    out = chain([stage], [b"a", b"b"])
    assert next(out) == b"a"
    assert given == [b"a", b"a"]


def test_without_stages_the_pieces_come_out_as_they_are() -> None:
    assert list(chain([], [b"a", b"", b"b"])) == [b"a", b"b"]
    assert list(chain([Hold(b"")], [])) == []
