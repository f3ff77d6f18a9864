"""Shows that what has to be equal is equal, or where it is not: `llm-one-api verify`, and every day.

check       what a check is
audit       the list of checks, and running them
daily       the job for the day that is over
segments, sequence, rollups, quotas, memory, exports, set_aside    the checks; what a difference means: `docs/audit.md`
journal     a way through a journal folder, for `segments`
"""
