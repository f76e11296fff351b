"""Fakes that break one law each, so that every check is seen to fail."""
