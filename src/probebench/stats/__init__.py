"""Metrics, intervals, tests and similarities: numbers in, numbers out."""
