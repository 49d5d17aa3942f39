"""The project's virtual environment, .venv: made when it is missing, brought up to date when the packaging changed.

Needs nothing but a Python of 3.11 or later with venv and pip, and the package index that pip is configured for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv"
PYTHON = FOLDER / "bin" / "python"


def _stamp() -> str:
    described = b"".join((ROOT / name).read_bytes() for name in ("setup.cfg", "pyproject.toml"))
    return hashlib.sha256(described + sys.version.encode()).hexdigest()


def ensure(extra: str = "") -> Path:
    """Make or update the environment with everything that running and testing needs, and an extra if named; its Python."""
    if sys.version_info < (3, 11):
        sys.exit("oftp2d needs Python 3.11 or later")
    stamp = FOLDER / ("oftp2d.stamp" if not extra else f"oftp2d.{extra}.stamp")
    if stamp.exists() and stamp.read_text() == _stamp():
        return PYTHON
    print(f"making the environment in {FOLDER.name}, this takes a minute ...", file=sys.stderr, flush=True)
    if not PYTHON.exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        venv.create(FOLDER, with_pip=True)
    wanted = f"{ROOT}[{','.join(filter(None, ('test', extra)))}]"
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", wanted]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=sys.stderr)
    if done.returncode:
        sys.exit("the environment could not be made: see the messages of pip above")
    stamp.write_text(_stamp())
    return PYTHON


def run(script: str, arguments: list[str], *, extra: str = "") -> None:
    """Go on as ``script`` of this folder with the environment's Python; does not return."""
    python = ensure(extra)
    os.execv(python, [str(python), str(ROOT / "tools" / script), *arguments])
