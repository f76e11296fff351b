"""Analyses of records and stored features: similarity of taps, other votes, comparisons."""
