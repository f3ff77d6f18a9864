"""The only code that imports Flask."""
