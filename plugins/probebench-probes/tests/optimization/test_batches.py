"""Batches of an epoch."""

from __future__ import annotations

import torch

from probebench_probes.optimization.batches import batches


def test_each_epoch_has_every_image_once_in_its_own_order():
    epochs = [torch.cat(list(batches(10, 4, epoch, seed=0))).tolist() for epoch in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]
    assert epochs[0] != torch.cat(list(batches(10, 4, 0, seed=1))).tolist()
    assert [len(batch) for batch in batches(10, 4, 0, seed=0)] == [4, 4, 2]
