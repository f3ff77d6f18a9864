"""What is done with the records: relay, ingest, deliver, reports."""
