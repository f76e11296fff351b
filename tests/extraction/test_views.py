"""Views of images: crops and mirrored images, their seeds, and the identity of a view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from probebench.api import Split, ViewOptions
from probebench.extraction.views import Cropped, Mirrored, make_views


class Pictures(Split):
    """Images in which all pixels differ."""

    def __init__(self, height: int = 16, width: int = 8, count: int = 40) -> None:
        self.height, self.width, self.count = height, width, count

    def __len__(self) -> int:
        return self.count

    def image(self, index):
        pixels = torch.arange(1, 1 + self.height * self.width).view(1, self.height, self.width)
        return ((pixels + index) % 251 + 1).repeat(3, 1, 1).to(torch.uint8)

    def labels(self):
        return torch.arange(self.count) % 3

    def fingerprint(self) -> str:
        return "0" * 64


def crops_of(image: torch.Tensor, *, flips: bool) -> set[bytes]:
    """Returns every possible crop, computed with numpy."""
    _, height, width = image.shape
    rows, columns = height // 8, width // 8
    padded = np.pad(image.numpy(), ((0, 0), (rows, rows), (columns, columns)))
    found = set()
    for top in range(2 * rows + 1):
        for left in range(2 * columns + 1):
            crop = padded[:, top : top + height, left : left + width]
            found |= {crop.tobytes()} | ({crop[:, :, ::-1].tobytes()} if flips else set())
    return found


@settings(max_examples=20)
@given(st.integers(4, 24), st.integers(4, 24), st.booleans(), st.integers(0, 5), st.integers(0, 9))
def test_every_crop_is_a_crop_of_the_image_padded_by_an_eighth(height, width, flips, number, seed):
    split = Pictures(height, width)
    view = Cropped(split, "lab/pictures/train", number, flips=flips, seed=seed)
    for index in range(5):
        image = view.image(index)
        assert image.dtype == torch.uint8
        assert image.is_contiguous()
        assert image.numpy().tobytes() in crops_of(split.image(index), flips=flips)


def test_all_crops_occur_and_half_of_them_are_mirrored():
    split = Pictures(8, 8, count=200)
    crops = [
        (view.image(index), split.image(index))
        for view in make_views("crop5", split, "s", flips=True, seed=0)
        for index in range(200)
    ]
    places = {tuple(sorted(crops_of(image, flips=True))).index(crop.numpy().tobytes()) for crop, image in crops[:300]}
    assert len(places) == 2 * 9
    upright = [crop.numpy().tobytes() in crops_of(image, flips=False) for crop, image in crops]
    assert 0.45 < np.mean(upright) < 0.55


def test_a_crop_depends_on_seed_source_position_and_number_only():
    split = Pictures()

    def read(number=0, seed=0, source="lab/pictures/train"):
        view = Cropped(split, source, number, flips=True, seed=seed)
        return torch.stack([view.image(index) for index in reversed(range(40))])

    before = torch.random.get_rng_state()
    assert torch.equal(read(), read())
    assert torch.equal(torch.random.get_rng_state(), before)
    for other in (read(number=1), read(seed=1), read(source="lab/pictures/other")):
        assert not torch.equal(read(), other)


def test_mirrored_images_keep_their_labels():
    split = Pictures()
    (view,) = make_views("flip", split, "lab/pictures/train", flips=True, seed=0)
    assert isinstance(view, Mirrored)
    assert np.array_equal(view.image(3).numpy(), split.image(3).numpy()[:, :, ::-1])
    assert torch.equal(view.labels(), split.labels())
    assert len(view) == 40


def test_views_have_different_fingerprints_and_sources():
    split = Pictures()
    found = [
        view
        for text in ("flip", "crop3")
        for flips in (True, False)
        for seed in (0, 1)
        for view in make_views(text, split, "lab/pictures/train", flips=flips, seed=seed)
    ]
    prints = {split.fingerprint(), *(view.fingerprint() for view in found)}
    assert len(prints) == 1 + 1 + 3 * 2 * 2  # mirrored images depend on no seed and no flips
    assert {len(one) for one in prints} == {64}
    assert {view.source for view in found} == {
        "lab/pictures/train/mirrored",
        *(f"lab/pictures/train/crop{number}" for number in range(3)),
    }
    assert make_views("none", split, "lab/pictures/train", flips=True, seed=0) == ()


def test_more_crops_include_those_of_fewer():
    few, many = (make_views(text, Pictures(), "s", flips=True, seed=0) for text in ("crop2", "crop5"))
    assert [view.fingerprint() for view in many[:2]] == [view.fingerprint() for view in few]


@pytest.mark.parametrize(("text", "count"), [("none", 1), ("flip", 2), ("crop1", 1), ("crop10", 10)])
def test_number_of_views(text, count):
    assert ViewOptions(views=text).view_count == count


@pytest.mark.parametrize("text", ["", "crop", "crop0", "crops3", "crop1000", "flips", "10"])
def test_invalid_views_are_refused(text):
    with pytest.raises(ValidationError, match="is not none, flip or cropN, such as crop10"):
        ViewOptions(views=text)
