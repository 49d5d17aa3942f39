"""What the ledger refuses, besides an illegal move (``states``)."""

from __future__ import annotations

from oftp2d.errors import OperatorError


class UnknownError(OperatorError):
    """Nothing in the ledger has this identity."""

    def __init__(self, kind: str, identity: object) -> None:
        super().__init__(f"there is no {kind} {identity}", f"list what there is, and name the {kind} as listed")


class LedgerUnavailableError(OperatorError):
    """The database cannot be read or written at this moment: its disk is full, or it is locked for too long."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the ledger cannot be used now ({why})", "see to the disk and the database it is on")


class ClaimLostError(Exception):
    """A transfer or receipt is no longer claimed by this owner: its lease ran out, another took it over."""


class AmbiguousError(Exception):
    """An end response came with a key that more than one file has: which of them it is about cannot be known."""
