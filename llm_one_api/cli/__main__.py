"""`python -m llm_one_api.cli`: the same as `llm-one-api`, for spawning by interpreter."""

from llm_one_api.cli import main

main(prog_name="llm-one-api")
