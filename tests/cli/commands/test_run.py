"""`probebench run`: its output, messages and exit codes."""

from __future__ import annotations

import errno
import json
import os
import warnings

import pytest
from pydantic import Field

from probebench.api import Options, UsageError
from probebench.cli.report import _spread
from probebench.plugins import registry
from probebench.plugins.discovery import discover
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe


class Knobs(Options):
    share: float = Field(0.5, ge=0, le=1, description="a share")


@pytest.fixture(autouse=True)
def _parts(lab):
    lab.probe("knob", ToyProbe, options=Knobs)


def assert_message(answer, code, *lines):
    """Checks the exit code and the message, and that nothing else is printed: no output, no traceback."""
    assert answer.code == code
    assert answer.out == ""
    assert answer.err.splitlines() == list(lines)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["--backbone", "nett"],
            ["error: no backbone is called 'nett'", "  try: did you mean 'net'? (available: net)"],
        ),
        (
            ["--dataset", "shade"],
            ["error: no dataset is called 'shade'", "  try: did you mean 'shades'? (available: shades)"],
        ),
        (
            ["--probe", "zebra"],
            ["error: no probe is called 'zebra'", "  try: one of knob, means"],
        ),
        (
            ["--probe", "net"],
            ["error: no probe is called 'net', but a backbone is", "  try: one of knob, means"],
        ),
        (
            ["--probe", "knob:shares=1"],
            ["error: there is no option 'shares'", "  in: knob", "  try: did you mean 'share'? (options: share)"],
        ),
        (
            ["--probe", "knob:share=much"],
            ["error: option share=much should be a number", "  in: knob", "  try: probebench show knob"],
        ),
        (
            ["--limit", "0"],
            ["error: --limit 0 leaves no image to measure", "  try: --limit 1 or more images per split"],
        ),
        (["--taps", "lat"], ["error: no tap is called 'lat'", "  in: --taps", "  try: did you mean 'late'?"]),
        (["--taps", "hea"], ["error: no tap is called 'hea'", "  in: --taps", "  try: did you mean 'head'?"]),
        (["--taps", "7"], ["error: no tap is called '7'", "  in: --taps", "  try: one of early, late"]),
        (
            ["--taps", "early,,late"],
            ["error: 'early,,late' is not a list of words", "  in: --taps", "  try: write them as a,b,c"],
        ),
        (
            ["--levels", "t=11"],
            ["error: the backbone has no level 't=11'", "  in: --levels", "  try: one of clean, t=10, t=100"],
        ),
        (
            ["--pool", "mean"],
            ["error: 'mean' is not a pool", "  in: --pool", "  try: one of gap, gridN, max, cls, flat"],
        ),
        (
            ["--pool", "cls"],
            ["error: 'cls' is not a pool for spatial features", "  in: --pool", "  try: one of gap, gridN, max, flat"],
        ),
        (
            ["--seeds", "x"],
            ["error: 'x' is not a list of whole numbers", "  in: --seeds", "  try: write them as 0,1,2"],
        ),
        (["--seeds", "0,-1"], ["error: seed -1 is negative", "  in: --seeds", "  try: --seeds 0,1,2"]),
        (["--seeds", "1,1"], ["error: 1 is repeated in '1,1'", "  in: --seeds", "  try: write 1"]),
        (
            ["--precision", "fp7"],
            ["error: 'fp7' is not a precision", "  in: --precision", "  try: one of auto, bf16, fp32"],
        ),
        (["--device", "cuda:9"], ["error: there is no device 'cuda:9'", "  in: --device", "  try: one of auto, cpu"]),
        (["--device", "cuda"], ["error: there is no device 'cuda'", "  in: --device", "  try: one of auto, cpu"]),
    ],
)
def test_bad_usage_is_reported_before_any_work(lab, probebench, monkeypatch, arguments, lines):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert_message(probebench(*arguments), 2, *lines)
    assert lab.calls == []
    assert not list((lab.folder).rglob("*.json"))


def test_a_value_that_is_not_a_number(probebench):
    answer = probebench("--limit", "few")
    assert answer.code == 2
    assert answer.err.startswith("error: Invalid value for '--limit': ")
    assert answer.err.endswith("\n  try: probebench run --help\n")


