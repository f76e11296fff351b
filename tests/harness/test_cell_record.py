"""Records of runs: equal in repeated runs, made again when damaged or failed."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from pydantic import Field

from probebench.api import Options, ProbebenchWarning
from probebench.records.files import read_record
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyFitted, ToyProbe, ToySplit
from probebench.util.errors import DataError, RecordError


def test_the_same_command_elsewhere_gives_equal_records_and_predictions(lab, comparable, files):
    found = []
    for place in ("one", "two"):
        results = lab.folder / place
        lab.run(seeds=(0, 1), results=results, store=lab.folder / f"store of {place}")
        predictions = {name: data for name, data in files(results).items() if name.endswith(".safetensors")}
        found.append((comparable(results), predictions))
    assert len(found[0][0]) == len(found[0][1]) == 2
    assert found[0] == found[1]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def empty(path):
    path.write_bytes(b"")


def alter_number(path):
    document = json.loads(path.read_text())
    document["metrics"]["top1"] |= {"value": 0.999, "low": 0.9, "high": 1.0}
    path.write_text(json.dumps(document))


def alter_identity(path):
    document = json.loads(path.read_text())
    document["id"] = "0" * 64
    path.write_text(json.dumps(document))


def alter_bytes(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("*.json", truncate),
        ("*.json", empty),
        ("*.json", alter_number),
        ("*.json", alter_identity),
        ("*.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("*.json", Path.unlink),
        ("*.predictions.safetensors", truncate),
        ("*.predictions.safetensors", alter_bytes),
        ("*.predictions.safetensors", Path.unlink),
    ],
)
def test_a_damaged_record_is_made_again_from_stored_features(lab, files, comparable, name, damage):
    lab.run()
    lab.calls.clear()
    before, predictions = comparable(lab.folder / "results"), sorted((lab.folder / "results").rglob("*.safetensors"))
    bytes_before = [path.read_bytes() for path in predictions]
    (damaged,) = (lab.folder / "results").rglob(name)
    damage(damaged)
    (cell,) = lab.run().cells
    assert cell.fresh
    assert lab.calls == []
    assert comparable(lab.folder / "results") == before
    assert [path.read_bytes() for path in predictions] == bytes_before


def test_cells_are_in_the_order_of_the_plan_even_if_some_were_finished(lab):
    lab.run(seeds=(1,))
    cells = lab.run(seeds=(0, 1, 2)).cells
    assert [cell.record.cell.seed for cell in cells] == [0, 1, 2]
    assert [cell.fresh for cell in cells] == [True, False, True]


def test_a_failed_cell_leaves_its_reason_and_a_later_success_removes_it(lab, files):
    state = {"broken": True}

    class Moody(ToyProbe):
        def search(self, train, val, *, metric, seed):
            if state["broken"]:
                raise ValueError("bad mood\nsecond line")
            return super().search(train, val, metric=metric, seed=seed)

    lab.probe("moody", Moody)
    failed, sound = lab.run(probe=("moody", "means")).cells
    assert (failed.record.status, sound.record.status) == ("error", "success")
    assert failed.path.name.endswith(".failed.json")
    assert read_record(failed.path).error.message.startswith("probe moody fails: ValueError: bad mood\n  try:")
    state["broken"] = False
    lab.calls.clear()
    mended, sound = lab.run(probe=("moody", "means")).cells
    assert (mended.fresh, sound.fresh) == (True, False)
    assert lab.calls == []  # the features are stored
    assert not failed.path.exists()
    assert len(files(lab.folder / "results")) == 4


def test_a_failed_cell_is_tried_again(lab):
    tried = []

    class Hopeless(ToyProbe):
        def search(self, train, val, *, metric, seed):
            tried.append(seed)
            raise ValueError("no")

    lab.probe("hopeless", Hopeless)
    for _ in range(2):
        assert len(lab.run(probe=("hopeless",)).failed) == 1
    assert tried == [0, 0]


def test_a_backbone_that_cannot_be_built_fails_its_cells_and_no_others(lab):
    def explode(options):
        raise RuntimeError("no weights")

    lab.backbone("mine", explode)
    result = lab.run(backbone=("mine", "net"), seeds=(0, 1))
    assert [cell.record.status for cell in result.cells] == ["error", "error", "success", "success"]
    record = result.cells[0].record
    assert record.error.message.splitlines()[0] == "backbone mine cannot be built: RuntimeError: no weights"
    assert record.cell.backbone.fingerprint is None


class Torn(ToySplit):
    """Image 17 cannot be read."""

    def image(self, index):
        if index == 17:
            raise DataError("truncated JPEG", where="photos/17.jpg")
        return super().image(index)

    def fingerprint(self):
        return "7" * 64


def test_an_image_that_cannot_be_read_is_named(lab):
    class Album(ToyDataset):
        def split(self, name):
            return Torn(name, self.sizes[name])

    lab.dataset("album", Album)
    torn, sound = lab.run(dataset=("album", "shades")).cells
    assert torn.record.error.type == "DataError"
    assert torn.record.error.message.splitlines()[:2] == [
        "image 17 of lab/album/train cannot be read: truncated JPEG",
        "  in: photos/17.jpg",
    ]
    assert sound.record.status == "success"


def bad_split(**methods):
    """Returns a dataset whose splits have these methods."""

    class Bad(ToyDataset):
        def split(self, name):
            return type("Bad", (ToySplit,), methods)(name, self.sizes[name])

    return Bad


def raises(*_):
    raise ValueError("index file is gone")


@pytest.mark.parametrize(
    ("methods", "kind", "message"),
    [
        ({"labels": raises}, "PluginError", "dataset bad cannot be read: ValueError: index file is gone"),
        ({"fingerprint": raises}, "PluginError", "dataset bad cannot be read: ValueError: index file is gone"),
        ({"fingerprint": lambda _: "v1"}, "PluginError", "fingerprint 'v1' is not a SHA-256 in hexadecimal"),
        ({"labels": lambda self: ToySplit.labels(self) + 1}, "DataError", "labels range from 1 to 3, and there are 3"),
        ({"labels": lambda self: ToySplit.labels(self)[1:]}, "DataError", "labels have shape (59,) for 60 images"),
        ({"__len__": lambda _: 0}, "DataError", "the split has no image"),
    ],
)
def test_a_dataset_that_breaks_its_contract_fails_its_cells_and_no_others(lab, methods, kind, message):
    lab.dataset("bad", bad_split(**methods))
    bad, sound = lab.run(dataset=("bad", "shades")).cells
    assert bad.record.error.type == kind
    assert bad.record.error.message.startswith(message)
    assert sound.record.status == "success"


@pytest.mark.parametrize("splits", [("train",), ("test",), ("train", "val")])
def test_a_dataset_needs_train_and_test(lab, splits):
    lab.dataset("partial", type("Partial", (ToyDataset,), {"splits": splits}))
    record = lab.record(dataset=("partial",))
    absent = "test" if "train" in splits else "train"
    assert record.error.message.splitlines()[0] == f"dataset partial has no split {absent}"


def test_a_fingerprint_that_is_not_a_sha256_is_refused(lab):
    lab.backbone("vague", type("Vague", (ToyBackbone,), {"fingerprint": lambda _: "latest"}))
    assert lab.record(backbone=("vague",)).error.message.startswith("fingerprint 'latest' is not a SHA-256")


def test_a_training_stage_of_another_type_is_refused(lab):
    flagged = type("Flagged", (ToyBackbone,), {"training_stage": True})
    lab.backbone("flagged", flagged)
    error = lab.record(backbone=("flagged",)).error
    assert error.type == "PluginError"
    assert error.message.splitlines() == [
        "training_stage is True",
        "  in: backbone flagged",
        "  try: set Backbone.training_stage to a probebench.api.TrainingStage or None",
    ]


def test_a_backbone_without_a_default_tap_is_an_error(lab):
    class Shy(ToyBackbone):
        def taps(self, image_size):
            return super().taps(image_size)[2:] * 2

    lab.backbone("shy", Shy)
    assert lab.record(backbone=("shy",)).error.message.splitlines()[0] == "the backbone has no default tap"


def test_features_that_are_not_finite_are_refused(lab):
    class Diverged(ToyBackbone):
        def extract(self, batch, points, *, seed):
            features = super().extract(batch, points, seed=seed)
            features[points[0]][batch.index == 4] = float("nan")
            return features

    lab.backbone("diverged", Diverged)
    record = lab.record(backbone=("diverged",))
    assert record.error.type == "FeatureError"
    assert record.error.message.startswith("early@clean@gap is NaN or infinite for image 4 of lab/shades/train")


def test_a_sigma_that_no_record_can_hold_fails_that_cell_only(lab):
    class Endless(ToyBackbone):
        def level(self, text):
            return type(super().level("clean"))(text, float("inf"))

        def noisy(self, batch, level, *, seed):
            return self.prepare(batch.images)

    lab.backbone("endless", Endless)
    result = lab.run(backbone=("endless", "net"), levels=("clean",))
    assert [cell.record.status for cell in result.cells] == ["error", "success"]
    assert result.cells[0].record.error.message.startswith("a value of means or endless does not fit in a record")


def test_warnings_of_components_are_recorded_once(lab):
    class Talker(ToyProbe):
        def search(self, train, val, *, metric, seed):
            warnings.warn(ProbebenchWarning("k is clamped to 54"), stacklevel=1)
            return super().search(train, val, metric=metric, seed=seed)

    class Doubter(ToyBackbone):
        def __init__(self, options):
            warnings.warn(ProbebenchWarning("these weights were trained on other images"), stacklevel=1)
            super().__init__(options)

    lab.probe("talker", Talker)
    lab.backbone("doubter", Doubter)
    record = lab.record(backbone=("doubter",), probe=("talker",))
    assert record.warnings == ("these weights were trained on other images", "k is clamped to 54")


def test_warnings_of_a_backbone_are_recorded_by_all_its_jobs(lab):
    """The backbone is built once, for two probes that read different points."""

    class Doubter(ToyBackbone):
        def __init__(self, options):
            warnings.warn(ProbebenchWarning("these weights were trained on other images"), stacklevel=1)
            super().__init__(options)

    lab.backbone("doubter", Doubter)
    lab.probe("maximal", ToyProbe, pool="max")
    records = [cell.record for cell in lab.run(backbone=("doubter",), probe=("means", "maximal")).cells]
    assert [record.warnings for record in records] == [("these weights were trained on other images",)] * 2


def test_other_warnings_reach_the_user_even_when_the_cell_fails(lab):
    class Old(ToyProbe):
        def search(self, train, val, *, metric, seed):
            warnings.warn("soon gone", FutureWarning, stacklevel=1)
            raise ValueError("no")

    lab.probe("old", Old)
    with pytest.warns(FutureWarning, match="soon gone"):
        assert lab.record(probe=("old",)).status == "error"


def test_a_class_absent_from_test_has_no_accuracy(lab):
    class TwoTestClasses(ToyDataset):
        def split(self, name):
            split = super().split(name)
            if name == "test":
                split.labels = lambda: ToySplit.labels(split).clamp(max=1)
            return split

    lab.dataset("partial", TwoTestClasses)
    record = lab.record(dataset=("partial",))
    assert record.status == "success"
    assert record.per_class[2] is None
    assert None not in record.per_class[:2]
    assert record.metrics["mean_per_class"].value == pytest.approx(sum(record.per_class[:2]) / 2)


def test_calibration_is_measured_where_scores_are_logits(lab):
    class Stating(ToyFitted):
        logits = True

    class StatingProbe(ToyProbe):
        def fit(self, train, params, *, seed):
            return Stating(super().fit(train, params, seed=seed).means)

    lab.probe("stating", StatingProbe)
    plain, stating = lab.record(), lab.record(probe=("stating",))
    assert "ece15" not in plain.metrics
    measure = stating.metrics["ece15"]
    assert 0 < measure.value < 1
    assert (measure.method, measure.higher_is_better) == (None, False)
    assert {name: stating.metrics[name] for name in plain.metrics} == plain.metrics


def test_top_5_of_two_classes_is_1(lab):
    class TwoClasses(ToyDataset):
        classes = ("dark", "light")

        def split(self, name):
            split = super().split(name)
            split.labels = lambda: ToySplit.labels(split).clamp(max=1)
            return split

    lab.dataset("two", TwoClasses)
    record = lab.record(dataset=("two",))
    assert len(record.per_class) == 2
    assert record.metrics["top5"].value == 1


def test_a_new_version_of_a_component_makes_new_records(lab):
    first = lab.run().cells[0]
    lab.probe("means", ToyProbe, version=2)
    second = lab.run().cells[0]
    assert second.fresh
    assert second.path != first.path
    assert second.record.protocol.hash != first.record.protocol.hash
    assert lab.forwarded() == 90  # the features are the same


def test_changed_weights_make_new_features_and_records(lab):
    lab.run()
    lab.calls.clear()
    lab.backbone("net", type("Retrained", (lab.counting("net"),), {"fingerprint": lambda _: "5" * 64}))
    (cell,) = lab.run().cells
    assert cell.fresh
    assert lab.forwarded() == 90


def test_titles_longer_than_a_file_name(lab):
    class Long(Options):
        checkpoint: str = Field("", description="a path")

    lab.backbone("net", lambda options: ToyBackbone(), options=Long)
    first, second = ("net:checkpoint=" + "/a/long/path" * 40 + end for end in "xy")
    cells = lab.run(backbone=(first, second), baselines=False).cells
    assert [cell.record.status for cell in cells] == ["success", "success"]
    assert cells[0].path != cells[1].path


def test_a_record_that_cannot_be_written_ends_the_run_and_keeps_earlier_records(lab, monkeypatch):
    lab.run(seeds=(0,))
    wrote = []

    def full(path, data):
        wrote.append(path.name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("probebench.records.files.write_bytes", full)
    with pytest.raises(RecordError, match="No space left on device"):
        lab.run(seeds=(0, 1, 2))
    assert len(wrote) == 1
    monkeypatch.undo()


def test_names_are_looked_up_before_a_folder_is_made(lab):
    with pytest.raises(Exception, match="no backbone"):
        lab.run(backbone=("nett",))
    assert not (lab.folder / "results").exists()
