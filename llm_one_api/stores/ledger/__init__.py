"""The ledger (SQL): records by seq, cursors, refused records."""
