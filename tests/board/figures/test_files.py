"""Figures show the values of the records, and the same records give the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from probebench.board.collect import load
from probebench.board.figures import compare, epochs, heatmap, style
from probebench.board.figures.data import figure_data
from probebench.board.figures.files import outputs, write
from probebench.stats.intervals import accuracy_interval
from probebench.util.errors import UsageError

FID = "fid@2k/test10k[inception]"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def save(save_record, images):
    """Writes a record of a checkpoint; its accuracies grow with the epoch."""

    def one(epoch, *, recipe="on", run=0, right=100, title="", **changed):
        grid = {(tap, level): 0.3 + 0.01 * epoch + 0.1 * t - 0.05 * (level == "t=50")
                for t, tap in enumerate(("down.0", "mid", "up.1")) for level in ("t=0", "t=50")}  # fmt: skip
        return save_record(
            title or f"ddpm:checkpoint=runs/{recipe}-{run}/epoch-{epoch:04d}",
            correct=images(right + epoch),
            trained=(recipe, run, epoch),
            **{"grid": grid, "level": "t=0", **changed},
        )

    return one


def plotted(figure, axes=0):
    """Label or colour, and points, of the lines with markers."""
    found = [line for line in figure.axes[axes].lines if line.get_marker() not in ("None", "_", "|", None)]
    return [list(zip(*map(np.ndarray.tolist, map(np.asarray, line.get_data())), strict=True)) for line in found]


def footnote(figure):
    return figure.get_supxlabel()


def texts(figure):
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def only(records):
    [data] = figure_data(load(records))
    return data


def test_a_training_is_its_epochs_in_order(save, records):
    for epoch in (10, 2, 1):
        for seed in (0, 1):
            save(epoch, seed=seed)
    [curve] = only(records).curves
    assert curve.label == "ddpm"
    assert [point.epoch for point in curve.points] == [1, 2, 10], "by number, not by name"
    assert [[row.seeds for row in point.rows] for point in curve.points] == [[(0, 1)]] * 3


def test_the_figure_of_epochs_shows_every_block_and_the_measured_value(save, save_record, images, records):
    for epoch in (1, 2, 4):
        save(epoch)
    save_record("pixels", baseline=True, correct=images(40))
    data = only(records)
    with style.styled():
        figure = epochs.plot_epochs(data, data.curves[0])
    down, mid, up, test = plotted(figure)
    assert down == [(e, pytest.approx(0.3 + 0.01 * e)) for e in (1, 2, 4)], "the best level of the block, on val"
    assert mid[0][1] == pytest.approx(0.41)
    assert up[0][1] == pytest.approx(0.51)
    assert test == [(e, (100 + e) / 200) for e in (1, 2, 4)]
    [bars] = figure.axes[0].collections
    ends = [tuple(segment[:, 1]) for segment in bars.get_segments()]
    assert ends == [pytest.approx(accuracy_interval(100 + e, 200)) for e in (1, 2, 4)]
    assert texts(figure) == {"down.0", "mid", "up.1", "test", "pixels"}
    assert len(figure.axes) == 1


def test_a_metric_of_generated_images_has_a_second_axis_for_every_probe(save, records):
    for epoch in (1, 2):
        save(epoch)
        save(epoch, probe="fid", distances={FID: 80.0 / epoch})
    knn = only(records)
    [curve] = knn.curves
    assert epochs.generation_metrics(curve) == [FID]
    with style.styled():
        figure = epochs.plot_epochs(knn, curve, FID)
    assert plotted(figure, axes=1) == [[(1, 80.0), (2, 40.0)]]
    assert figure.axes[1].get_ylabel().startswith("fid (crosses)")
    assert FID in footnote(figure)
    assert "real images" not in footnote(figure), "no value of real images is known"
    names = {path.name for path in outputs(records, Path("out"))}
    assert {"epochs-ddpm.svg", "epochs-ddpm-fid-2k-test10k-inception.svg"} <= names


def test_the_metric_of_real_images_is_a_line_below_the_curve(save, records):
    for epoch in (1, 2):
        save(epoch)
        save(epoch, probe="fid", distances={FID: 80.0 / epoch}, floor=5.0 + epoch)
    knn = only(records)
    with style.styled():
        figure = epochs.plot_epochs(knn, knn.curves[0], FID)
    [real_images] = [line for line in figure.axes[1].lines if line.get_marker() == "None"]
    assert real_images.get_ydata() == [6.5, 6.5], "the mean of the records'"
    assert "real images" in footnote(figure)


@pytest.mark.parametrize(("last", "scale"), [(9.0, "linear"), (7.0, "log")])
def test_a_metric_that_falls_to_a_tenth_has_a_logarithmic_axis(save, records, last, scale):
    for epoch, distance in ((1, 80.0), (2, last)):
        save(epoch)
        save(epoch, probe="fid", distances={FID: distance})
    knn = only(records)
    with style.styled():
        figure = epochs.plot_epochs(knn, knn.curves[0], FID)
    assert figure.axes[1].get_yscale() == scale


def test_a_metric_of_other_weights_or_another_dataset_is_not_shown(save, records):
    for epoch in (1, 2):
        save(epoch)
        save(epoch, probe="fid", distances={FID: 1.0}, dataset="other")
        save(epoch, probe="fid", distances={FID: 1.0}, fingerprint="others", name=f"other{epoch}")
    for data in figure_data(load(records)):
        if (data.newest.cell.dataset.title, data.newest.protocol.name) == ("scattered-digits", "knn"):
            assert epochs.generation_metrics(data.curves[0]) == []


def test_trainings_that_differ_in_their_seed_are_one_line_with_a_band(save, records):
    for run, right in ((0, 100), (1, 120)):
        for epoch in (1, 2):
            save(epoch, run=run, right=right)
            save(epoch, recipe="off", run=run, right=right + 10,
                 title=f"ddpm:checkpoint=runs/off-{run}/epoch-000{epoch},attention=false")  # fmt: skip
    data = only(records)
    assert [curve.label for curve in data.curves] == ["ddpm", "ddpm:attention=false"]
    with style.styled():
        figure = compare.plot_epochs(data)
    on, off = plotted(figure)
    assert on == [(1, pytest.approx(111 / 200)), (2, pytest.approx(112 / 200))]
    assert off[0][1] == pytest.approx(121 / 200)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (pytest.approx(101 / 200), pytest.approx(122 / 200))
    names = {path.stem for path in outputs(records, Path("out"))}
    assert names == {
        "epochs-ddpm",
        "epochs-ddpm-attention-false",
        "compare-epochs",
        "compare-blocks",
        *(f"levels-ddpm-epoch-2-seed-{run}" for run in (0, 1)),
        *(f"levels-ddpm-attention-false-epoch-2-seed-{run}" for run in (0, 1)),
    }


def test_the_untrained_network_beside_several_series_is_one(save, save_record, records):
    for run in (0, 1):
        for epoch in (1, 2):
            save(epoch, run=run)
        title = f"ddpm:checkpoint=runs/on-{run}/epoch-0001,weights=random"
        save_record(title, baseline=True, fingerprint="untrained")
    assert [final.label for final in only(records).backbones] == ["ddpm, epoch 2", "ddpm:weights=random"]


def test_networks_with_one_name_have_different_labels(save, records):
    for recipe in ("wide", "narrow"):
        for epoch in (1, 2):
            save(epoch, recipe=recipe)
    labels = [curve.label for curve in only(records).curves]
    assert len(set(labels)) == 2
    assert all(label.startswith("ddpm #") for label in labels)


def test_blocks_side_by_side_have_bands_over_seeds(save_record, records):
    for name in ("ddpm", "ddpm:attention=false"):
        for seed in (0, 1):
            save_record(name, seed=seed, grid={(tap, "t=0"): 0.5 + 0.1 * seed for tap in ("down.0", "mid", "up.1")})
    save_record("pixels", grid={("pixels", "clean"): 0.2}, tap="pixels", baseline=True)
    data = only(records)
    [family] = compare.families(data)
    assert [final.label for final in family] == ["ddpm", "ddpm:attention=false"], "one tap is no line"
    with style.styled():
        figure = compare.plot_blocks(data, family)
    assert plotted(figure)[0] == [(x, pytest.approx(0.55)) for x in range(3)]
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (pytest.approx(0.5), pytest.approx(0.6))


def test_the_heat_map_shows_every_number_with_contrast(save_record, records):
    save_record("ddpm")
    data = only(records)
    [(label, (row,))] = [(final.label, final.rows) for final in data.backbones]
    with style.styled():
        figure = heatmap.plot_heat_map(data, label, row)
        axes = figure.axes[0]
        mesh = axes.collections[0]
        cells = mesh.get_cmap()(mesh.norm(mesh.get_array().ravel()))[:, :3]
    numbers = [text.get_text() for text in axes.texts]
    assert numbers == ["40.0", "50.0", "60.0", "45.0", "55.0", "65.0"]
    assert [text.get_text() for text in axes.texts if text.get_weight() == "bold"] == ["65.0"], "the chosen one"
    low, high = (100 * end for end in accuracy_interval(140, 200))
    assert footnote(figure).splitlines() == [
        "validation accuracy (n = 100, chance 10 %)",
        f"frame: chosen point, 70.0 % on test ({low:.1f} to {high:.1f})",
    ]
    for text, cell in zip(axes.texts, cells, strict=True):
        assert contrast(to_rgb(text.get_color()), cell) > 4.5, f"{text.get_text()} cannot be read"


def test_the_caption_of_a_heat_map_states_how_many_seeds_chose_the_point(save_record, records):
    save_record("ddpm", seed=0, method=None)
    save_record("ddpm", seed=1, method=None)
    save_record("ddpm", seed=2, method=None, tap="mid")
    data = only(records)
    with style.styled():
        figure = heatmap.plot_heat_map(data, "ddpm", data.backbones[0].rows[0])
    assert footnote(figure).splitlines() == [
        "validation accuracy (n = 100, chance 10 %, mean of 3 seeds)",
        "frame: point chosen by 2 of 3 seeds, 70.0 % on test",
    ]


def luminance(rgb):
    return float(
        np.dot([0.2126, 0.7152, 0.0722], [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb])
    )


def contrast(one, other):
    """WCAG 2.1, contrast ratio: 4.5 is what small text needs."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_numbers_are_readable_on_every_colour_of_the_map(save_record, records):
    save_record("ddpm", grid={(f"tap.{x}", f"t={y}"): (10 * x + y + 1) / 100 for x in range(10) for y in range(10)},
                tap="tap.9", level="t=9")  # fmt: skip
    data = only(records)
    with style.styled():
        figure = heatmap.plot_heat_map(data, "ddpm", data.backbones[0].rows[0])
        mesh = figure.axes[0].collections[0]
        cells = mesh.get_cmap()(mesh.norm(mesh.get_array().ravel()))[:, :3]
    worst = min(contrast(to_rgb(t.get_color()), c) for t, c in zip(figure.axes[0].texts, cells, strict=True))
    assert worst > 4.4


