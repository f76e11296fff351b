"""Metrics, intervals, statistical tests and similarities."""
