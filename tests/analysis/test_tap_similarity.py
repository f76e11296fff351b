"""`probebench similarity`: the matrix of two backbones, with features from the store as in a run."""

from __future__ import annotations

import json
import math

import pytest
import torch

from probebench.analysis.tap_similarity import compare_taps
from probebench.api import pool_map
from probebench.board.figures import style
from probebench.board.figures.similarity import plot_similarity
from probebench.planning.jobs import Job, Settings
from probebench.planning.points import RequestedPoints
from probebench.plugins.registry import resolve
from probebench.stats.cka import cka, cknna
from probebench.stats.tap_matrix import CKNNA_K
from probebench.testing.fakes import ToyBackbone, ToyDataset


class Other(ToyBackbone):
    """The same network on mirrored images, without noise levels."""

    def prepare(self, images):
        return super().prepare(images.flip(-1))

    def levels(self):
        return super().levels()[:1]

    def fingerprint(self):
        return super().fingerprint()[::-1]


class Blind(ToyBackbone):
    """Gives the same features for all images."""

    def prepare(self, images):
        return torch.zeros_like(super().prepare(images))

    def fingerprint(self):
        return "0" * 64


@pytest.fixture
def compare(lab):
    lab.backbone("other", lab.counting("other", Other))
    lab.backbone("blind", lab.counting("blind", Blind))

    def run(first="net", second="other", *, a=None, b=None, split="test", minibatch=None, limit=None, **shared):
        jobs = []
        for name, own in ((first, a), (second, b)):
            points = RequestedPoints(only_contender=first == second, **shared, **(own or {}))
            settings = Settings(precision="fp32", limit=limit)
            jobs.append(Job(resolve("backbone", name), resolve("dataset", "shades"), "features", (), points, settings))
        return compare_taps(*jobs, store=lab.folder / "store", split=split, minibatch=minibatch)

    return run


@pytest.fixture
def similarity(compare, lab, cli, monkeypatch):
    monkeypatch.chdir(lab.folder)
    return lambda *words: cli("similarity", *words, "--dataset", "shades", "--device", "cpu", "--precision", "fp32")


def by_hand(backbone, tap):
    images = torch.stack([ToyDataset().split("test").image(index) for index in range(30)])
    with torch.no_grad():
        found = backbone.forward(backbone.prepare(images), {tap})[tap]
    return pool_map(found, "spatial", "gap")


def test_the_matrix_is_that_of_the_features(compare):
    matrix = compare()
    assert (matrix.dataset, matrix.split, matrix.images) == ("shades", "test", 30)
    assert [str(point) for point in matrix.a.points] == ["early@clean@gap", "late@clean@gap"]
    assert matrix.a.points == matrix.b.points
    for i, tap in enumerate(("early", "late")):
        for j, other in enumerate(("early", "late")):
            x, y = by_hand(ToyBackbone(), tap), by_hand(Other(), other)
            assert matrix.cka[i][j] == pytest.approx(cka(x, y), abs=1e-5)
            assert matrix.cknna[i][j] == pytest.approx(cknna(x, y, CKNNA_K), abs=1e-4)


def test_a_tap_is_like_itself_and_the_matrix_of_a_backbone_with_itself_is_symmetric(compare, lab):
    matrix = compare(second="net")
    for values in (matrix.cka, matrix.cknna):
        assert [values[i][i] for i in range(2)] == pytest.approx([1, 1])
        assert values[0][1] == values[1][0] != 1
    assert lab.forwarded() == 30


def test_images_go_through_each_backbone_once_and_never_after_a_run(compare, lab):
    lab.run(levels=("clean",), baselines=False)
    lab.forwarded()
    assert compare().forwarded == lab.forwarded() == 30  # of `other`; the run has stored those of `net`
    assert compare().forwarded == lab.forwarded() == 0
    compare(split="train")
    assert lab.forwarded() == 60  # of `other` only


def test_taps_and_levels_of_both_sides(compare, lab):
    matrix = compare(second="net", a={"taps": ("late",), "levels": ("t=100", "clean")}, b={"taps": ("head", "late")})
    assert [f"{point.tap}@{point.level}" for point in matrix.a.points] == ["late@clean", "late@t=100"]
    assert [f"{point.tap}@{point.level}" for point in matrix.b.points] == ["late@clean", "head@clean"]
    assert len(matrix.cka) == len(matrix.cka[0]) == 2
    assert matrix.cka[0][0] == pytest.approx(1) != matrix.cka[1][0]
    assert lab.forwarded() == 30  # both sides in one pass


def test_a_backbone_without_noise_is_read_clean_beside_one_with_levels(compare):
    matrix = compare(levels=("t=10",))
    assert [{point.level for point in side.points} for side in (matrix.a, matrix.b)] == [{"t=10"}, {"clean"}]


def test_minibatches(compare):
    assert compare(minibatch=30).cka == compare().cka != compare(minibatch=10).cka
    assert compare(minibatch=10).cknna == compare().cknna


