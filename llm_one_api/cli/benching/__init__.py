"""What `llm-one-api bench` runs: invented calls, the product's own parts, and figures of what they took."""
