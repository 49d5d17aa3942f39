"""The one error that is meant for the people who run the station.

Everything that reaches an operator, on the command line, in a log line or in an answer of the administration
interface, says two things: what is wrong, and what to do next. It never carries a secret.
"""

from __future__ import annotations

from typing import Final

UNEXPECTED: Final = "something went wrong that should not; see the log"
"""What is told of what is no such error, for people."""


class OperatorError(Exception):
    """Something an operator can put right: ``what`` is wrong, and ``advice`` says what to do next."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}: {advice}")
        self.what = what
        self.advice = advice


class DaemonUnreachableError(OperatorError):
    """Nobody answers on the socket of the station."""
