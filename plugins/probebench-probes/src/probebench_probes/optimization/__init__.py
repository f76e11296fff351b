"""Optimisers, learning-rate schedules and batches, for all probes that are trained."""
