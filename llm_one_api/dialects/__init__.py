"""How providers speak: bytes in, values out; no I/O."""
