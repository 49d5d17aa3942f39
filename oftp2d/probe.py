"""What a connection test found: made by the dialler, shown by the administration interface."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TestStep:
    """One step of a connection test: tcp, tls, ready, code, password, level or leave."""

    __test__ = False
    step: str
    ok: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """What a connection test found; the steps end with the first that failed."""

    __test__ = False
    ok: bool
    steps: tuple[TestStep, ...]
