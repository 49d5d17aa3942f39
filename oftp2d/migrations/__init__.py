"""The history of the ledger's schema, one module in ``versions`` for each step."""
