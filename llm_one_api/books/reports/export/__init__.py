"""A day's statistics and calls as files, in a folder or at a URL.

export      one day: its files, written beside the old ones, then put in their place
days        which days want one: those that are over and have none, or one that no longer says what the ledger does
manifest    what a day's export says of itself: counts, sums, and the SHA-256 of each file
staging     files that are written, and do not have their names yet
summary     `stats_YYYYMMDD.json`
formats/    the calls, as JSON, JSON Lines, CSV, Parquet, or FOCUS
target      where files go: a folder
remote      where files go: a URL, by fsspec
"""
