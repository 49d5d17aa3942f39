"""A plugin for oftp2d, written outside of it: credentials that somebody puts into a folder as PKCS#12.

All that it needs of the station is ``oftp2d.renewal.interface``, and ``oftp2d.settings`` for its options.
"""

# ruff: noqa: RUF009 - the functions of settings make attrs fields, which is what a class body calls them for

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs

from oftp2d.renewal.interface import Answer, Case, Plugin, Refusal, Verdict
from oftp2d.renewal.material import MAX_OCTETS, Material
from oftp2d.settings import REQUIRED, file_path, secret_reference
from oftp2d.vault import Secret


@attrs.frozen(kw_only=True)
class Options:
    """A folder into which somebody puts credentials: one file NAME.p12 for each set, called like the set."""

    folder: Path = file_path(REQUIRED, "The folder that is looked into.", example="drop")
    passphrase: str = secret_reference(REQUIRED, "Where the passphrase is that opens the files.")


class Drop(Plugin):
    """Takes what lies in a folder."""

    summary = "what somebody puts into a folder"
    options = Options
    secrets = ("passphrase",)

    def check(self, options: Any) -> Iterable[str]:
        """Whether there is such a folder."""
        if not (self.house.home / options.folder).is_dir():
            yield f"there is no folder {options.folder}; make it, below the home folder of the station"

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer | Refusal:  # noqa: ARG002
        """Take the file, if it is there."""
        try:
            content = await self.house.workers.disk(_read, self._file(case))
        except FileNotFoundError:
            return Refusal(verdict=Verdict.NOT_YET, code="EMPTY", text=f"there is no {case.name}.p12 in the folder")
        passphrase = await case.secrets.get("passphrase")
        return Answer(content=Secret(content), passphrase=Secret(passphrase.reveal().encode()), transaction="drop-1")

    async def activate(self, case: Case, new: Material, now: datetime) -> str:  # noqa: ARG002
        """What is in use is not taken again."""
        await self.house.workers.disk(self._file(case).unlink, missing_ok=True)
        return "the file was removed from the folder"

    async def status(self, case: Case, now: datetime) -> Mapping[str, str]:  # noqa: ARG002
        """Where people put the next one."""
        return {"folder": str(self._file(case).parent)}

    def _file(self, case: Case) -> Path:
        folder: Path = self.house.home / case.options.folder
        return folder / f"{case.name}.p12"


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_OCTETS)
