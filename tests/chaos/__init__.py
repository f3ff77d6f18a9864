"""Kills, stalls and outages from a seed, under load, and a judge of what was counted: docs/chaos.md."""
