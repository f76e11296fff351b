"""Small, correct components, which pass all checks.

They are for tests that need any backbone, dataset or probe. They have no options.
"""

from __future__ import annotations

import copy
import hashlib
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from probebench.api import (
    CLEAN,
    Backbone,
    Batch,
    Dataset,
    Features,
    FinetunableNetwork,
    FinetunedNetwork,
    FinetuningProbe,
    Fitted,
    ImageSet,
    InputImages,
    Level,
    Measured,
    Metric,
    Options,
    Point,
    Precision,
    Probe,
    SampleProbe,
    Scalar,
    Split,
    Tap,
    Trial,
    UsageError,
    hash63,
    normal,
    pool_map,
)
from probebench.testing.side_effects import tensor_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def toy_network() -> nn.ModuleDict:
    """Returns three blocks with fixed weights: 3 to 4 channels, 4 to 8 at half the size, and a vector of length 6."""
    meta = torch.device("meta")  # no weights are initialised there, so the global random state does not change
    network = nn.ModuleDict(
        {
            "early": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, device=meta), nn.ReLU()),
            "late": nn.Sequential(
                nn.Conv2d(4, 8, 3, stride=2, padding=1, device=meta), nn.BatchNorm2d(8, device=meta), nn.ReLU()
            ),
            "head": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6, device=meta)),
        }
    ).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(hash63("probebench.testing.toy"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1, generator=generator)
    return network.eval()


class ToyBackbone(Backbone):
    """A small convolutional network with the level ``clean`` and two noise levels."""

    input_range = (-1.0, 1.0)
    image_size = (8, 8)
    batch_size = 32

    def __init__(self, options: Options | None = None) -> None:
        del options
        self.network = toy_network()
        self.parameters = sum(weight.numel() for weight in self.network.parameters())
        self._precision: Precision = "fp32"

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns one tap for each block."""
        height, width = image_size
        return (
            Tap("early", "spatial", (4, height, width), cost=0.4, aliases=("toy:first",)),
            Tap("late", "spatial", (8, (height + 1) // 2, (width + 1) // 2), cost=0.9),
            Tap("head", "vector", (6,), default=False),
        )

    def levels(self) -> tuple[Level, ...]:
        """Returns three levels: without noise, with little noise, and with much noise."""
        return (CLEAN, Level("t=10", 0.1), Level("t=100", 0.8))

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the network."""
        self._precision = precision
        self.network.to(device=device, dtype=_DTYPES[precision])

    def prepare(self, images: Tensor) -> Tensor:
        """Scales images from 0 to 255 to values from -1 to 1."""
        return images.float() / 127.5 - 1

    def noisy(self, batch: Batch, level: Level, *, seed: int) -> Tensor:
        """Returns the input of the network at a level, float32, with one noise sample for each image."""
        images = self.prepare(batch.images)
        if not level.sigma:
            return images
        noise = normal(images.shape[1:], seed=seed, source=batch.source, index=batch.index.tolist())
        return (images + level.sigma * noise) / math.sqrt(1 + level.sigma**2)

    def forward(self, images: Tensor, taps: set[str]) -> dict[str, Tensor]:
        """Returns the feature maps of some taps, and stops after the deepest of them."""
        maps: dict[str, Tensor] = {}
        hidden = images.to(_DTYPES[self._precision])
        for name, block in self.network.items():
            hidden = block(hidden)
            if name in taps:
                maps[name] = hidden
            if maps.keys() == taps:
                break
        return maps

    @torch.no_grad()
    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Extracts features with one forward pass for each level."""
        kinds = {tap.id: tap.kind for tap in self.taps(self.image_size)}
        features: dict[Point, Tensor] = {}
        for level in {point.level: self.level(point.level) for point in points}.values():
            at_level = [point for point in points if point.level == level.id]
            maps = self.forward(self.noisy(batch, level, seed=seed), {point.tap for point in at_level})
            features |= {point: pool_map(maps[point.tap], kinds[point.tap], point.pool) for point in at_level}
        return features

    def trainable(self, point: Point) -> nn.Module:
        """Returns a copy of the blocks up to the tap."""
        return ToyNetwork(self, point)

    def inputs(self, batch: Batch, level: str, *, seed: int) -> Tensor:
        """Returns prepared images with the noise of a level."""
        return self.noisy(batch, self.level(level), seed=seed)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all weights and running statistics."""
        total = hashlib.sha256(b"toy backbone, images from -1 to 1")
        for name, value in self.network.state_dict().items():
            total.update(f"{name} {tensor_digest(value)}".encode())
        return total.hexdigest()


class ToyNetwork(nn.Module):
    """A trainable copy of the blocks of the toy backbone up to a tap.

    Args:
        backbone: The backbone to copy.
        point: The point to read.
    """

    def __init__(self, backbone: ToyBackbone, point: Point) -> None:
        super().__init__()
        names = list(backbone.network)
        used = names[: names.index(point.tap) + 1]
        self.blocks = nn.Sequential(*(copy.deepcopy(backbone.network[name]) for name in used)).train()
        self._kind = {tap.id: tap.kind for tap in backbone.taps(backbone.image_size)}[point.tap]
        self._pool = point.pool

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns features ``(B, D)``."""
        return pool_map(self.blocks(inputs), self._kind, self._pool)


class ToySplit(Split):
    """Images of uniform noise around a grey value that depends on the class.

    Args:
        name: Name of the split.
        count: Number of images.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def image(self, index: int) -> Tensor:
        """Returns grey 64, 128 or 192, plus seeded noise of at most 40 in every pixel."""
        if not 0 <= index < self.count:
            raise IndexError(f"image {index} is not in a split of {self.count} images")
        generator = torch.Generator().manual_seed(hash63("toy", self.name, index))
        noise = torch.randint(-40, 41, (3, 8, 8), generator=generator)
        return (64 * (1 + index % 3) + noise).to(torch.uint8)

    def labels(self) -> Tensor:
        """Returns labels that go through the classes in turn."""
        return torch.arange(self.count) % 3

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all images and labels."""
        total = hashlib.sha256(tensor_digest(self.labels()).encode())
        for index in range(self.count):
            total.update(tensor_digest(self.image(index)).encode())
        return total.hexdigest()


class ToyDataset(Dataset):
    """Dark, middle and light images, 8x8.

    Args:
        options: Not used.
        train: Number of train images.
        test: Number of test images.
    """

    classes: tuple[str, ...] = ("dark", "middle", "light")
    image_size = (8, 8)

    def __init__(self, options: Options | None = None, *, train: int = 60, test: int = 30) -> None:
        del options
        self.sizes = {"train": train, "test": test}

    def split(self, name: str) -> Split:
        """Returns ``train`` or ``test``."""
        if name not in self.sizes:
            raise UsageError(f"there is no split {name!r}", where="ToyDataset", hint="one of " + ", ".join(self.sizes))
        return ToySplit(name, self.sizes[name])


class ToyFitted(Fitted):
    """Class means; a class without train images is no candidate.

    Args:
        means: ``(C, D)``, NaN for absent classes.
    """

    def __init__(self, means: Tensor) -> None:
        self.means = means

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns the negative distance to each class mean."""
        distances: Tensor = (vectors[:, None] - self.means).norm(dim=2)
        return -distances.masked_fill(self.means.isnan().any(1), torch.inf)


class ToyProbe(Probe):
    """Nearest class mean, with means that are shrunk towards the overall mean by a share that `search` selects."""

    shares = (0.0, 0.5)

    def __init__(self, options: Options | None = None) -> None:
        del options

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        """Returns one trial for each share."""
        trials = []
        for share in self.shares:
            scores = self.fit(train, {"share": share}, seed=seed).scores(val.vectors)
            trials.append(Trial({"share": share}, metric(scores, val.labels)))
        return trials

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Computes the means, without randomness."""
        del seed
        member = nn.functional.one_hot(train.labels, train.classes).to(train.vectors.dtype)
        means = member.T @ train.vectors / member.sum(0)[:, None]
        return ToyFitted(torch.lerp(means, train.vectors.mean(0), float(params["share"] or 0)))


class ToyMeasure(SampleProbe):
    """The distance between the mean features of two sets of images."""

    def __init__(self, options: Options | None = None) -> None:
        del options

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Computes the distance of the mean features, and the difference of the mean brightness."""
        distance = float((generated.features.double().mean(0) - real.features.double().mean(0)).norm())
        shades = [
            sum(float(image.double().mean()) for image in one.images) / len(one.images) for one in (generated, real)
        ]
        return {"gap": Measured(distance), "shade": Measured(abs(shades[0] - shades[1]))}


class ToyFinetuned(FinetunedNetwork):
    """A fine-tuned network with a linear head.

    Args:
        network: Maps inputs to scores.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @torch.no_grad()
    def scores(self, images: InputImages) -> Tensor:
        """Returns the scores of all images, computed in one batch."""
        scores: Tensor = self.network(images.inputs(torch.arange(len(images.labels)), None))
        return scores


class ToyFinetuning(FinetuningProbe):
    """Three steps of gradient descent on all images, with one of two learning rates."""

    rates = (0.0, 0.1)

    def __init__(self, options: Options | None = None) -> None:
        del options

    def search(
        self, backbone: FinetunableNetwork, train: InputImages, val: InputImages, *, metric: Metric, seed: int
    ) -> Sequence[Trial]:
        """Returns one trial for each learning rate."""
        trials = []
        for rate in self.rates:
            finetuned = self.fit(backbone, train, {"rate": rate}, seed=seed)
            trials.append(Trial({"rate": rate}, metric(finetuned.scores(val), val.labels)))
        return trials

    def fit(
        self, backbone: FinetunableNetwork, train: InputImages, params: Mapping[str, Scalar], *, seed: int
    ) -> ToyFinetuned:
        """Trains the backbone with a linear layer, which the seed initialises."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = nn.Linear(backbone.width, train.classes)
        network = nn.Sequential(backbone.network(), head)
        optimizer = torch.optim.SGD(network.parameters(), lr=float(params["rate"] or 0))
        everything = torch.arange(len(train.labels))
        for epoch in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(train.inputs(everything, epoch)), train.labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return ToyFinetuned(network.eval())
