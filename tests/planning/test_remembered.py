"""Descriptions of components are remembered, and built again when anything that they depend on has changed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field
from tests.fixtures.lab import MODULE

from probebench.api import (
    BackboneSpec,
    Level,
    Options,
    Point,
    ProbebenchWarning,
    SampleOptions,
    Tap,
    TrainingStage,
    no_files,
)
from probebench.planning import remembered
from probebench.planning.description import BackboneDescription, DatasetDescription
from probebench.planning.points import ResolvedPoints
from probebench.plugins.registry import installed
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyMeasure, ToySplit

FILES = {"files": f"{MODULE}:files"}


class NetOptions(Options):
    weights: str = Field("weights.bin", description="a file")


class Workshop:
    """A backbone with a file of weights and a dataset with a folder of images, which note that they are built."""

    def __init__(self, lab):
        self.lab, self.folder, self.built = lab, lab.folder, []
        self.weights, self.photos = self.folder / "weights.bin", self.folder / "photos"
        self.source = self.folder / "plugin.py"
        self.weights.write_bytes(b"1234")
        self.photos.mkdir()
        (self.photos / "one.png").write_bytes(b"1")
        self.source.write_text("")
        lab.module.__spec__ = ModuleSpec(MODULE, None, origin=str(self.source))
        lab.module.files = lambda options: [self.weights if isinstance(options, NetOptions) else self.photos]
        lab.backbone("net", self.net, options=NetOptions, **FILES)
        lab.dataset("shades", self.shades, **FILES)

    def net(self, options):
        self.built.append("net")
        backbone, digest = ToyBackbone(), hashlib.sha256(self.weights.read_bytes()).hexdigest()
        backbone.fingerprint = lambda: digest
        return backbone

    def shades(self, options):
        self.built.append("shades")
        content = "".join(f"{path.name} {path.read_bytes()}" for path in sorted(self.photos.iterdir()))
        digest = hashlib.sha256(content.encode()).hexdigest()

        class Split(ToySplit):
            def fingerprint(self):
                return digest

        class Photos(ToyDataset):
            def split(self, name):
                return Split(name, self.sizes[name])

        return Photos(train=12, test=6)

    def built_by(self, start, **changes):
        """The components that are built while `start` runs."""
        self.built.clear()
        start(**changes)
        return self.built

    @property
    def descriptions(self):
        """The files of the remembered descriptions."""
        return sorted((self.folder / "store" / "descriptions").glob("*.json"))


@pytest.fixture
def workshop(lab, monkeypatch):
    """A `Workshop` in which files may be as young as they are."""
    monkeypatch.setattr(remembered, "_SETTLED_NS", 0)
    return Workshop(lab)


def test_a_second_run_builds_neither_backbone_nor_dataset(lab, workshop):
    assert workshop.built_by(lab.run) == ["shades", "net"]
    assert workshop.built_by(lab.run) == []
    assert [cell.fresh for cell in lab.run().cells] == [False]
    assert len(workshop.descriptions) == 2


def test_nor_does_it_build_an_extractor(lab, workshop):
    class GapOptions(SampleOptions):
        count: int = 4
        extractor: str = "reader"
        point: str = "early@clean"

    def reader(options):
        workshop.built.append("reader")
        return ToyBackbone()

    lab.module.no_files = no_files
    lab.module.sampler = lambda job: iter([(job.index, ToySplit("train", 4).image(0).repeat(4, 1, 1, 1))])
    lab.backbone("artist", workshop.net, options=NetOptions, sampler=f"{MODULE}:sampler", **FILES)
    lab.backbone("reader", reader, files=f"{MODULE}:no_files")
    lab.probe("gap", ToyMeasure, options=GapOptions, consumes="samples")
    run = {"backbone": ("artist",), "probe": ("gap",), "baselines": False}
    assert workshop.built_by(lab.run, **run) == ["shades", "net", "reader"]
    assert workshop.built_by(lab.run, **run) == []
    assert [cell.fresh for cell in lab.run(**run).cells] == [False]


def test_a_new_cell_is_the_same_with_remembered_descriptions(lab, workshop, comparable):
    lab.run()
    assert workshop.built_by(lab.run, seeds=(0, 1)) == ["shades", "net"]
    lab.run(seeds=(0, 1), results=lab.folder / "again", store=lab.folder / "empty")
    found, expected = comparable(lab.folder / "results"), comparable(lab.folder / "again")
    for document in (*found.values(), *expected.values()):
        document.pop("timing", None)
    assert found == expected


def change_weights(workshop):
    """Of the same size, with the modification time set back."""
    before = workshop.weights.stat()
    workshop.weights.write_bytes(b"1235")
    os.utime(workshop.weights, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_image(workshop):
    """Of the same size, with the modification time set back."""
    before = (workshop.photos / "one.png").stat()
    (workshop.photos / "one.png").write_bytes(b"2")
    os.utime(workshop.photos / "one.png", ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_image(workshop):
    """By another file of the same size and times, as `rsync --times` does."""
    before = (workshop.photos / "one.png").stat()
    (workshop.folder / "new").write_bytes(b"2")
    os.utime(workshop.folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (workshop.folder / "new").replace(workshop.photos / "one.png")


def add_image(workshop):
    (workshop.photos / "two.png").write_bytes(b"2")


def rename_image(workshop):
    (workshop.photos / "one.png").rename(workshop.photos / "uno.png")


def remove_image(workshop):
    (workshop.photos / "one.png").unlink()


@pytest.mark.parametrize(
    ("change", "built"),
    [
        (change_weights, ["net"]),
        (change_image, ["shades"]),
        (replace_image, ["shades"]),
        (add_image, ["shades"]),
        (rename_image, ["shades"]),
        (remove_image, ["shades"]),
    ],
)
def test_a_changed_file_is_read_again(lab, workshop, change, built):
    lab.run()
    change(workshop)
    assert workshop.built_by(lab.plan) == built
    [[cell]] = lab.plan()
    assert cell.done is None, "the record is that of the file before"
    lab.run()
    assert workshop.built_by(lab.run) == []


def test_files_below_a_folder_count_and_a_link_to_a_folder_above_ends(lab, workshop):
    (workshop.photos / "circle").symlink_to(workshop.photos, target_is_directory=True)
    (workshop.photos / "deep").mkdir()
    lab.dataset("shades", lambda options: workshop.built.append("shades") or ToyDataset(), **FILES)
    lab.run()
    assert workshop.built_by(lab.run) == []
    (workshop.photos / "deep" / "two.png").write_bytes(b"2")
    assert workshop.built_by(lab.plan) == ["shades"]


def test_a_missing_file_may_appear(lab, workshop):
    lab.module.files = lambda options: [workshop.folder / "later.bin"]
    lab.run()
    assert workshop.built_by(lab.run) == []
    (workshop.folder / "later.bin").write_bytes(b"1")
    assert workshop.built_by(lab.plan) == ["shades", "net"]


def test_another_option_is_another_description(lab, workshop):
    lab.run()
    assert workshop.built_by(lab.plan, backbone=("net:weights=other.bin",)) == ["net"]
    lab.run(backbone=("net:weights=other.bin",))
    assert workshop.built_by(lab.run, backbone=("net:weights=other.bin",)) == []
    assert workshop.built_by(lab.run) == []


@pytest.mark.parametrize("changes", [{"taps": ("late",)}, {"levels": ("clean",)}, {"pool": "max"}])
def test_other_points_are_another_description(lab, workshop, changes):
    lab.run()
    assert workshop.built_by(lab.plan, **changes) == ["net"]
    [[cell]] = lab.plan(**changes)
    assert (cell.done, cell.points) == (None, 6 if "pool" in changes else 3 if "taps" in changes else 2)
    [[cell]] = lab.plan()
    assert (cell.done.fresh, cell.points) == (False, 6)


def test_another_version_of_the_component(lab, workshop):
    lab.run()
    spec = lab.specs[BackboneSpec, "net"]
    lab.specs[BackboneSpec, "net"] = dataclasses.replace(spec, version=2)
    installed.cache_clear()
    assert workshop.built_by(lab.plan) == ["net"]


def test_another_source_file_of_the_plugin(lab, workshop):
    lab.run()
    workshop.source.write_text("# a comment")
    assert workshop.built_by(lab.plan) == ["shades", "net"]


@pytest.fixture
def install(lab, monkeypatch):
    """A function that installs a version of a distribution in place of the one before."""
    site = lab.folder / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def run(name, version, *requires):
        for old in site.glob(f"{name}-*.dist-info/METADATA"):
            old.unlink()
            old.parent.rmdir()
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {text}" for text in requires)]
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
        importlib.invalidate_caches()

    return run


@pytest.mark.parametrize(("name", "requires"), [("lab", ("colours>=2",)), ("colours", ())])
def test_another_version_of_the_plugins_distribution_or_of_one_that_it_requires(lab, workshop, install, name, requires):
    install("lab", "1.0", "colours>=2")
    install("colours", "2.0")
    lab.run()
    assert workshop.built_by(lab.run) == []
    install(name, "3.0", *requires)
    assert workshop.built_by(lab.plan) == ["shades", "net"]


@pytest.mark.parametrize("package", ["torch", "numpy", "probebench"])
def test_another_version_of_a_library_or_of_probebench(lab, workshop, monkeypatch, package):
    lab.run()
    if package == "probebench":
        monkeypatch.setattr("probebench.__version__", "99.0")
    else:
        version = remembered.metadata.version
        monkeypatch.setattr(remembered.metadata, "version", lambda name: "99.0" if name == package else version(name))
    assert workshop.built_by(lab.plan) == ["shades", "net"]


def edit(change):
    """Returns a function that changes the JSON document of a file."""

    def run(path):
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return run


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[1, 2]"),
        edit(lambda document: document["description"].update(warnings=["altered"])),
        edit(lambda document: document.update(description=[])),
        edit(lambda document: document.pop("sha256")),
        edit(lambda document: document.update(format=remembered.FORMAT + 1)),
        edit(lambda document: document.update(key={"dataset": "another"})),
        edit(lambda document: document.update(state="0" * 64)),
        Path.unlink,
    ],
    ids=["cut", "empty", "binary", "list", "altered", "type", "unsigned", "format", "key", "state", "removed"],
)
def test_a_damaged_description_is_made_again(lab, workshop, damage):
    lab.run()
    before = [path.read_bytes() for path in workshop.descriptions]
    for path in workshop.descriptions:
        damage(path)
    assert workshop.built_by(lab.run) == ["shades", "net"]
    assert [path.read_bytes() for path in workshop.descriptions] == before
    assert [cell.fresh for cell in lab.run().cells] == [False]


@pytest.mark.parametrize("unknown", ["no function", "None"])
def test_a_component_whose_files_are_not_known_is_built_in_every_run(lab, workshop, unknown):
    lab.module.unknown = lambda options: None
    card = {"files": f"{MODULE}:unknown"} if unknown == "None" else {}
    lab.backbone("net", workshop.net, options=NetOptions, **card)
    lab.run()
    assert workshop.built_by(lab.run) == ["net"]
    assert len(workshop.descriptions) == 1


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (lambda options: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda options: [3], "TypeError: "),
        (lambda options: 3, "TypeError: "),
    ],
)
def test_a_function_that_fails_is_an_error_of_the_plugin(lab, workshop, function, cause):
    lab.module.failing = function
    lab.backbone("net", workshop.net, options=NetOptions, files=f"{MODULE}:failing")
    lab.backbone("other", ToyBackbone)
    failed, sound = lab.run(backbone=("net", "other")).cells
    error = failed.record.error
    assert error.type == "PluginError"
    what, where, hint = error.message.splitlines()
    assert what.startswith(f"the files of net cannot be listed: {cause}")
    assert (where, hint) == ("  in: lab 1.0", "  try: run again with --debug for the traceback")
    assert sound.record.status == "success"
    assert workshop.built == ["shades"]


def test_a_missing_function_is_an_error_of_the_plugin(lab, workshop):
    lab.backbone("net", workshop.net, options=NetOptions, files=f"{MODULE}:absent")
    error = lab.record().error
    assert error.type == "PluginError"
    assert f"{MODULE}:absent" in error.message
    assert "lab 1.0" in error.message


def test_nothing_is_remembered_when_a_file_changes_while_the_component_is_built(lab, workshop):
    def net(options):
        backbone = workshop.net(options)
        workshop.weights.write_bytes(b"12345")
        return backbone

    lab.backbone("net", net, options=NetOptions, **FILES)
    lab.run()
    lab.backbone("net", workshop.net, options=NetOptions, **FILES)
    assert workshop.built_by(lab.plan) == ["net"]
    lab.run()
    assert workshop.built_by(lab.run) == []


def test_nothing_is_remembered_of_a_file_that_has_just_changed(lab, workshop, monkeypatch):
    """Where the clock of the file system is coarse, it could change again without another time."""
    monkeypatch.setattr(remembered, "_SETTLED_NS", 3600 * 10**9)
    lab.run()
    assert workshop.descriptions == []
    assert workshop.built_by(lab.plan) == ["shades", "net"]


def test_a_store_that_cannot_be_written_only_forgets(lab, workshop):
    (lab.folder / "store").mkdir()
    (lab.folder / "store" / "descriptions").write_text("a file")
    assert lab.record().status == "success"
    assert workshop.built_by(lab.run) == ["shades", "net"]


def test_warnings_of_a_remembered_component_are_recorded_and_not_printed(lab, workshop):
    def doubter(options):
        warnings.warn(ProbebenchWarning("trained on other images"), stacklevel=1)
        return workshop.net(options)

    lab.backbone("net", doubter, options=NetOptions, **FILES)
    lab.run()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProbebenchWarning)
        cells = lab.run(seeds=(0, 1)).cells
    assert [cell.record.warnings for cell in cells] == [("trained on other images",)] * 2
    assert caught == []


@pytest.mark.parametrize("sigma", [float("inf"), np.float32(0.5)], ids=["infinite", "numpy"])
def test_a_description_that_json_cannot_hold_is_not_remembered(lab, workshop, sigma):
    class Odd(ToyBackbone):
        def levels(self):
            return (Level("odd", sigma),)

    lab.backbone("net", lambda options: workshop.built.append("net") or Odd(), options=NetOptions, **FILES)
    lab.plan()
    assert workshop.built_by(lab.plan) == ["net"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_is_not_utf_8(lab, workshop):
    (workshop.photos / os.fsdecode(b"caf\xe9.png")).write_bytes(b"2")
    lab.dataset("shades", lambda options: workshop.built.append("shades") or ToyDataset(), **FILES)
    assert lab.record().status == "success"
    assert workshop.built_by(lab.run) == []


def test_a_component_of_a_module_without_sources_is_built_in_every_run(lab, workshop):
    """As one that a notebook or a script defines: its module is ``__main__``, and has no spec."""
    lab.module.__spec__ = None
    lab.run()
    assert workshop.built_by(lab.run) == ["shades", "net"]


def test_a_plan_writes_nothing(lab, workshop):
    """`probebench run --dry-run` leaves no folder."""
    lab.plan()
    assert not (lab.folder / "store").exists()


def test_descriptions_survive_json():
    tap = Tap("mid", "spatial", (8, 4, 4), cost=0.5, aliases=("middle",), default=False)
    levels = (Level("clean", 0.0), Level("t=10", 0.1), Level("unknown", None))
    points = tuple(Point("mid", level.id, "gap") for level in levels)
    for backbone in (
        BackboneDescription(
            fingerprint="0" * 64,
            points=ResolvedPoints({"mid": tap}, {level.id: level for level in levels}, points),
            extractor_point=None,
            parameters=3,
            training_stage=TrainingStage(recipe="1" * 64, seed=3, epoch=2, images=100),
            prefers_bf16=True,
            warnings=("a warning",),
        ),
        BackboneDescription("0" * 64, None, Point("mid", "clean", "max"), None, None, False, ()),
    ):
        again = BackboneDescription.from_json(json.loads(json.dumps(backbone.to_json())))
        assert again == backbone
        assert again.points is None or list(again.points.levels) == [level.id for level in levels]
    dataset = DatasetDescription({"train": "0" * 64, "test": "1" * 64}, ("a", "b"), (8, 16), "top1", False, ("doubt",))
    assert DatasetDescription.from_json(json.loads(json.dumps(dataset.to_json()))) == dataset
