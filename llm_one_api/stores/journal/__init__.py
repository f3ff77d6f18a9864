"""The journal (disk): entries, the writer in the gateway, the reader in the relay."""
