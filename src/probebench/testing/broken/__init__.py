"""Fakes that each break one requirement, to test that every check can fail."""
