"""Probes: fitted on train, chosen on val, measured on test."""
