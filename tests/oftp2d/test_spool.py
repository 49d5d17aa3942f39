"""The spool on a real file system."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2d.spool import Spool, SpoolError, SpoolFullError, inbox_name, opened_name

CONTENT = b"UNB+UNOA:1" * 300
NAME = "2N01GDAKZVGC"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(root: Path) -> Spool:
    return Spool(root)


def _all(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_folders_are_for_us_alone(root: Path, spool: Spool) -> None:
    for folder in (root, *root.iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    Spool(root)


@pytest.mark.parametrize("as_path", [False, True])
def test_a_file_is_staged_as_it_is(tmp_path: Path, root: Path, spool: Spool, *, as_path: bool) -> None:
    source = tmp_path / "order.edi"
    source.write_bytes(CONTENT)
    staged = spool.stage(source if as_path else io.BytesIO(CONTENT))
    assert (staged.octets, staged.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    with spool.open_outgoing(staged.name) as file:
        assert file.read() == CONTENT
    assert stat.S_IMODE((root / "outgoing" / staged.name).stat().st_mode) == 0o600
    for _ in range(2):
        spool.remove_outgoing(staged.name)
    assert _all(root) == set()


def test_a_file_may_be_staged_piece_by_piece_or_given_up(root: Path, spool: Spool) -> None:
    with spool.staging() as staging:
        staging.write(b"ab", memoryview(b"cd"))
        assert staging.octets == 4
        staged = staging.seal()
    assert _all(root) == {f"outgoing/{staged.name}"}
    with spool.staging() as staging:
        staging.write(b"ab")
        staging.discard()
    assert _all(root) == {f"outgoing/{staged.name}"}


def test_what_nobody_asks_the_digest_of_is_not_hashed(spool: Spool) -> None:
    with spool.staging(hashed=False) as staging:
        staging.write(CONTENT)
        staged = staging.seal()
    assert (staged.octets, staged.sha256) == (len(CONTENT), "")
    with spool.open_outgoing(staged.name) as file:
        assert file.read() == CONTENT


def test_an_incoming_file_grows_is_sealed_and_delivered(root: Path, spool: Spool) -> None:
    with spool.part(NAME, fresh=True) as part:
        part.write(CONTENT[:100], CONTENT[100:])
        sealed = part.seal()
    assert sealed.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert _all(root) == {f"received/{NAME}"}
    with spool.open_received(NAME) as file:
        assert file.read() == CONTENT
    spool.make_ready(NAME, NAME)
    delivered = inbox_name(NAME, "Order 4711.edi")
    assert delivered == f"{NAME}-Order_4711.edi"
    spool.place(NAME, delivered)
    assert spool.inbox_path(delivered).read_bytes() == CONTENT
    assert _all(root) == {f"inbox/{delivered}"}


def _received(spool: Spool) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT)
        part.seal()


def test_a_received_file_is_opened_into_another_as_often_as_it_takes(root: Path, spool: Spool) -> None:
    _received(spool)
    for content in (b"something longer, of a try that failed", b"opened"):
        with spool.opening(NAME) as opened:
            opened.write(content)
            made = opened.seal()
    assert (made.name, made.octets) == (opened_name(NAME), 6)
    assert _all(root) == {f"received/{NAME}", f"received/{NAME}.opened"}
    turned = spool.make_ready_as(made.name, NAME, lambda file: [file.read().upper()])
    assert turned.sha256 == hashlib.sha256(b"OPENED").hexdigest()
    spool.make_ready(made.name, NAME)
    assert _all(root) == {f"received/{NAME}", f"received/{NAME}.ready"}
    spool.place(NAME, NAME)
    spool.remove_received(NAME, opened_name(NAME))
    assert _all(root) == {f"inbox/{NAME}"}
    assert spool.inbox_path(NAME).read_bytes() == b"opened"


@pytest.mark.parametrize("went", ["nowhere", "ready"])
def test_a_received_file_is_back_where_the_ledger_did_not_learn_that_it_went(
    root: Path, spool: Spool, went: str
) -> None:
    _received(spool)
    if went == "ready":
        spool.make_ready(NAME, NAME)
    else:
        spool.make_ready_as(NAME, NAME, lambda _: [b"converted"])
    for _ in range(2):
        spool.reclaim(NAME, NAME)
        assert _all(root) == {f"received/{NAME}"}
    with spool.open_received(NAME) as file:
        assert file.read() == CONTENT
    spool.remove_received(NAME)
    spool.reclaim(NAME, NAME)
    assert _all(root) == set()


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("fresh", [False, True])
def test_a_file_that_needs_no_opening_is_ready_before_it_is_in_the_inbox(
    root: Path, spool: Spool, *, fresh: bool, pieces: int
) -> None:
    with spool.part(NAME, fresh=fresh) as part:
        if pieces == 2:
            part.write(CONTENT[:100])
        sealed = part.seal_ready(CONTENT[part.octets :])
    assert (sealed.octets, sealed.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert _all(root) == {f"received/{NAME}.ready"}
    assert spool.ready() == [NAME]
    spool.place(NAME, f"{NAME}-order.edi")
    spool.sync_inbox()
    assert _all(root) == {f"inbox/{NAME}-order.edi"}
    assert spool.ready() == []
    with pytest.raises(SpoolError, match="could not deliver a file"):
        spool.place(NAME, f"{NAME}-order.edi")


def test_a_fresh_part_is_not_made_before_there_is_something_to_write(root: Path, spool: Spool) -> None:
    with spool.part(NAME, fresh=True) as part:
        assert not part.is_open
        part.discard()
    assert _all(root) == set()


def test_what_could_not_be_made_ready_takes_no_room(root: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with spool.part(NAME, fresh=True) as part, pytest.raises(SpoolFullError):
        part.seal_ready(CONTENT)
    assert _all(root) == set()


def test_the_content_of_small_files_is_read_at_once(root: Path, spool: Spool) -> None:
    whole, cut, grown = (spool.stage(io.BytesIO(CONTENT)) for _ in range(3))
    os.truncate(root / "outgoing" / cut.name, 10)
    with (root / "outgoing" / grown.name).open("ab") as file:
        file.write(b"more")
    names = [whole.name, cut.name, grown.name, "ABSENT"]
    assert spool.read_outgoing([(name, len(CONTENT)) for name in names]) == [CONTENT, None, None, None]


@pytest.mark.parametrize("position", [0, 1024, 2048, None])
def test_an_interrupted_file_goes_on_at_the_restart_position(spool: Spool, position: int | None) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT[:2048])
    with spool.part(NAME) as part:
        assert part.octets == 2048
        if position is not None:
            part.resume(position)
        part.write(CONTENT[part.octets :])
        sealed = part.seal()
    assert (sealed.octets, sealed.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("position", [-1, 2049])
def test_a_restart_position_outside_the_file_is_our_mistake(spool: Spool, position: int) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT[:2048])
        with pytest.raises(ValueError, match="cannot go on"):
            part.resume(position)


def test_what_is_there_of_a_part_can_be_looked_through_before_going_on(spool: Spool) -> None:
    with spool.part(NAME) as part:
        assert not part.keep(), "nothing to go on from"
        part.write(CONTENT[:2048])
        assert part.keep()
    with spool.part(NAME) as part:
        assert part.read(1000) + part.read(10_000) == CONTENT[:2048]
        assert part.read(1) == b""
        part.resume(1000)
        part.write(CONTENT[1000:])
        assert part.seal().sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("fresh", [False, True])
def test_a_part_that_is_forgone_is_never_gone_on_from(root: Path, spool: Spool, *, fresh: bool) -> None:
    with spool.part(NAME, fresh=fresh) as part:
        part.forgo()
        part.write(CONTENT)
        part.forgo()
        assert not part.keep()
        # A crash at this moment, and the next session finds nothing.
        assert _all(root) == {f"parts/{NAME}.once"}
        with spool.part(NAME) as other:
            assert other.octets == 0
            other.discard()
        assert spool.sweep({NAME}) == [f"parts/{NAME}.once"]
    for seal, place in (("seal", f"received/{NAME}.once"), ("seal_outgoing", f"outgoing/{NAME}.once")):
        with spool.part(NAME, fresh=fresh) as part:
            part.forgo()
            sealed = getattr(part, seal)(CONTENT)
        assert _all(root) == {place}
        assert (sealed.name, sealed.octets) == (f"{NAME}.once", len(CONTENT))
        # Nor after one behind the seal, of which the ledger has not learnt.
        with spool.part(NAME) as other:
            assert other.octets == 0
            other.discard()
        assert spool.sweep(set()) == [place]
    with spool.part(NAME, fresh=fresh) as part:
        part.forgo()
        assert part.seal_ready(CONTENT).octets == len(CONTENT)
    assert _all(root) == {f"received/{NAME}.ready"}
    with spool.part("OTHER", fresh=fresh) as part:
        part.forgo()
        part.discard()
    assert not [name for name in _all(root) if name.startswith("parts")]


def test_what_was_sealed_without_the_ledger_knowing_is_a_part_again(root: Path, spool: Spool) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT)
        part.seal()
    with spool.part(NAME) as part:
        assert part.octets == len(CONTENT)
        assert part.seal().sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert _all(root) == {f"received/{NAME}"}


@given(st.text(max_size=80))
def test_a_label_can_never_be_more_than_a_harmless_suffix(label: str) -> None:
    name = inbox_name(NAME, label)
    rest = name.removeprefix(NAME)
    assert name.startswith(NAME)
    assert len(rest) <= 41
    assert rest == "" or (rest[0] == "-" and rest[1] not in ".-")
    assert all(character.isascii() and (character.isalnum() or character in "._-") for character in rest)


@pytest.mark.parametrize("name", ["", ".", "..", "../inbox/x", "a/b", "/etc/passwd", "a\0", "a\n", "A" * 41, "ä", ".x"])
def test_a_name_that_is_not_ours_never_becomes_a_path(spool: Spool, name: str) -> None:
    for use in (
        spool.part,
        spool.open_outgoing,
        spool.remove_outgoing,
        spool.open_received,
        spool.remove_received,
        spool.inbox_path,
        spool.opening,
        lambda name: spool.reclaim(name, NAME),
        lambda name: spool.reclaim(NAME, name),
        lambda name: spool.make_ready(name, NAME),
        lambda name: spool.make_ready(NAME, name),
        lambda name: spool.place(name, NAME),
        lambda name: spool.place(NAME, name),
    ):
        with pytest.raises(ValueError, match="is no name of the"):
            use(name)


def test_a_link_planted_under_our_name_is_not_followed(tmp_path: Path, root: Path, spool: Spool) -> None:
    (root / "parts" / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SpoolError):
        spool.part(NAME)
    assert not (tmp_path / "elsewhere").exists()


def test_the_sweep_removes_what_nobody_knows_but_never_from_the_inbox(root: Path, spool: Spool) -> None:
    known = spool.stage(io.BytesIO(b"known")).name
    lost = spool.stage(io.BytesIO(b"lost")).name
    for name in ("PART1", "PART2", "SEALED1", "SEALED2", "REFUSED1", "REFUSED2", "READY", "INBOX"):
        with spool.part(name) as part:
            part.write(b"x")
            if name.startswith(("SEALED", "REFUSED")):
                part.seal()
            elif name in {"READY", "INBOX"}:
                part.seal_ready()
    spool.place("INBOX", "INBOX")
    for name in ("REFUSED1", "REFUSED2"):
        spool.refuse(name)
    kept = {known, "PART1", "SEALED1", "REFUSED1"}
    removed = spool.sweep(kept)
    assert removed == [
        f"outgoing/{lost}",
        "parts/PART2",
        "received/READY.ready",
        "received/SEALED2",
        "refused/REFUSED2",
    ]
    assert _all(root) == {f"outgoing/{known}", "parts/PART1", "received/SEALED1", "refused/REFUSED1", "inbox/INBOX"}
    assert spool.sweep(kept) == []


def test_a_received_file_can_be_dropped(root: Path, spool: Spool) -> None:
    with spool.part(NAME) as part:
        part.seal()
    for _ in range(2):
        spool.remove_received(NAME)
    assert _all(root) == set()


def test_a_refused_file_is_kept_as_it_came_until_it_is_forgotten(root: Path, spool: Spool) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT)
        part.seal()
    for place in (f"received/{NAME}", f"refused/{NAME}", f"refused/{NAME}"):
        # Before the first time, as after a crash between the ledger and this.
        assert _all(root) == {place}
        with spool.open_refused(NAME) as kept:
            assert kept.read() == CONTENT
        spool.refuse(NAME)
    assert spool.sweep({NAME}) == []
    for _ in range(2):
        spool.remove_refused(NAME)
    assert _all(root) == set()
    with pytest.raises(SpoolError):
        spool.open_refused(NAME)


def test_a_refused_file_that_is_forgotten_before_it_was_put_aside_is_gone_too(root: Path, spool: Spool) -> None:
    with spool.part(NAME) as part:
        part.seal()
    spool.remove_refused(NAME)
    assert _all(root) == set()


@pytest.mark.parametrize("name", ["", "..", "../inbox/X", "a/b", ".hidden"])
def test_a_refused_file_has_a_name_of_ours(spool: Spool, name: str) -> None:
    for act in (spool.refuse, spool.open_refused, spool.remove_refused):
        with pytest.raises(ValueError, match="name"):
            act(name)


def test_free_room_is_told_in_octets(spool: Spool) -> None:
    assert spool.free_octets() > 0


def test_nothing_is_sealed_before_it_is_on_disk(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        steps.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().name}")
        real_fsync(handle)

    def rename(self: Path, target: Path) -> Path:
        steps.append(f"rename to {target.parent.name}")
        return real_rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    with spool.part(NAME) as part:
        part.write(CONTENT)
        part.seal()
    spool.make_ready(NAME, NAME)
    assert steps == [
        *(f"fsync {NAME}", "rename to received", "fsync received", "fsync parts"),
        *("rename to received", "fsync received"),
    ]
    steps.clear()
    for pieces in ([CONTENT], []):
        with spool.part(NAME, fresh=True) as part:
            part.write(*pieces) if pieces else None
            part.seal_ready(CONTENT)
    assert steps == [
        *(f"fsync {NAME}", "rename to received", "fsync received"),
        *(f"fsync {NAME}.ready", "fsync received"),
    ]
    steps.clear()
    staged = spool.stage(io.BytesIO(CONTENT))
    assert steps == [f"fsync {staged.name}", "fsync outgoing"]


@pytest.mark.parametrize(
    "fault",
    [
        (errno.ENOSPC, SpoolFullError, "no room left"),
        (errno.EDQUOT, SpoolFullError, "no room left"),
        (errno.EIO, SpoolError, "Input/output error"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_that_fails_is_one_line_for_the_operator(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str, fault: tuple[int, type[SpoolError], str]
) -> None:
    code, kind, said = fault

    def fail(*_arguments: Any) -> int:
        raise OSError(code, os.strerror(code))

    with spool.part(NAME) as part:
        part.write(b"before")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(kind, match=said) as raised:
                part.write(b"after") if call == "write" else part.seal()
    assert "\n" not in str(raised.value)
    with spool.part(NAME) as part:
        assert part.octets == len(b"before")


def test_a_file_that_cannot_be_staged_takes_no_room(
    tmp_path: Path, root: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpoolError, match="could not read the file to stage"):
        spool.stage(tmp_path / "absent")

    def fail(*_arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(SpoolFullError):
        spool.stage(io.BytesIO(CONTENT))
    assert _all(root) == set()


def test_a_short_write_is_finished(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, octets: real(handle, octets[:7]))
    with spool.part(NAME) as part:
        part.write(CONTENT)
        assert part.seal().sha256 == hashlib.sha256(CONTENT).hexdigest()
    with spool.open_received(NAME) as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("forgone", [False, True])
def test_a_part_is_discarded_in_either_form(root: Path, spool: Spool, *, forgone: bool, fresh: bool) -> None:
    with spool.part(NAME, fresh=fresh) as part:
        if forgone:
            part.forgo()
        part.write(CONTENT)
    assert len(_all(root)) == 1
    for _ in range(2):
        spool.discard_part(NAME)
    assert _all(root) == set()


@pytest.mark.parametrize("seal", ["seal", "seal_ready", "seal_outgoing"])
def test_discarding_a_part_leaves_what_is_sealed_where_it_is(root: Path, spool: Spool, seal: str) -> None:
    with spool.part(NAME) as part:
        part.write(CONTENT)
        getattr(part, seal)()
    sealed = _all(root)
    spool.discard_part(NAME)
    assert _all(root) == sealed != set()


def test_the_boot_it_is_used_in_is_on_disk_when_it_is_noted(
    root: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spool.boot() is None
    synced: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for boot in ("first", "second"):
        synced.clear()
        spool.note_boot(boot)
        assert synced == ["boot.new", root.name]
        assert Spool(root).boot() == boot
    assert _all(root) == {"boot"}


def test_what_is_kept_is_on_disk_with_its_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def sync(handle: int, name: str = name, real: Any = real) -> None:
            steps.append(f"{name} {Path(f'/proc/self/fd/{handle}').readlink().name} {os.fstat(handle).st_size >> 20}")
            real(handle)

        monkeypatch.setattr(os, name, sync)
    with spool.part(NAME, fresh=True) as part:
        part.write(bytes(6 << 20))
        assert part.keep()
    assert steps[:2] == [f"fdatasync {NAME} 4", f"fsync {NAME} 6"]
    assert [step.split()[1] for step in steps[2:]] == ["parts"]
