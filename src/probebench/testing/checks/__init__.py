"""The checks, one module for each contract."""
