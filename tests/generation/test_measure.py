"""Measures of generation: images are generated once, read by an extractor, and compared with real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from probebench.api import Options, ProbeSpec, SampleOptions, UsageError, hash63
from probebench.records import files
from probebench.records.schema import Record
from probebench.store.maintenance import collect_garbage, stored_items
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyMeasure


class GapOptions(SampleOptions):
    count: int = 5
    extractor: str = "net"


class Sampling(Options):
    shade: int = 128


class ArtistOptions(Options):
    learnt: bool = True


class Artist(ToyBackbone):
    def __init__(self, options=None):
        super().__init__()
        self.learnt = getattr(options, "learnt", True)

    def fingerprint(self):
        return super().fingerprint()[:-1] + str(int(self.learnt))


def picture(number, seed, shade):
    generator = torch.Generator().manual_seed(hash63(number, seed))
    return (torch.randint(-20, 20, (3, 8, 8), generator=generator) + shade).to(torch.uint8)


def painter(job, batch=2):
    shade = job.options.shade if job.backbone.learnt else 250
    for start in range(0, len(job.index), batch):
        index = job.index[start : start + batch]
        yield index, torch.stack([picture(number, job.seed, shade % 235) for number in index])


@pytest.fixture
def atelier(lab):
    """The laboratory with a generative backbone and a measure of generation; notes the numbers of generated images."""
    lab.generated = []

    def sampler(job):
        for index, images in lab.module.painter(job):
            lab.generated += index
            yield index, images

    lab.module.painter, lab.module.sampler = painter, sampler
    card = {"sampler": "laboratory_parts:sampler", "sampling": Sampling, "options": ArtistOptions}
    lab.backbone("artist", Artist, untrained=("learnt=false",), **card)
    lab.probe("gap", ToyMeasure, options=GapOptions, consumes="samples")
    lab.card = card
    return lab


def run(lab, *probes, **changes):
    settings = {"backbone": ("artist",), "probe": probes or ("gap:point=early@clean",), "baselines": False}
    return lab.run(**settings | changes)


def record_of(lab, *args, **changes):
    (cell,) = run(lab, *args, **changes).cells
    if cell.error:
        raise cell.error
    return files.read_record(cell.path)


def failure(lab, *args, **changes):
    (cell,) = run(lab, *args, **changes).cells
    assert cell.record.status == "error"
    return str(cell.error).splitlines()


def test_a_record_names_what_was_measured(atelier):
    record = record_of(atelier, "gap:count=6,sampling=[shade=90],point=early@clean")
    name = "gap@6/test30[net@early@clean]"
    assert (record.primary, list(record.metrics)) == (name, [name, "shade@6/test30[net@early@clean]"])
    assert record.generation
    assert (record.chosen, record.grid, record.predictions) == (None, (), None)
    assert {key: (part.split, part.count) for key, part in record.parts.items()} == {
        "reference": ("test", 30),
        "floor": ("train", 6),
    }
    samples = record.samples
    assert (samples.count, samples.sampling) == (6, {"shade": 90})
    assert (samples.extractor.title, samples.extractor.tap, samples.extractor.pool) == ("net", "early", "gap")
    assert record.timing.forwarded == 6
    measure = record.metrics[name]
    assert (measure.n, measure.method, measure.higher_is_better) == (6, None, False)
    assert 0 < measure.floor < measure.value


def test_the_values_of_generated_and_of_real_images_are_those_of_the_features(atelier):
    record = record_of(atelier)
    shades = record.metrics["shade@5/test30[net@early@clean]"]
    dataset, images = ToyDataset(), [picture(number, 0, 128) for number in range(5)]
    test = torch.stack([dataset.split("test").image(n) for n in range(30)]).double().mean()
    assert shades.value == pytest.approx(abs(float(torch.stack(images).double().mean() - test)), rel=1e-6)
    from probebench.extraction.subsets import limit

    split = dataset.split("train")
    baseline = torch.stack([split.image(n) for n in limit(split.labels(), 5).tolist()]).double().mean()
    assert shades.floor == pytest.approx(abs(float(baseline - test)), rel=1e-6)


def test_images_are_generated_once_for_all_measures_and_more_add_to_fewer(atelier):
    atelier.probe("gap-too", ToyMeasure, options=GapOptions, consumes="samples")
    result = run(atelier, "gap:point=early@clean", "gap-too:point=late@t=10")
    assert [cell.record.status for cell in result.cells] == ["success"] * 2
    assert atelier.generated == [0, 1, 2, 3, 4]
    assert result.forwarded == {("artist", "shades"): 5}
    assert not any(cell.fresh for cell in run(atelier, "gap:point=early@clean").cells)
    run(atelier, "gap:count=7,point=early@clean")
    assert atelier.generated == [0, 1, 2, 3, 4, 5, 6]
    fewer = record_of(atelier, "gap:count=3,point=early@clean")
    assert (fewer.samples.count, len(atelier.generated)) == (3, 7)


def test_another_seed_gives_other_images(atelier):
    cells = run(atelier, seeds=(0, 1)).cells
    assert len({cell.record.samples.fingerprint for cell in cells}) == 2
    assert len({next(iter(cell.record.metrics.values())).floor for cell in cells}) == 1


def test_an_interrupted_run_resumes_and_ends_in_the_same_record(atelier, comparable):
    def dies(job):
        yield next(iter(painter(job)))
        raise RuntimeError("power cut")

    atelier.module.painter = dies
    assert failure(atelier)[0].startswith("sampling from artist fails: RuntimeError: power cut")
    assert atelier.generated == [0, 1]
    atelier.module.painter = painter
    record_of(atelier)
    assert atelier.generated == [0, 1, 2, 3, 4]
    folder = atelier.folder / "uninterrupted"
    record_of(atelier, results=folder, store=atelier.folder / "another")
    there, again = comparable(atelier.folder / "results"), comparable(folder)
    for document in (*there.values(), *again.values()):
        document.pop("timing", None)
    assert there == again


def test_the_untrained_network_is_measured_too_and_fixed_baselines_are_left_out(atelier):
    atelier.backbone("grey", ToyBackbone, baseline=True)
    result = run(atelier, baselines=True)
    titles = [cell.record.cell.backbone.title for cell in result.cells]
    assert titles == ["artist", "artist:learnt=false"]
    assert [cell.record.cell.backbone.baseline for cell in result.cells] == [False, True]
    values = [next(iter(cell.record.metrics.values())).value for cell in result.cells]
    assert values[0] < values[1]


def test_a_smoke_run_uses_few_generated_and_few_real_images(atelier):
    record = record_of(atelier, "gap:count=20,point=early@clean", limit=4)
    assert (record.smoke, record.primary) == (True, "gap@4/test4[net@early@clean]")


def test_features_and_generation_in_one_run(atelier):
    result = run(atelier, "means", "gap:point=early@clean")
    assert [cell.record.generation for cell in result.cells] == [False, True]
    assert result.forwarded == {("artist", "shades"): 90 + 5}


def test_equal_options_give_the_same_cell(atelier):
    first = record_of(atelier, "gap:point=early@clean,extractor=[net],sampling=[shade=128]")
    assert record_of(atelier, "gap:sampling=shade=128,point=early@clean").id == first.id
    assert record_of(atelier, "gap:sampling=shade=129,point=early@clean").id != first.id


# Errors


def test_a_backbone_that_generates_no_images_is_refused_before_any_work(atelier):
    with pytest.raises(UsageError) as caught:
        run(atelier, backbone=("artist", "net"))
    assert str(caught.value).splitlines() == [
        "net generates no images, and gap:point=early@clean measures generated images",
        "  in: --backbone",
        "  try: run net in a separate command, without gap:point=early@clean",
    ]
    assert not (atelier.folder / "results").exists()


@pytest.mark.parametrize(("name", "option"), [("optimism", "--optimism"), ("soft_vote", "--soft-vote")])
def test_options_of_probes_of_features_are_refused(atelier, name, option):
    with pytest.raises(UsageError) as caught:
        run(atelier, **{name: True})
    assert str(caught.value).splitlines() == [
        f"{option} applies to probes of frozen features, and gap:point=early@clean measures generated images",
        f"  in: {option}",
        f"  try: run gap:point=early@clean in a separate command, without {option}",
    ]


def test_a_dataset_with_too_few_images_gives_no_value_for_real_images(atelier):
    record = record_of(atelier, "gap:count=40,reference=train,point=early@clean")
    assert record.metrics["gap@40/train60[net@early@clean]"].floor is None
    assert set(record.parts) == {"reference"}
    assert record.warnings == ("no value for real images: split test of shades has 30 images, and 40 are generated",)


def test_images_of_another_size_than_the_datasets(atelier):
    atelier.module.painter = lambda job: iter([(job.index, torch.zeros(5, 3, 16, 8, dtype=torch.uint8))])
    assert failure(atelier) == [
        "artist generates images of 16x8, and those of shades are 8x8",
        "  in: --dataset",
        "  try: name the dataset that the backbone was trained on, at its image size",
    ]


def test_images_of_several_sizes(atelier):
    atelier.module.painter = lambda job: (
        ([number], torch.zeros(1, 3, 8, 8 + number, dtype=torch.uint8)) for number in job.index
    )
    first, where, hint = failure(atelier)
    assert first == "image 1 is (8, 9), the first one (8, 8)"
    assert where.endswith("/images")
    assert hint == "  try: delete the folder, and run the same command again"


class Washed(Artist):
    """Prepares images from -1.1 to 1.1, so that generated images are washed out."""

    def prepare(self, images):
        return super().prepare(images) * 1.1


@pytest.mark.parametrize("where", ["generator", "extractor"])
def test_a_wrong_input_range_is_found_before_any_image_is_generated(atelier, where):
    atelier.backbone("washed", Washed, **atelier.card)
    changes = {"backbone": ("washed",)} if where == "generator" else {}
    assert failure(atelier, "gap:point=early@clean" + ",extractor=washed" * (where == "extractor"), **changes) == [
        "the input ranges from -1.1 to 1.1, not within -1 to 1",
        "  in: Washed.prepare",
        "  try: correct prepare(), or set input_range to the range that the network was trained on",
    ]
    assert atelier.generated == []


@pytest.mark.parametrize(
    ("probe", "lines"),
    [
        (
            "gap:extractor=nett",
            [
                "no backbone is called 'nett'",
                "  in: option extractor of gap",
                "  try: did you mean 'net'? (available: artist, net)",
            ],
        ),
        (
            "gap:point=middle",
            ["no tap is called 'middle'", "  in: option point of net, an extractor", "  try: one of early, late"],
        ),
        (
            "gap:point=early",
            [
                "the extractor has 3 noise levels, and a measure is computed at one",
                "  in: option point of net, an extractor",
                "  try: point=early@clean",
            ],
        ),
        (
            "gap:point=early@clean@cls",
            [
                "'cls' is not a pool for spatial features",
                "  in: option point of net, an extractor",
                "  try: one of gap, gridN, max, flat",
            ],
        ),
    ],
)
def test_a_wrong_extractor_or_point_is_refused(atelier, probe, lines):
    with pytest.raises(UsageError) as caught:
        run(atelier, probe)
    assert str(caught.value).splitlines() == lines


def test_options_that_the_sampler_does_not_have(atelier):
    assert failure(atelier, "gap:sampling=[shde=3],point=early@clean") == [
        "there is no option 'shde'",
        "  in: artist",
        "  try: did you mean 'shade'? (options: shade)",
    ]
    assert failure(atelier, "gap:sampling=fast,point=early@clean") == [
        "'fast' is not of the form option=value",
        "  in: option sampling",
        "  try: sampling=[steps=50]",
    ]


def test_a_measure_without_a_finite_number_fails(atelier):
    from probebench.api import Measured

    class Silent(ToyMeasure):
        def measure(self, generated, real):
            return {}

    class Endless(ToyMeasure):
        def measure(self, generated, real):
            return {"gap": Measured(float("nan"))}

    atelier.probe("silent", Silent, options=GapOptions, consumes="samples")
    atelier.probe("endless", Endless, options=GapOptions, consumes="samples")
    assert failure(atelier, "silent:point=early@clean") == [
        "measure() returns no number",
        "  in: Silent",
        "  try: return at least one number",
    ]
    assert failure(atelier, "endless:point=early@clean") == [
        "gap is nan with sd None",
        "  in: Endless",
        "  try: return finite numbers",
    ]


def test_generated_images_are_listed_in_the_store_and_may_be_removed(atelier):
    run(atelier)
    root = atelier.folder / "store"
    (item,) = [one for one in stored_items(root) if one.split == "samples"]
    [folder] = (root / "samples").iterdir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert (item.key, item.point, item.rows, item.size) == (folder.name, "seed 0", 5, size)
    assert item.backbone.startswith("artist ")
    (folder / "mine.txt").write_text("not of the store")
    for path in (folder / ".samples.json.tmp", folder / "images" / ".000009.png.tmp"):
        path.write_bytes(b"left by a run that was killed")
        os.utime(path, (0, 0))
    assert collect_garbage(root).files == 2
    everything = sum(one.size for one in stored_items(root))
    assert collect_garbage(root, max_size=everything).files == 0
    collect_garbage(root, max_size=0)
    assert [path.name for path in folder.rglob("*")] == ["mine.txt"]
    (folder / "mine.txt").unlink()
    atelier.generated.clear()
    assert record_of(atelier, "gap:count=6,point=early@clean").samples.count == 6
    assert atelier.generated == [0, 1, 2, 3, 4, 5]


def test_generated_images_without_a_readable_manifest_are_listed(atelier):
    run(atelier)
    root = atelier.folder / "store"
    [folder] = (root / "samples").iterdir()
    (folder / "samples.json").write_text("{")
    (item,) = [one for one in stored_items(root) if one.split == "samples"]
    assert (item.backbone, item.point, item.rows) == ("?", "?", 5)


def test_an_interrupted_removal_leaves_a_set_of_fewer_images(atelier, monkeypatch):
    run(atelier)
    root = atelier.folder / "store"
    unlink, calls = Path.unlink, []

    def cut_short(path, **options):
        calls.append(path)
        if path.suffix == ".png" and sum(one.suffix == ".png" for one in calls) == 3:
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", cut_short)
        with pytest.raises(KeyboardInterrupt):
            collect_garbage(root, max_size=0)
    atelier.generated.clear()
    assert record_of(atelier, "gap:count=6,point=early@clean").samples.count == 6
    assert len(atelier.generated) == 3  # the two that were removed, and the sixth


def test_a_damaged_image_names_its_file(atelier):
    run(atelier)
    [folder] = (atelier.folder / "store" / "samples").iterdir()
    (folder / "images" / "000001.png").write_bytes(b"no picture")
    lines = failure(atelier, "gap:count=6,point=early@clean")
    assert lines[0].startswith("the image cannot be read")
    assert lines[1].endswith("000001.png")


def test_the_spec_of_a_probe_is_checked_for_what_it_consumes():
    common = {"name": "gap", "factory": "a:b", "summary": "s"}
    with pytest.raises(ValueError, match="gap consumes 'images', not 'features', 'samples' or 'backbone'"):
        ProbeSpec(consumes="images", **common)
    with pytest.raises(
        TypeError,
        match="gap consumes samples, with options of type NoOptions: options derive from",
    ):
        ProbeSpec(consumes="samples", **common)
    with pytest.raises(TypeError, match="gap consumes features"):
        ProbeSpec(options=GapOptions, **common)


def test_a_record_of_both_kinds_is_not_valid(atelier):
    document = record_of(atelier).model_dump(mode="json")
    with pytest.raises(ValueError, match="a measure of generated images has no candidates"):
        Record.model_validate({**document, "candidates": {"taps": [], "levels": [], "pool": "gap"}})
    with pytest.raises(ValueError, match="a finished cell needs samples"):
        Record.model_validate({**document, "samples": None})


# On the command line


GAP = "gap:point=early@clean"


def test_the_report_shows_the_value_beside_that_of_real_images(atelier, probebench):
    answer = probebench("--backbone", "artist", "--probe", GAP, "--seeds", "0,1")
    assert answer.code == 0
    head, _, header, first, *_ = answer.out.splitlines()
    assert head == f"shades, {GAP}: 5 generated images, compared with 30 images of test"
    assert header.split("  ")[0] == "metric"
    assert "real images" in header
    assert "sd over seeds" in header
    assert first.startswith("gap@5/test30[net@early@clean]")
    assert "20 images forwarded" in answer.out


def test_a_dry_run_shows_no_points(atelier, probebench):
    answer = probebench("--backbone", "artist", "--probe", GAP, "--dry-run", "--json", "--no-baselines")
    [cell] = answer.json["cells"]
    assert (cell["probe"], cell["points"], cell["state"]) == (GAP, None, "to run")


def test_download_fetches_the_extractor(atelier, probebench, monkeypatch):
    fetched = []
    monkeypatch.setattr(
        "probebench.plugins.downloads.fetch_missing", lambda components: fetched.extend(one.title for one in components)
    )
    assert probebench("--backbone", "artist", "--probe", GAP, "--download").code == 0
    assert fetched == ["shades", "artist", "net"]


def test_records_of_generation_are_not_compared_image_by_image(atelier, cli):
    path = run(atelier).cells[0].path
    answer = cli("compare", str(path), str(path))
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "error: a record that measures generated images has no predictions to compare",
        f"  in: {path}",
        "  try: probebench leaderboard build shows such records side by side",
    ]
