"""The ledger: partners, transfers, receipts, certificates and the audit trail, in one SQL database."""
