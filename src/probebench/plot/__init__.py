"""Figures: a pure function of records, as the boards are."""

from probebench.plot.files import check_file, outputs, require_matplotlib, write, write_one

__all__ = ["check_file", "outputs", "require_matplotlib", "write", "write_one"]