def test_images_that_a_backbone_cannot_take(lab, probebench):
    class Choosy(ToyBackbone):
        def taps(self, image_size):
            raise UsageError("images of 8x8 are too small", where="choosy", hint="32x32")

    lab.backbone("choosy", Choosy)
    lines = ["error: images of 8x8 are too small", "  in: choosy", "  try: 32x32"]
    answer = probebench("--backbone", "choosy")
    assert answer.code == 1
    assert answer.err.splitlines() == [*lines, "1 of 1 cell failed; its record holds the reason"]
    assert "0 cells run, 0 already done, 1 failed; 0 images forwarded" in answer.out
    answer = probebench("--backbone", "choosy", "--backbone", "net", "--json")
    assert answer.code == 1
    assert [cell["record"]["status"] for cell in document(answer)["cells"]] == ["error", "success"]
    assert answer.err.splitlines() == [*lines, "1 of 2 cells failed; its record holds the reason"]


@pytest.mark.parametrize(("option", "below"), [("--results", ""), ("--results", "/deep/er")])
def test_a_results_folder_that_cannot_be_written(lab, probebench, option, below):
    file = lab.folder / "file"
    file.write_text("")
    reason = os.strerror(errno.ENOTDIR if below else errno.EEXIST)
    place = f"{file}{below}"
    assert_message(
        probebench(option, place),
        2,
        f"error: the folder cannot be written to: {reason}",
        f"  in: --results {place}",
        "  try: give --results a folder in which you may create files",
    )
    assert lab.calls == []


def test_a_read_only_results_folder(lab, probebench, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    answer = probebench()
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "error: the folder cannot be written to: Permission denied",
        "  in: --results results",
        "  try: give --results a folder in which you may create files",
    ]
    assert lab.calls == []


def test_a_store_that_is_a_file(lab, probebench):
    (lab.folder / "file").write_text("")
    answer = probebench("--store", str(lab.folder / "file"))
    assert_message(
        answer,
        1,
        "error: the feature store is a file",
        f"  in: {lab.folder / 'file'}",
        "  try: give --store the path of a folder",
    )


def test_a_store_below_a_file_fails_the_cell_with_the_reason(lab, probebench):
    (lab.folder / "file").write_text("")
    answer = probebench("--store", str(lab.folder / "file" / "store"))
    assert answer.code == 1
    assert "a parent of the path is a file" in answer.err
    assert "give --store a folder in which you may create files" in answer.err


