"""Keeps the counters of quotas in Redis in line with the ledger, and says when a quota runs out.

booking     what ingest tells the limit store of the records that it has kept
comparing   what the limit store says is booked, and what the ledger does
check       compares, corrects, counts anew what Redis has lost: every minute, in a worker
crossings   the limits of which most, or all, is used
"""
