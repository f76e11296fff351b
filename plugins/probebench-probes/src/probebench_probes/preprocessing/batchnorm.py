"""Batch normalisation without parameters, as the input of linear heads."""

from __future__ import annotations

import torch

from probebench_probes.preprocessing.whitening import FeatureTransform

EPSILON = 1e-5
MOMENTUM = 0.1


class BatchNorm:
    """`torch.nn.BatchNorm1d(affine=False)` for several points at once.

    In training, a batch is normalised by the mean and deviation of its own images; after training, by the running
    averages. A batch of one image, which has no deviation and which PyTorch refuses, is normalised by the averages too.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015; as a probe's input: He et al., Masked Autoencoders Are
    Scalable Vision Learners, CVPR 2022, A.1.

    Args:
        points: Number of points.
        dimensions: Number of features of each point.
        device: Device of the averages.
    """

    def __init__(self, points: int, dimensions: int, device: torch.device) -> None:
        self._mean = torch.zeros(points, 1, dimensions, device=device)
        self._variance = torch.ones(points, 1, dimensions, device=device)

    def normalise_(self, batch: torch.Tensor) -> None:
        """Normalises a batch ``(P, B, D)`` in place, and updates the running averages with it."""
        images, mean, variance = batch.shape[1], self._mean, self._variance
        if images > 1:
            variance, mean = torch.var_mean(batch, 1, correction=0, keepdim=True)
            self._mean.lerp_(mean, MOMENTUM)
            self._variance.lerp_(variance * (images / (images - 1)), MOMENTUM)
        batch.sub_(mean).mul_((variance + EPSILON).rsqrt())

    def transforms(self) -> list[FeatureTransform]:
        """Returns, for each point, the normalisation by the running averages."""
        scales = (self._variance + EPSILON).rsqrt()
        return [
            FeatureTransform(mean[0], scale[0], (), torch.ones_like(scale[0]))
            for mean, scale in zip(self._mean, scales, strict=True)
        ]
