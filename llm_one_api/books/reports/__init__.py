"""What is done with the numbers: exports of a day, and alerts."""
