"""The line a call walks, one file a stage; `line.py` is the order."""
