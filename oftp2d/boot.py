"""Which boot of the machine this is: what was written in an earlier one, and not synced, may be lost in part."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def current_boot() -> str | None:
    """An identifier that is another one after each boot; None where the system has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip() or None
    except (OSError, UnicodeError):
        return None
