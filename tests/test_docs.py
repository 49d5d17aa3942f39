"""The documents: the reference is that of the code, links lead somewhere, and commands named in prose exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from oftp2 import reasons
from oftp2d.cli.app import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.rst", *(ROOT / "docs").rglob("*.rst")])
COMMAND = re.compile(r"oftp2d ([a-z]+)(?: ([a-z]+))?")


def tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools" / "reference.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_reference_is_that_of_the_code() -> None:
    checked = tool("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_tools_docs_says_how_it_is_used() -> None:
    assert tool("--help").stdout.startswith("usage: tools/docs")


@pytest.mark.parametrize("kind", [reasons.EndSessionReason, reasons.AnswerReason, reasons.NegativeResponseReason])
def test_every_reason_is_explained(kind: type[reasons.Reason]) -> None:
    page = (ROOT / "docs" / "reference" / "reasons.rst").read_text("utf-8")
    for reason in kind:
        assert f"   * - {reason.value:02}\n     - {reason.meaning}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"<([^<>\s]+\.rst|LICENSE)>`_", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def named(page: Path) -> Iterator[tuple[str, str]]:
    """The commands that stand in a page as something to say."""
    text = page.read_text("utf-8")
    quoted = re.findall(r"``(oftp2d [^`]+)``|'(oftp2d [^']+)'|^    \$ (oftp2d .+)$", text, re.MULTILINE)
    for each in quoted:
        words = COMMAND.match("".join(each))
        if words:
            yield words[1], words[2] or ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_named_in_a_document_exist(page: Path) -> None:
    for name, second in named(page):
        group = cli.get_command(click.Context(cli), name)
        assert group is not None, name
        if isinstance(group, click.Group) and second:
            assert second in group.commands, f"{name} {second}"
