"""The state store: runs, plans, the ledger, the snapshot, approvals."""
