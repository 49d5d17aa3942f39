"""What a demonstration has done: for people line by line, for machines as one JSON object on the last line."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stations import FailedError


class Report:
    """The steps, each with its seconds and whether it went well, and what else there is to tell."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.steps: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        print(text, file=sys.stderr if self._quiet else sys.stdout, flush=True)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        ok = False
        try:
            yield
            ok = True
        finally:
            seconds = round(time.monotonic() - begun, 3)
            self.steps.append({"name": name, "ok": ok, "seconds": seconds})
            self.say(f"{'ok    ' if ok else 'FAILED'} {seconds:8.2f} s  {name}")

    @property
    def result(self) -> dict[str, Any]:
        """The whole of it; ``ok`` is true only if everything went well."""
        return {"ok": bool(self.steps) and all(step["ok"] for step in self.steps), "steps": self.steps}


def carry_out(report: Report, demonstrate: Callable[[Path], None], keep: Path | None) -> int:
    """Demonstrate in a folder, which stays if it is to be kept; print the result; the exit code."""
    folder = keep or Path(tempfile.mkdtemp(prefix="oftp2d-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    try:
        demonstrate(folder.resolve())
    except Exception as error:  # noqa: BLE001 - whatever it is, the report must come
        failed = True
        report.say(f"failed: {error if isinstance(error, FailedError) else repr(error)}")
    finally:
        if keep:
            report.say(f"the stations are in {folder}: OFTP2D_HOME={folder}/alpha oftp2d run")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    result = {**report.result, "ok": report.result["ok"] and not failed}
    print(json.dumps(result), flush=True)
    return 0 if result["ok"] else 1
