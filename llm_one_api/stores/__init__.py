"""What is kept: journal (disk), counters (Redis), ledger (SQL)."""
