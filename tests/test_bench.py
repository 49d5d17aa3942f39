"""tools/bench: what it prints is whole, whatever was run; and what it compares with does run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"
PROMISED = {
    "codec": {"encode_gb_s", "decode_gb_s"},
    "transfer": {"pipe_ratio", "sftp_ratio", "mb_s"},
    "secure": {"stage_ratio", "open_ratio", "openssl_ratio", "peak_mib"},
    "smallfiles": {"per_second", "flatness"},
    "sessions": {"idle_mib", "kib_each"},
    "large": {"sender_peak_mib", "receiver_peak_mib"},
    "soak": {"partners", "confirmed", "switched", "files_out", "files_in", "lost", "refused", "unknown_certificate"},
}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "benchmarks.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_number_is_there_and_what_was_not_run_is_null_with_a_reason() -> None:
    done = bench("codec", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {name: set(found) & PROMISED[name] for name, found in document.items()} == PROMISED
    assert all(document["codec"][key] > 0 for key in PROMISED["codec"])
    for name in PROMISED.keys() - {"codec"}:
        for key in PROMISED[name]:
            assert (document[name][key], document[name][f"{key}_reason"]) == (None, "it was not run")


@pytest.mark.slow
def test_a_file_is_secured_and_opened_and_compared_with_openssl() -> None:
    done = bench("secure", "--quick", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    secure = json.loads(done.stdout)["secure"]
    assert all(secure[key] > 0 for key in PROMISED["secure"])


@pytest.mark.slow
def test_a_renewal_reaches_all_partners_while_files_flow_and_nothing_goes_under_what_its_receiver_does_not_know() -> (
    None
):
    done = bench("soak", "--quick", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    soak = json.loads(done.stdout)["soak"]
    assert soak["partners"] == soak["confirmed"] == soak["switched"] == 5
    assert soak["files_out"] == soak["files_in"] == soak["receipts_of_partners"] == 5 * soak["rounds"]
    assert soak["files_by_old"] + soak["files_by_new"] == soak["files_out"]
    assert soak["receipts_by_old"] + soak["receipts_by_new"] == soak["files_in"]
    assert min(soak["files_by_old"], soak["files_by_new"], soak["receipts_by_old"], soak["receipts_by_new"]) > 0
    assert {soak[name] for name in ("lost", "refused", "unsigned", "unknown_certificate", "shown_too_early")} == {0}


def test_a_benchmark_that_does_not_exist_is_refused() -> None:
    done = bench("codecs")
    assert (done.returncode, "no benchmark is called codecs" in done.stderr) == (2, True)


def test_a_file_goes_through_sftp_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import sftp

    (tmp_path / "file.bin").write_bytes(bytes(1_000_000))
    try:
        assert sftp.seconds(tmp_path, tmp_path / "file.bin") > 0
    except sftp.UnavailableError as error:
        pytest.skip(str(error))
    assert not (tmp_path / "sftp-copy.bin").exists()


def test_without_openssh_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import sftp

    monkeypatch.setattr(sftp.shutil, "which", lambda *_args, **_more: None)
    with pytest.raises(sftp.UnavailableError, match="sshd of OpenSSH is not installed"):
        sftp.seconds(tmp_path, tmp_path / "file.bin")
