"""Leaderboards: a pure function of records."""

from probebench.board.collect import Entry, load
from probebench.board.files import check, outputs, write
from probebench.board.ranking import Board, Place, boards

__all__ = ["Board", "Entry", "Place", "boards", "check", "load", "outputs", "write"]
