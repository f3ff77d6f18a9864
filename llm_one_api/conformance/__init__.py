"""The conformance suite: an upstream that plays scripts, and what a gateway must make of them.

A judge that shared its eyes with the judged would see nothing, so nothing here uses the gateway's code: it knows
`values`, the names of what is judged, and no more. `cases/` has a file for each theme; `docs/conformance.md` says how
to add a case.
"""
