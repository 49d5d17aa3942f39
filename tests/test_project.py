"""The project about itself: what is packaged, what must never be committed, and what its documents promise."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ARMOUR = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*\n[A-Za-z0-9+/]{16}")
PATHS = re.compile(rb"(?<![\w.~$}/])/(?:home|root|work|Users)/\w")


def tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is committed cannot be told")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def test_every_package_of_the_tree_is_in_the_wheel() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    listed = set(settings["options"]["packages"].split())
    folders = [ROOT / "protocol", ROOT]
    found = {
        ".".join(init.parent.relative_to(folder).parts)
        for folder, name in zip(folders, ("oftp2", "oftp2d"), strict=True)
        for init in (folder / name).rglob("__init__.py")
    }
    assert listed == found


def test_the_folder_protocol_is_no_package() -> None:
    assert not (ROOT / "protocol" / "__init__.py").exists()


def test_no_private_key_and_no_path_of_a_machine_is_committed() -> None:
    for path in tracked():
        content = path.read_bytes()
        assert not ARMOUR.search(content), f"{path.name} holds a private key"
        assert not PATHS.search(content), f"{path.name} holds the path of a machine"


def test_every_tool_says_how_it_is_used() -> None:
    for name in ("demonstration.py", "checks.py"):
        told = subprocess.run(["python3", ROOT / "tools" / name, "--help"], capture_output=True, text=True, check=False)
        assert "usage: tools/" in told.stdout
