"""Inception as a backbone: torch-fidelity's network to the bit, its file, and what is said when that is not there."""

from __future__ import annotations

import hashlib
import io
import urllib.error

import pytest
import torch

from probebench.api import Batch, DataError, Point, UsageError
from probebench_fidelity import inception_weights as weights
from probebench_fidelity.inception import Inception, _Network
from probebench_fidelity.inception_weights import NAME, URL, fetch, path_of
from probebench_fidelity.options import InceptionOptions


@pytest.fixture(scope="module")
def state():
    network = _Network()
    network.to_empty(device="cpu")
    weights.random_(network, 7)
    return network.state_dict()


@pytest.fixture
def known(state, monkeypatch):
    """A file of weights that passes for torch-fidelity's; gives its bytes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    return buffer.getvalue()


def images(count=2, size=20):
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_those_of_torch_fidelity(known, tmp_path):
    from torch_fidelity import FeatureExtractorInceptionV3

    path = tmp_path / "weights.pth"
    path.write_bytes(known)
    taps = ["64", "768", "2048", "logits_unbiased"]
    theirs = FeatureExtractorInceptionV3("inception", taps, feature_extractor_weights_path=str(path))
    inputs = []
    theirs.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    expected = dict(zip(taps, theirs(images()), strict=True))
    backbone = Inception(InceptionOptions(weights=str(path)))
    points = [Point(tap, "clean", "flat") for tap in taps]
    found = backbone.extract(Batch(images(), torch.arange(2), "test"), points, seed=0)
    for point in points:
        assert torch.equal(found[point], expected[point.tap]), point
    assert torch.equal(backbone.prepare(images()), inputs[0])
    described = {tap.id: tap.shape[0] for tap in backbone.taps((20, 20))}
    assert all(described[tap] == expected[tap].shape[1] for tap in taps)
    assert backbone.parameters == sum(weight.numel() for weight in theirs.parameters())


def test_random_weights_need_no_file_and_no_global_state():
    before = torch.get_rng_state()
    prints = {Inception(InceptionOptions(pretrained=False, init_seed=seed)).fingerprint() for seed in (0, 0, 1)}
    assert len(prints) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_without_the_file_the_network_can_be_shown_and_not_read():
    backbone = Inception(InceptionOptions())
    assert [tap.id for tap in backbone.taps((32, 32)) if tap.default] == ["2048"]
    with pytest.raises(DataError) as caught:
        backbone.fingerprint()
    path = path_of(InceptionOptions())
    assert path.parent.name == "checkpoints"
    assert str(caught.value).splitlines() == [
        f"Inception's weights are not there: no file {path}",
        "  in: backbone inception",
        f"  try: probebench run --download ..., or put {URL} there; or another extractor=",
    ]


def test_another_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "other.pth"
    path.write_bytes(b"not these")
    with pytest.raises(DataError) as caught:
        Inception(InceptionOptions(weights=str(path))).fingerprint()
    first, where, hint = str(caught.value).splitlines()
    assert first.startswith("other.pth is not torch-fidelity's file: its SHA-256 begins with ")
    assert where == f"  in: {path}"
    assert hint == f"  try: move it away, and run with --download or put {URL} there"


class Answer(io.BytesIO):
    def __init__(self, content):
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content))}


def serve(monkeypatch, content):
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        if isinstance(content, Exception):
            raise content
        return Answer(content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def test_a_download_is_verified_and_done_once(known, monkeypatch):
    asked, told = serve(monkeypatch, known), []
    for _ in range(2):
        fetch(InceptionOptions(), lambda *step: told.append(step))
    assert asked == [URL]
    assert told[-1] == (NAME, len(known), len(known))
    path = path_of(InceptionOptions())
    assert [file.name for file in path.parent.iterdir()] == [NAME]
    assert Inception(InceptionOptions()).fingerprint() == Inception(InceptionOptions(weights=str(path))).fingerprint()


def test_nothing_is_downloaded_for_random_weights(monkeypatch):
    asked = serve(monkeypatch, b"")
    fetch(InceptionOptions(pretrained=False), print)
    assert asked == []


def test_a_file_of_the_users_own_is_not_downloaded(tmp_path):
    with pytest.raises(UsageError) as caught:
        fetch(InceptionOptions(weights=str(tmp_path / "mine.pth")), print)
    assert str(caught.value).splitlines() == [
        f"no file {str(tmp_path / 'mine.pth')!r}",
        "  in: option weights of inception",
        "  try: without it, they are downloaded",
    ]


def test_a_download_that_breaks_leaves_nothing(monkeypatch):
    serve(monkeypatch, urllib.error.URLError("no route to host"))
    with pytest.raises(DataError) as caught:
        fetch(InceptionOptions(), print)
    path = path_of(InceptionOptions())
    assert str(caught.value).splitlines() == [
        f"{NAME} cannot be downloaded: no route to host",
        f"  in: {URL}",
        f"  try: the same command again; or fetch it by other means, and put it at {path}",
    ]
    serve(monkeypatch, b"half of it")
    with pytest.raises(DataError, match="is not torch-fidelity's file"):
        fetch(InceptionOptions(), print)
    assert list(path.parent.iterdir()) == []
