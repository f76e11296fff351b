"""Checkpoints: finding and loading them."""
