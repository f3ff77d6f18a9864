"""A statistics plugin for LLM One API, in a package of its own."""
