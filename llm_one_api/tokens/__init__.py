"""Counting the tokens of texts and of requests with tiktoken, offline, in a process beside the gateway's.

Whoever imports this package, or `wire` in it, has not loaded tiktoken: only the process has.
"""
