"""The strategies that are built in: one file each, found by their entry points as those of strangers are."""
