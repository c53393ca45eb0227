"""What a sweep will cost: epochs without and with sharing, less what the ledger holds, and the time they take."""