def test_a_full_disk_ends_the_run_with_the_reason(lab, probebench, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("probebench.records.files.write_bytes", full)
    answer = probebench("--no-baselines")
    assert answer.code == 1
    lines = answer.err.splitlines()
    assert lines[0] == "error: the file cannot be written: No space left on device"
    assert lines[1].startswith("  in: results/shades/net/")
    assert lines[2] == "  try: free some space, or give --results a folder in which you may create files"
    assert len(lines) == 3


def test_a_cell_that_fails_is_reported_and_the_others_are_run(lab, probebench):
    class Broken(ToyProbe):
        def search(self, train, val, *, metric, seed):
            raise ZeroDivisionError("division by zero")

    lab.probe("broken", Broken)
    answer = probebench("--probe", "broken", "--probe", "means", "--seeds", "0,1")
    assert answer.code == 1
    assert answer.err.splitlines() == [
        "error: probe broken fails: ZeroDivisionError: division by zero",
        "  try: run again with --debug for the traceback",
        "2 of 4 cells failed; their records hold the reason",
    ]
    assert "shades, means:" in answer.out
    assert "2 cells run, 0 already done, 2 failed; 90 images forwarded" in answer.out
    assert len(list((lab.folder / "results").rglob("*.failed.json"))) == 2


def test_debug_prints_the_traceback_of_a_failed_cell(lab, probebench):
    class Broken(ToyProbe):
        def search(self, train, val, *, metric, seed):
            raise ZeroDivisionError("division by zero")

    lab.probe("broken", Broken)
    answer = probebench("--probe", "broken", "--debug")
    assert answer.code == 1
    assert "Traceback (most recent call last)" in answer.err
    assert 'raise ZeroDivisionError("division by zero")' in answer.err


def test_a_factory_that_raises_is_a_failed_cell(lab, probebench):
    def explode(options):
        raise RuntimeError("no weights")

    lab.backbone("mine", explode)
    answer = probebench("--backbone", "mine", "--backbone", "net")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "error: backbone mine cannot be built: RuntimeError: no weights"
    assert answer.err.splitlines()[-1] == "1 of 2 cells failed; its record holds the reason"
    assert "net" in answer.out


def test_a_requested_component_of_a_broken_plugin_is_a_plugin_problem(site, cli, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "discover", discover)  # in place of that of the laboratory
    site.add(
        "half",
        "@hookimpl\ndef probebench_backbones():\n"
        "    yield BackboneSpec(name='mine', factory='absent_module:Net', summary='', requires=('absent-thing>=2',))\n",
    )
    site.load()
    answer = cli("run", "--backbone", "mine", "--dataset", "x", "--probe", "y", "--results", str(tmp_path / "results"))
    assert answer.code == 3
    assert answer.out == ""
    assert answer.err.startswith("error: backbone 'mine' cannot be used: ")
    assert len(answer.err.splitlines()) == 3


def document(answer):
    assert answer.out.startswith("{")
    return json.loads(answer.out)


def test_json_is_one_document_even_if_components_print_and_warn(lab, probebench):
    class Loud(ToyProbe):
        def search(self, train, val, *, metric, seed):
            print("fitting ...")  # noqa: T201
            warnings.warn("soon gone", FutureWarning, stacklevel=1)
            return super().search(train, val, metric=metric, seed=seed)

    lab.probe("loud", Loud)
    with pytest.warns(FutureWarning):
        answer = probebench("--probe", "loud", "--json")
    assert answer.code == 0
    found = document(answer)
    assert set(found) == {"cells", "forwarded", "seconds"}
    (cell,) = found["cells"]
    assert cell["fresh"] is True
    assert cell["record"]["status"] == "success"
    assert found["forwarded"] == [{"backbone": "net", "dataset": "shades", "images": 90}]
    assert "fitting ..." in answer.err


def test_json_of_a_failed_run_is_still_a_document(lab, probebench):
    lab.backbone("mine", lambda options: None)
    answer = probebench("--backbone", "mine", "--json")
    assert answer.code == 1
    assert document(answer)["cells"][0]["record"]["status"] == "error"
    assert answer.err.startswith("error: the factory of backbone mine returns a NoneType")


def test_json_of_bad_usage_leaves_stdout_empty(probebench):
    assert_message(
        probebench("--json", "--limit", "0"),
        2,
        "error: --limit 0 leaves no image to measure",
        "  try: --limit 1 or more images per split",
    )


def test_a_dry_run_prints_the_plan_and_changes_no_file(lab, probebench, files):
    probebench("--seeds", "0")
    lab.calls.clear()
    before = files(lab.folder)
    answer = probebench("--dry-run", "--seeds", "0,1")
    assert answer.code == 0
    assert [line.split() for line in answer.out.splitlines()] == [
        ["dataset", "backbone", "probe", "seed", "points", "state"],
        ["shades", "net", "means", "0", "6", "done"],
        ["shades", "net", "means", "1", "6", "to", "run"],
    ]
    assert answer.err == ""
    assert lab.calls == []
    assert files(lab.folder) == before


def test_a_dry_run_makes_no_folder(lab, probebench):
    assert probebench("--dry-run").code == 0
    assert not (lab.folder / "results").exists()
    assert not (lab.folder / "store").exists()


def test_a_dry_run_reports_cells_that_cannot_run(lab, probebench):
    lab.backbone("mine", lambda options: None)
    answer = probebench("--dry-run", "--backbone", "mine", "--backbone", "net")
    assert answer.code == 1
    assert "cannot run" in answer.out
    assert "to run" in answer.out
    assert answer.err.startswith("error: the factory of backbone mine returns a NoneType")
    assert document(probebench("--dry-run", "--json", "--backbone", "mine"))["cells"][0]["state"] == "cannot run"


def test_no_progress_bar_is_shown_without_a_terminal(probebench):
    answer = probebench()
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    assert "\r" not in answer.out


def test_a_broken_file_of_the_store_is_reported_in_one_line(lab, probebench):
    probebench()
    shard = sorted((lab.folder / "store").rglob("*.safetensors"))[0]
    shard.write_bytes(b"")
    answer = probebench("--results", "again")
    assert answer.code == 0
    (line,) = answer.err.splitlines()
    assert line.startswith(f"warning: {shard} is truncated or altered")
    assert "computed again" in line


def test_warnings_of_records_are_printed_after_the_results(lab, probebench):
    from probebench.api import ProbebenchWarning

    class Talker(ToyProbe):
        def search(self, train, val, *, metric, seed):
            warnings.warn(ProbebenchWarning("k is clamped to 54"), stacklevel=1)
            return super().search(train, val, metric=metric, seed=seed)

    lab.probe("talker", Talker)
    assert probebench("--probe", "talker", "--seeds", "0,1").err == "warning: k is clamped to 54\n"


def test_the_report_shows_the_map_the_number_and_the_next_command(probebench):
    lines = probebench("--seeds", "0,1").out.splitlines()
    assert lines[0] == "shades, means: 54 train, 6 val, 30 test images"
    assert lines[2] == "net: top-1 on val in %, by tap and noise level (* chosen)"
    assert lines[3].split() == ["tap", "clean", "t=10", "t=100"]
    assert [line.split()[0] for line in lines[4:6]] == ["early", "late"]
    assert sum(line.count("*") for line in lines[4:6]) >= 1
    heading = "On test, measured once at the point chosen on val (top-1 in %, mean of 2 seeds, 95 % interval):"
    assert heading in lines
    assert any(line.startswith("2 cells run, 0 already done; 90 images forwarded") for line in lines)
    assert lines[-2].startswith("record: results/shades/net/means-seed0-")


def test_the_next_command_works_twice(probebench, cli):
    import shlex

    last = probebench().out.splitlines()[-1]
    words = shlex.split(last.removeprefix("next:"))
    assert words[0] == "probebench"
    for _ in range(2):
        assert cli(*words[1:]).code == 0
        probebench("--seeds", "1")


def test_a_smoke_run_is_marked(probebench):
    assert probebench("--limit", "15").out.splitlines()[0].endswith("images (smoke run)")


@pytest.fixture
def config(lab):
    def write(text):
        path = lab.folder / "run.toml"
        path.write_text(text)
        return str(path)

    return write


WHOLE = """
backbone = ["net"]
dataset = "shades"
probe = ["means", "knob:share=0.25"]
taps = ["late"]
levels = ["clean", "t=10"]
pool = "max"
seeds = [1, 2]
limit = 20
noise_seed = 3
precision = "fp32"
device = "cpu"
baselines = false
results = "from-file"
store = "store-from-file"
"""


def test_a_config_file_sets_the_options(lab, probebench, config):
    answer = probebench("--config", config(WHOLE), "--json", config=True)
    assert answer.code == 0, answer.err
    cells = document(answer)["cells"]
    assert [(cell["record"]["cell"]["probe"]["title"], cell["record"]["cell"]["seed"]) for cell in cells] == [
        ("means", 1),
        ("means", 2),
        ("knob:share=0.25", 1),
        ("knob:share=0.25", 2),
    ]
    record = cells[0]["record"]
    assert record["candidates"] == {"taps": ["late"], "levels": ["clean", "t=10"], "pool": "max"}
    assert (record["cell"]["limit"], record["cell"]["noise_seed"]) == (20, 3)
    assert cells[0]["path"].startswith("from-file/")
    assert (lab.folder / "store-from-file").is_dir()


def test_the_command_line_overrides_the_config_file(probebench, config):
    arguments = ["--seeds", "5", "--probe", "means", "--limit", "25", "--results", "mine"]
    answer = probebench("--config", config(WHOLE), "--json", *arguments, config=True)
    (cell,) = document(answer)["cells"]
    assert cell["path"].startswith("mine/")
    assert (cell["record"]["cell"]["seed"], cell["record"]["cell"]["limit"]) == (5, 25)
    assert cell["record"]["candidates"]["taps"] == ["late"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("seed = 1", "unknown key 'seed'", "did you mean 'seeds'?"),
        ("limit = '5'", "limit = '5' is not a whole number", "limit = 20"),
        ("limit = 2.5", "limit = 2.5 is not a whole number", "limit = 20"),
        ("limit = true", "limit = True is not a whole number", "limit = 20"),
        ("baselines = 'no'", "baselines = 'no' is not true or false", "baselines = true"),
        ("pool = 3", "pool = 3 is not a string", 'pool = "..."'),
        ("results = 3", "results = 3 is not a string", 'results = "..."'),
        ("seeds = [0, 'x']", "seeds is not a list of whole numbers", "seeds = [0, 1, 2]"),
        ("seeds = true", "seeds is not a list of whole numbers", "seeds = [0, 1, 2]"),
        ("backbone = [1]", "backbone is not a list of strings", 'backbone = ["...", "..."]'),
        ("taps = 3", "taps is not a list of strings", 'taps = ["...", "..."]'),
    ],
)
def test_a_config_file_that_is_wrong(probebench, config, text, message, hint):
    path = config(text)
    lines = [f"error: {message}", f"  in: {path}", *([f"  try: {hint}"] if hint else [])]
    assert_message(probebench("--config", path), 2, *lines)


