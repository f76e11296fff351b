"""What is run, and under which rules."""
