"""Means and standard deviations."""

from __future__ import annotations

import torch

import probebench_probes.preprocessing.moments as module


def test_means_and_deviations_are_those_of_float64_without_a_copy_of_all_rows(monkeypatch):
    vectors = torch.randn(500, 20, generator=torch.Generator().manual_seed(0)) + 1e3
    expected = vectors.double().mean(0), vectors.double().std(0, correction=0)
    longest = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda part: longest.append(len(part)) or double(part))
    monkeypatch.setattr(module, "CHUNK_ROWS", 64)
    mean, deviation, _ = module.moments(vectors)
    assert max(longest) == 64
    assert torch.allclose(mean, expected[0], rtol=1e-12)
    assert torch.allclose(deviation, expected[1], rtol=1e-10)
