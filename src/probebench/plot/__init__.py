"""Figures: a pure function of records, as the boards are."""

from probebench.plot.files import outputs, require_matplotlib, write

__all__ = ["outputs", "require_matplotlib", "write"]