@pytest.mark.parametrize("name", ["backbone", "dataset", "probe", "seeds"])
def test_an_empty_list_is_refused(probebench, config, name):
    others = {"backbone": "net", "dataset": "shades", "probe": "means", "seeds": 0}
    text = "".join(f"{key} = {value!r}\n" for key, value in others.items() if key != name)
    answer = probebench("--config", config(f"{text}{name} = []"), config=True)
    assert_message(answer, 2, f"error: --{name} is empty, so there is nothing to run", f"  try: give --{name} a value")


def test_a_config_file_that_is_missing_or_not_toml(lab, probebench, config):
    absent = str(lab.folder / "absent.toml")
    assert_message(
        probebench("--config", absent),
        2,
        "error: the config file cannot be read: No such file or directory",
        f"  in: {absent}",
    )
    answer = probebench("--config", config("limit = "))
    assert (answer.code, len(answer.err.splitlines())) == (2, 2)
    assert answer.err.startswith("error: the config file is not TOML: ")


def test_a_warning_of_more_neighbours_than_images_is_printed_and_recorded(lab, probebench):
    from probebench.api import ProbeSpec
    from probebench_probes.options import KnnOptions

    lab.specs[ProbeSpec, "knn"] = ProbeSpec(
        name="knn", factory="probebench_probes.neighbours.knn:Knn", options=KnnOptions, summary="neighbours"
    )
    answer = probebench("--probe", "knn:ks=5+500")
    assert answer.code == 0
    assert answer.err == "warning: knn: k = 500 is clamped to k = 54, the number of train images\n"
    (path,) = (lab.folder / "results").rglob("*.json")
    assert json.loads(path.read_text())["warnings"] == ["knn: k = 500 is clamped to k = 54, the number of train images"]


def test_an_interrupted_run_names_the_way_to_resume(lab, probebench):
    class Slow(ToyProbe):
        def search(self, train, val, *, metric, seed):
            raise KeyboardInterrupt

    lab.probe("slow", Slow)
    message = "interrupted; run the same command again to resume (at most 1,024 images are read again)"
    assert_message(probebench("--probe", "slow"), 130, message)


def test_a_dataset_without_a_test_split(lab, probebench):
    lab.dataset("partial", type("Partial", (ToyDataset,), {"splits": ("train",)}))
    answer = probebench("--dataset", "partial")
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "error: dataset partial has no split test"


def test_several_seeds_have_a_spread_and_students_interval(probebench):
    lines = [" ".join(line.split()) for line in probebench("--seeds", "0,1").out.splitlines()]
    assert any(line.endswith("sd over seeds t-interval over seeds") for line in lines)
    # The 0.975 quantile of Student's t with 2 degrees of freedom is 4.3027: 0.6 +- 4.3027 * 0.1 / sqrt(3).
    assert _spread([0.5, 0.6, 0.7]) == ["10.00", "35.2 to 84.8"]
    assert _spread([0.5]) == ["", ""]
