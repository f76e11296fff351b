"""`probebench confusion`: the matrix shows the predictions, and an old record gives a clear error."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from safetensors.numpy import load_file, save_file

from probebench.board.collect import load_one
from probebench.board.figures import confusion, style
from probebench.records.files import read_predictions_and_labels, read_record, write_predictions

LABELS = np.array([0] * 80 + [1] * 100 + [2] * 20)
GIVEN = np.array([0] * 80 + [1] * 40 + [2] * 60 + [9] * 20)


@pytest.fixture
def labelled(save_record):
    """A record with 120 of 200 images right, whose predictions are those above."""

    def one(given=GIVEN, labels=LABELS, names=None):
        path = save_record(correct=given == labels)
        write_predictions(path, given, labels)
        return rewrite(path, names)

    return one


def rewrite(path, names=None):
    """Makes the predictions beside a record its own, and its classes others."""
    document = json.loads(path.read_text())
    file = path.with_suffix(".predictions.safetensors")
    document["predictions"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    if names:
        document["cell"]["dataset"]["classes"] = names
        document["per_class"] = []
    path.write_text(json.dumps(document))
    return path


def change(path, **arrays):
    file = path.with_suffix(".predictions.safetensors")
    save_file({name: array for name, array in (load_file(file) | arrays).items() if array is not None}, file)
    return rewrite(path)


def test_true_classes_are_kept(labelled):
    path = labelled()
    given, labels = read_predictions_and_labels(read_record(path), path)
    assert given.dtype == labels.dtype == np.uint16
    assert given.tolist() == GIVEN.tolist()
    assert labels.tolist() == LABELS.tolist()


def test_cells_are_shares_of_the_true_class(labelled):
    with style.styled():
        figure = confusion.plot_confusion(load_one(labelled()))
        style.render(figure, "png")
    axes = figure.axes[0]
    [mesh] = [artist for artist in axes.collections if isinstance(artist, QuadMesh)]
    shares = np.ma.filled(mesh.get_array(), np.nan).reshape(10, 10)
    assert shares[:3].tolist() == [[1, *[0] * 9], [0, 0.4, 0.6, *[0] * 7], [*[0] * 9, 1]]
    assert np.isnan(shares[3:]).all()  # classes without images
    where = {text.get_position(): text.get_text() for text in axes.texts if text.get_text()}
    assert where == {(0.5, 0.5): "100", (1.5, 1.5): "40", (2.5, 1.5): "60", (9.5, 2.5): "100"}
    names = list(read_record(labelled()).cell.dataset.classes)
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "200 test images, seed 0, top-1 60.0 %" in figure.get_supxlabel()


@pytest.mark.parametrize(("classes", "numbered"), [(20, True), (21, False), (100, False)])
def test_shares_are_written_up_to_twenty_classes(labelled, classes, numbered):
    with style.styled():
        figure = confusion.plot_confusion(load_one(labelled(names=[f"class {number}" for number in range(classes)])))
        style.render(figure, "png")
    assert any(text.get_text() for text in figure.axes[0].texts) == numbered
    assert len(figure.axes[0].get_xticklabels()) == classes


def test_a_small_share_is_shown_as_less_than_one(labelled):
    labels = np.zeros(1000, dtype=int)
    given = labels.copy()
    given[:4], given[4:20] = 1, 2
    with style.styled():
        figure = confusion.plot_confusion(load_one(labelled(given, labels)))
    assert [text.get_text() for text in figure.axes[0].texts][:4] == ["98", "<1", "2", ""]


def test_the_command_writes_the_figure(cli, labelled, tmp_path):
    path, out = labelled(), tmp_path / "new" / "confusion.png"
    answer = cli("confusion", str(path), "--out", str(out))
    assert (answer.code, answer.out, answer.err) == (0, f"wrote {out}\n", "")
    first = out.read_bytes()
    assert first.startswith(b"\x89PNG")
    assert cli("confusion", str(path), "--out", str(out)).code == 0
    assert out.read_bytes() == first


def test_a_record_without_true_classes_is_an_error_with_a_remedy(cli, labelled, tmp_path):
    path = change(labelled(), label=None)
    answer = cli("confusion", str(path), "--out", str(tmp_path / "confusion.png"))
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "error: the predictions were written by a version of probebench that did not store the true classes",
        f"  in: {path}",
        "  try: delete the record and run its command again",
    ]
    assert cli("check", str(path)).code == 0
    assert "cannot be told apart" in cli("compare", str(path), str(path)).out


@pytest.mark.parametrize("labels", [LABELS[::-1].copy(), LABELS[:-1], LABELS + 10 * (GIVEN != LABELS)])
def test_labels_that_contradict_the_record_are_an_error(cli, labelled, tmp_path, labels):
    path = change(labelled(), label=labels.astype(np.uint16))
    answer = cli("confusion", str(path), "--out", str(tmp_path / "confusion.png"))
    assert answer.code == 1
    assert (
        answer.err.splitlines()[0] == "error: the predictions contradict their labels, or the 10 classes of the record"
    )


def test_a_file_of_another_kind_is_refused(cli, labelled, tmp_path):
    answer = cli("confusion", str(labelled()), "--out", str(tmp_path / "confusion.jpg"))
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "error: figures cannot be written in the format of 'confusion.jpg'",
        f"  in: {tmp_path / 'confusion.jpg'}",
        "  try: use a file name that ends in .png or .svg",
    ]
