"""Hints for unknown words."""

from __future__ import annotations

from probebench.util.errors import suggest


def test_a_suggestion_is_the_nearest_word_or_all_of_them():
    assert suggest("dppm", ["ddpm", "pixels"]) == "did you mean 'ddpm'?"
    assert suggest("dppm", ["pixels", "ddpm"], "available") == "did you mean 'ddpm'? (available: ddpm, pixels)"
    assert suggest("zebra", ["b", "a"]) == "one of a, b"
    assert suggest("x", []) == ""
