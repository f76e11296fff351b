"""Exact nearest neighbours and the probe that votes among them."""
