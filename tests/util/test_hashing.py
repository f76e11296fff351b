"""Canonical JSON, digests, and differences of documents."""

from __future__ import annotations

import pytest

from probebench.util.hashing import canonical_json, differing_fields, digest


def test_the_order_of_keys_does_not_matter():
    assert canonical_json({"b": [1, {"d": 1, "c": None}], "a": "é"}) == '{"a":"é","b":[1,{"c":null,"d":1}]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": number})


@pytest.mark.parametrize(
    ("stored", "requested", "names"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 1}}, ""),
        ({"a": {"b": 1, "c": 2}, "d": 3}, {"d": 4, "a": {"b": 2, "c": 2}}, "d, a.b"),
        ({"a": 1, "old": 1}, {"a": 1, "new": 1}, "new, old"),
        ({"a": {"b": 1}}, {"a": [1]}, "a"),
        ([], {"a": 1}, "document"),
        ({}, dict.fromkeys("abcdef", 1), "a, b, c, d and 2 more"),
    ],
)
def test_differing_fields_are_named(stored, requested, names):
    assert differing_fields(stored, requested) == names