def test_a_blind_tap_has_no_similarity(compare, similarity):
    assert all(math.isnan(value) for row in compare(second="blind").cka for value in row)
    answer = similarity("net", "blind", "--taps", "early", "--json")
    assert json.loads(answer.out)["cka"]["values"] == [[None]]
    assert similarity("net", "blind", "--taps", "early").out.splitlines()[-1].split() == ["early", "-"]


def test_the_command_prints_both_tables(similarity, compare):
    answer = similarity("net", "other", "--taps", "early,late", "--taps", "late", "--limit", "24")
    matrix = compare(a={"taps": ("early", "late")}, b={"taps": ("late",)}, limit=24)
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "shades, 24 test images",
        "rows:    net at clean",
        "columns: other at clean",
        "",
        "linear CKA (unbiased)",
        "       late",
        f"early  {matrix.cka[0][0]:.3f}",
        f"late   {matrix.cka[1][0]:.3f}",
        "",
        "CKNNA (k = 10; 0.417 by chance)",
        "       late",
        f"early  {matrix.cknna[0][0]:.3f}",
        f"late   {matrix.cknna[1][0]:.3f}",
    ]


def test_json_states_what_was_compared(similarity, compare):
    document = json.loads(similarity("net", "other", "--levels", "clean,t=10", "--minibatch", "10", "--json").out)
    assert document["a"]["points"][1] == {"tap": "early", "level": "t=10", "pool": "gap"}
    assert document["b"]["fingerprint"] == Other().fingerprint()
    assert document["cka"]["minibatch"] == 10
    assert document["cka"]["values"] == [list(row) for row in compare(levels=("clean", "t=10"), minibatch=10).cka]
    assert document["cknna"]["k"] == 10
    assert (document["images"], document["split"], document["forwarded"]) == (30, "test", 60)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["nett", "other"],
            ["error: no backbone is called 'nett'", "  try: did you mean 'net'? (available: blind, net, other)"],
        ),
        (
            ["net", "other", "--split", "val"],
            ["error: the dataset has no split 'val'", "  in: --split", "  try: one of test, train"],
        ),
        (
            ["net", "net", "--levels", "t=11"],
            ["error: the backbone has no level 't=11'", "  in: --levels", "  try: one of clean, t=10, t=100"],
        ),
        (
            ["net", "other", "--limit", "9"],
            [
                "error: 9 images of test are too few to compare each with its 10 nearest neighbours",
                "  in: --limit",
                "  try: use 11 images or more",
            ],
        ),
        (
            ["net", "other", "--limit", "0"],
            ["error: --limit 0 leaves no image to measure", "  try: --limit 1 or more images per split"],
        ),
        (
            ["net", "other", "--minibatch", "3"],
            ["error: unbiased CKA needs minibatches of 4 images, not 3", "  try: --minibatch 4 or more"],
        ),
        (
            ["net", "other", *["--taps", "late"] * 3],
            ["error: --taps is given 3 times", "  try: give --taps once for both backbones, or once for each"],
        ),
        (
            ["net", "other", "--taps", "lat"],
            ["error: no tap is called 'lat'", "  in: --taps", "  try: did you mean 'late'?"],
        ),
    ],
)
def test_messages(similarity, words, lines):
    answer = similarity(*words)
    assert (answer.code, answer.out, answer.err.splitlines()) == (2, "", lines)


def test_the_figure_shows_both_matrices(compare):
    matrix = compare(taps=("early", "late"), a={"levels": ("clean", "t=10")})
    with style.styled():
        figure = plot_similarity(matrix)
        style.render(figure, "png")
    for axes, values, title in zip(
        figure.axes, (matrix.cka, matrix.cknna), ("linear CKA, unbiased", "CKNNA, k = 10"), strict=False
    ):
        where = {text.get_position(): text.get_text() for text in axes.texts}
        assert where == {(x + 0.5, y + 0.5): f"{values[y][x]:.2f}" for x in range(2) for y in range(4)}
        assert axes.get_title(loc="left") == title
        assert axes.yaxis_inverted()
        assert [label.get_text() for label in axes.get_xticklabels()] == ["early", "late"]
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert rows == ["early@clean", "early@t=10", "late@clean", "late@t=10"]
    assert "30 test images of shades; CKNNA by chance 0.333" in figure.get_supxlabel()


def test_the_command_writes_the_figure(similarity, lab):
    answer = similarity("net", "blind", "--out", "new/taps.png", "--json")
    assert (answer.code, answer.err) == (0, "wrote new/taps.png\n")
    assert json.loads(answer.out)["images"] == 30
    assert (lab.folder / "new/taps.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_another_format_is_refused_before_any_work(similarity, lab):
    answer = similarity("net", "other", "--out", "taps.jpg")
    assert answer.code == 2
    assert answer.err.splitlines()[0] == "error: figures cannot be written in the format of 'taps.jpg'"
    assert lab.forwarded() == 0
