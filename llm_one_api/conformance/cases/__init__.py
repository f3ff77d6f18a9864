"""The cases: a file for each theme, each case a function or a row. `docs/conformance.md` says how to add one."""
