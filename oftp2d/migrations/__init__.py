"""The history of the ledger's schema, one module in ``versions`` for each step."""

from typing import Final

HEAD: Final = "0009"
"""The revision of the newest step."""