def test_lines_differ_in_more_than_colour():
    taps = [*(f"down.{n}" for n in range(4)), "mid", *(f"up.{n}" for n in range(4))]
    looks = [style.line_of(number, tap, taps) for number, tap in enumerate(taps)]
    assert len({(look["marker"], look["linestyle"]) for look in looks}) == len(taps)
    assert [look["linestyle"] for look in looks] == ["--"] * 4 + [":"] + ["-"] * 4


def test_names_of_lines_that_end_together_do_not_overlap(save, records):
    grid = {(f"up.{n}", "t=0"): 0.5 for n in range(6)}
    for epoch in (1, 2):
        save(epoch, grid=grid, tap="up.0")
    data = only(records)
    with style.styled():
        figure = epochs.plot_epochs(data, data.curves[0])
        figure.savefig(os.devnull, format="png")
        boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without its leading line
    boxes.sort(key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(boxes))


SCRIPT = (
    "from pathlib import Path; from probebench.board.figures.files import *; "
    "write(outputs(Path('records'), Path('fresh')))"
)


def test_equal_records_give_equal_bytes_in_any_process(save, tmp_path):
    for epoch in (1, 2):
        save(epoch)
    settings = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1", "MPLBACKEND": "svg"}
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True, cwd=tmp_path, env=settings)
    fresh = {path: path.read_bytes() for path in (tmp_path / "fresh").rglob("*.*")}
    assert len(fresh) == 4
    assert outputs(tmp_path / "records", tmp_path / "fresh") == fresh, "this process has another hash seed"
    assert write(fresh) == [], "nothing to write"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"limit": 10}, "smoke run on 10 images per split"),
        ({"dirty": True}, "made from uncommitted source"),
        ({"failure": "X"}, "failed: X"),
    ],
)
def test_records_that_boards_exclude_are_not_plotted(save_record, records, changes, reason):
    save_record(**changes)
    with pytest.raises(UsageError, match=f"the records give no figure: {reason}"):
        outputs(records, Path("out"))


def test_one_row_with_one_point_gives_no_figure(save_record, records):
    save_record(grid={("mid", "t=0"): 0.5}, tap="mid", level="t=0")
    with pytest.raises(UsageError, match="they hold one row with one tap or level"):
        outputs(records, Path("out"))


def test_without_matplotlib_the_error_says_what_to_install(save_record, records, monkeypatch):
    save_record()
    monkeypatch.setattr("probebench.board.figures.files.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="not installed") as raised:
        outputs(records, Path("out"))
    assert raised.value.hint == "pip install 'probebench[plot]'"


def test_a_file_in_place_of_the_folder_is_an_error(save_record, records, tmp_path):
    save_record()
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="the figure cannot be written"):
        write(outputs(records, tmp_path / "out"))


def test_the_command(cli, save_record, records, tmp_path, monkeypatch):
    save_record()
    monkeypatch.chdir(tmp_path)
    answer = cli("plot", "--records", "records")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        f"wrote plots/scattered-digits/knn/levels-ddpm.{kind}" for kind in ("svg", "png")
    ]
    assert cli("plot", "--records", "records").out == "all figures are up to date\n"
    assert cli("plot", "--records", "nowhere").code == 2
