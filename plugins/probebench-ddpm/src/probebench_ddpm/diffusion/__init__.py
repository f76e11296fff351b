"""Noise, noise schedules and denoisers."""
