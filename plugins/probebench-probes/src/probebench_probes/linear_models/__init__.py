"""Probes and solvers that are linear in the features."""
