"""Figures: a pure function of records, as the boards are."""
