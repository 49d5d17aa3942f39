"""Implementations of CMS that share no code with OpenSSL, each started once and skipped where it is not installed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.others.bouncy import Bouncy
from tests.others.gpgsm import Gpgsm
from tests.others.nss import Nss
from tests.others.ours import OTHER, OURS, THEIRS


@pytest.fixture(scope="session")
def bouncy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bouncy]:
    with Bouncy(tmp_path_factory.mktemp("bouncy")) as running:
        yield running


@pytest.fixture(scope="session")
def gpgsm() -> Iterator[Gpgsm]:
    # The path of a socket may have some hundred octets.
    folder = Path(tempfile.mkdtemp(prefix="oftp2d-"))
    try:
        with Gpgsm(folder, known=[OURS, THEIRS, OTHER], owned=[THEIRS]) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def nss(tmp_path_factory: pytest.TempPathFactory) -> Nss:
    return Nss(tmp_path_factory.mktemp("nss"), known=[OURS, THEIRS, OTHER], owned=[THEIRS])
