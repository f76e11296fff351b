"""Datasets whose images are part of this package."""
