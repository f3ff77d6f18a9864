"""From one dialect into another, for clients whose upstream speaks something else: bytes in, bytes out; no I/O."""
