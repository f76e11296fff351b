"""From a name to a component: finding it, its options, its title, building it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probebench.plugins.discovery import Discovery
from probebench.plugins.registry import Component, Registry, installed, load_target, resolve
from probebench.util.errors import PluginError, UsageError

SOURCE = """
from typing import Literal
from pydantic import Field, model_validator

class Knobs(Options):
    flag: bool = Field(True, description="a switch")
    widths: tuple[int, ...] = Field((32, 64), description="channels")
    rate: float = Field(0.1, gt=0, le=1, description="a rate")
    grid: Literal["full"] | int = Field("full", description="a grid")
    path: str = Field("", description="a file")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="knob", factory="fake_factories:make", summary="", options=Knobs, version=3)
    yield ProbeSpec(name="plain", factory="fake_factories:make", summary="")
    yield ProbeSpec(name="needy", factory="fake_factories:make", summary="", requires=("absent-thing>=2",))
"""


def spec(name: str, factory: str = "fake_factories:make") -> str:
    return (
        "@hookimpl\ndef probebench_probes():\n"
        f"    yield ProbeSpec(name={name!r}, factory={factory!r}, summary='a probe')\n"
    )


@pytest.fixture
def registry(site) -> Registry:
    site.add("fake", SOURCE)
    return site.registry()


def fails(expected: type[Exception], action, *arguments) -> list[str]:
    """The lines of the error: never more than three."""
    with pytest.raises(expected) as caught:
        action(*arguments)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    return lines


def test_entries_are_sorted_and_carry_their_origin(registry):
    entries = registry.entries("probe")
    assert [entry.qualified for entry in entries] == ["fake/knob", "fake/needy", "fake/plain"]
    assert entries[0].origin == "fake 1.0"
    assert registry.entries("backbone") == ()


@pytest.mark.parametrize("name", ["plain", "fake/plain", "Fake/plain"])
def test_a_component_is_found_by_both_names(registry, name):
    assert registry.find("probe", name).qualified == "fake/plain"


def test_an_unknown_name_gives_the_closest_name_and_all_available_ones(registry):
    assert fails(UsageError, registry.find, "probe", "knobb")[0] == "no probe is called 'knobb'"
    hint = fails(UsageError, registry.find, "probe", "knobb")[1]
    assert hint.startswith("  try: did you mean 'knob'? (available: knob, needy, plain)")


def test_a_path_in_place_of_a_name_hints_at_the_components_that_take_one(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "shapes").mkdir(parents=True)
    assert fails(UsageError, resolve, "probe", "data/shapes") == [
        "no probe is called 'data/shapes'",
        "  try: for images in a folder or file write folder:path=data/shapes",
    ]
    assert fails(UsageError, resolve, "probe", "data/absent")[1] == "  try: one of famous, folder"


def test_an_unknown_name_points_at_broken_plugins(site):
    site.add("fake", spec("plain"))
    site.add("broken", "import absent_dependency")
    assert fails(UsageError, site.registry().find, "probe", "zebra") == [
        "no probe is called 'zebra'",
        "  try: one of plain; for the problems of broken run: probebench plugins doctor",
    ]


def test_a_name_of_another_kind_is_recognised(registry):
    assert fails(UsageError, registry.find, "dataset", "plain")[0] == "no dataset is called 'plain', but a probe is"


def test_the_error_without_components_names_the_restriction(monkeypatch):
    empty = Registry(Discovery((), ()))
    monkeypatch.delenv("PROBEBENCH_PLUGINS", raising=False)
    assert fails(UsageError, empty.find, "probe", "knn") == [
        "no probe is called 'knn'",
        "  try: install a plugin with a probe",
    ]
    monkeypatch.setenv("PROBEBENCH_PLUGINS", "")
    assert "unset PROBEBENCH_PLUGINS, which restricts" in fails(UsageError, empty.find, "probe", "knn")[1]


def test_two_packages_with_one_name_are_usable_by_qualified_name(site):
    site.add("one", spec("twin"))
    site.add("two", spec("twin"), version="2.0")
    registry = site.registry()
    assert fails(UsageError, registry.find, "probe", "twin") == [
        "several distributions have a probe called 'twin': one 1.0 and two 2.0",
        "  try: write one/twin or two/twin",
    ]
    for name in ("one/twin", "two/twin"):
        component = resolve("probe", name)
        assert component.title == component.identity()["name"] == name


def test_a_component_that_lacks_a_requirement_is_listed_and_refused_with_the_install_line(registry):
    assert fails(PluginError, registry.find, "probe", "needy") == [
        "probe 'needy' cannot be used: needs absent-thing>=2 (not installed)",
        "  in: fake 1.0, entry point 'main'",
        "  try: pip install 'absent-thing>=2'",
    ]
    assert PluginError.exit_code == 3


def test_a_component_of_a_plugin_that_does_not_load_is_refused_with_the_cause(site):
    site.add("broken", "import absent_dependency", version="0.3")
    lines = fails(PluginError, site.registry().find, "probe", "broken/knn")
    assert lines[0].startswith("probe 'broken/knn' cannot be used: ModuleNotFoundError: No module named")
    assert lines[1] == "  in: broken 0.3, entry point 'main'"


def test_a_component_given_twice_is_refused_rather_than_chosen(site):
    site.add("fake", spec("twin") + spec("twin").splitlines()[2])
    lines = fails(PluginError, site.registry().find, "probe", "twin")
    assert "probe twin is provided twice, by entry points 'main' and 'main'" in lines[0]


def test_a_component_refused_at_discovery_gives_the_reason(site):
    site.add(
        "fake", "class Needy(Options):\n    path: str\n" + spec("bad").replace("summary=", "options=Needy, summary=")
    )
    assert "option 'path' of bad has no default" in fails(PluginError, site.registry().find, "probe", "bad")[0]


def test_a_usable_component_of_a_plugin_with_another_problem_works(registry):
    assert resolve("probe", "knob").title == "knob"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("knob", "knob"),
        ("knob:flag=true", "knob"),
        ("knob:flag=False", "knob:flag=false"),
        ("fake/knob:rate=0.5,flag=no", "knob:flag=false,rate=0.5"),
        ("knob:widths=1+2+3", "knob:widths=1+2+3"),
        ("knob:widths=32+64", "knob"),
        ("knob:grid=4", "knob:grid=4"),
        ("knob:path=C:/a=b", "knob:path=C:/a=b"),
    ],
)
def test_the_title_is_canonical(registry, text, title):
    """N3: CLIP_benchmark reads `--flag False` as true, as any text that is not empty is."""
    assert resolve("probe", text).title == title


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "flag": st.booleans(),
            "widths": st.lists(st.integers(), min_size=1, max_size=4).map(tuple),
            "rate": st.floats(0, 1, exclude_min=True),
            "grid": st.just("full") | st.integers(),
            "path": st.text("abc/=:. ", max_size=8).map(str.strip),
        },
    )
)
def test_a_title_means_the_component_it_was_made_from(registry, options):
    entry = registry.find("probe", "knob")
    component = Component(entry, entry.spec.options(**options))
    assert resolve("probe", component.title).identity() == component.identity()


def test_a_preset_that_fixes_other_options_is_written_alone(site):
    preset = """
from pydantic import model_validator
class Preset(Options):
    protocol: str = "default"
    k: int = 5
    @model_validator(mode="after")
    def _fix(self):
        if self.protocol == "paper":
            if "k" in self.model_fields_set:
                raise ValueError("protocol=paper fixes k")
            object.__setattr__(self, "k", 50)
        return self
"""
    site.add("fake", preset + spec("p").replace("summary=", "options=Preset, summary="))
    site.registry()
    component = resolve("probe", "p:protocol=paper")
    assert component.title == "p:protocol=paper"
    assert component.identity()["options"] == {"protocol": "paper", "k": 50}
    assert resolve("probe", component.title) == component
    assert fails(UsageError, resolve, "probe", "p:protocol=paper,k=50") == [
        "protocol=paper fixes k",
        "  in: p",
        "  try: probebench show p",
    ]


def test_options_that_a_preset_writes_before_validation_are_left_out_too(site):
    preset = """
from pydantic import model_validator
class Preset(Options):
    k: int = 5
    protocol: str = "default"
    @model_validator(mode="before")
    @classmethod
    def _fix(cls, data):
        return {**data, "k": 50} if data.get("protocol") == "paper" else data
"""
    site.add("fake", preset + spec("p").replace("summary=", "options=Preset, summary="))
    site.registry()
    assert resolve("probe", "p:protocol=paper").title == "p:protocol=paper"
    assert resolve("probe", "p:protocol=paper,k=50").title == "p:protocol=paper"
    assert resolve("probe", "p:k=50").title == "p:k=50"


@pytest.fixture
def folders(site) -> Registry:
    """A component whose options have a location and an alias."""
    site.add(
        "folders",
        """
from typing import ClassVar
from pydantic import Field

class Folder(Options):
    locations: ClassVar[frozenset[str]] = frozenset({"path"})
    alias: ClassVar[str] = "name"
    path: str = Field("", description="where")
    name: str = Field("", description="what it is called")
    size: int = Field(32, description="side")

@hookimpl
def probebench_probes():
    yield ProbeSpec(name="folder", factory="fake_factories:make", summary="", options=Folder)
    yield ProbeSpec(name="famous", factory="fake_factories:make", summary="")
""",
    )
    return site.registry()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("folder", "folder"),
        ("folder:path=/tmp/a", "folder"),
        ("folder:path=/tmp/a,name=mine", "mine"),
        ("folder:path=/tmp/a,name=mine,size=16", "mine:size=16"),
    ],
)
def test_a_location_is_no_part_of_a_title_and_an_alias_replaces_the_name(folders, text, title):
    assert resolve("probe", text).title == title


def test_a_location_is_no_part_of_the_identity(folders):
    here, there = (resolve("probe", f"folder:path={path},name=mine") for path in ("/tmp/a", "/tmp/b"))
    assert here.identity() == there.identity()
    assert here.identity()["options"] == {"name": "mine", "size": 32}
    assert here != there


def test_an_alias_cannot_be_the_name_of_another_component(folders):
    lines = fails(UsageError, resolve, "probe", "folder:name=famous")
    assert "would be called 'famous', which is the name of another probe" in lines[0]
    assert "name=famous-copy" in lines[-1]


def test_the_identity_holds_all_options_in_json(registry):
    assert resolve("probe", "knob:widths=8").identity() == {
        "name": "fake/knob",
        "version": 3,
        "options": {"flag": True, "widths": [8], "rate": 0.1, "grid": "full", "path": ""},
    }


def test_an_unknown_option_is_an_error_with_suggestions(registry):
    assert fails(UsageError, resolve, "probe", "knob:flog=true") == [
        "there is no option 'flog'",
        "  in: knob",
        "  try: did you mean 'flag'? (options: flag, grid, path, rate, widths)",
    ]
    assert fails(UsageError, resolve, "probe", "knob:zzz=1")[2] == "  try: one of flag, grid, path, rate, widths"
    assert fails(UsageError, resolve, "probe", "plain:flag=true")[2] == "  try: plain has no options"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("flag=maybe", "option flag=maybe should be a boolean"),
        ("rate=fast", "option rate=fast should be a number"),
        ("rate=2", "option rate=2 should be less than or equal to 1"),
        ("rate=nan", "option rate=nan should be a finite number"),
        ("widths=1+x", "option widths=1+x should be an integer"),
        ("grid=half", "option grid=half should be 'full' or an integer"),
        ("flag=", "option flag= should be a boolean"),
    ],
)
def test_a_wrong_value_is_an_error_with_the_expected_values(registry, option, message):
    assert fails(UsageError, resolve, "probe", f"knob:{option}") == [
        message,
        "  in: knob",
        "  try: probebench show knob",
    ]


def test_all_wrong_options_are_named_at_once(registry):
    lines = fails(UsageError, resolve, "probe", "knob:flag=maybe,flog=1,rate=9")
    assert lines[0] == (
        "there is no option 'flog'; option flag=maybe should be a boolean; "
        "option rate=9 should be less than or equal to 1"
    )


FACTORIES = """
from probebench.api import Probe, UsageError
class P(Probe):
    def __init__(self, options): self.options = options
    def search(self, train, val, *, metric, seed): ...
    def fit(self, train, params, *, seed): ...
make = P
def nothing(options): return "a text"
def fails(options): raise ZeroDivisionError("by zero")
def exits(options): raise SystemExit(0)
def refuses(options): raise UsageError("widths do not fit")
"""


@pytest.fixture
def build(site):
    (site.folder / "fake_factories.py").write_text(FACTORIES)

    def build(factory: str):
        site.add("fake", spec("p", factory), version="0.7")
        site.load()
        return resolve("probe", "p").build()

    return build


def test_a_component_is_built_with_its_options(site):
    (site.folder / "fake_factories.py").write_text(FACTORIES)
    site.add("fake", SOURCE)
    site.load()
    component = resolve("probe", "knob:rate=0.5")
    probe = component.build()
    assert probe.options.rate == 0.5
    assert component.build() is not probe


@pytest.mark.parametrize(
    ("factory", "message", "cause"),
    [
        ("fake_absent:make", "fake_absent:make cannot be imported: ModuleNotFoundError", ModuleNotFoundError),
        ("fake_factories:absent", "fake_factories:absent cannot be imported: AttributeError", AttributeError),
        ("fake_factories:fails", "probe p cannot be built: ZeroDivisionError: by zero", ZeroDivisionError),
        ("fake_factories:exits", "probe p cannot be built: SystemExit: 0", SystemExit),
        ("fake_factories:nothing", "the factory of probe p returns a str, not a probebench.api.Probe", type(None)),
    ],
)
def test_a_factory_that_fails_is_named_with_its_distribution(build, factory, message, cause):
    with pytest.raises(PluginError) as caught:
        build(factory)
    assert caught.value.what.startswith(message)
    assert "fake 0.7" in caught.value.where
    assert isinstance(caught.value.__cause__, cause)


def test_an_error_for_the_user_passes_through_the_factory(build):
    with pytest.raises(UsageError, match="widths do not fit"):
        build("fake_factories:refuses")


def test_a_target_is_imported(site):
    assert load_target("probebench.util.errors:PluginError") is PluginError
    (site.folder / "fake_exit.py").write_text("raise SystemExit(1)")
    with pytest.raises(PluginError, match=r"fake_exit:x cannot be imported: SystemExit: 1\n  in: somebody 1.0"):
        load_target("fake_exit:x", where="somebody 1.0")


def test_the_registry_of_the_process_is_made_once(site):
    site.add("fake", SOURCE)
    site.load()
    assert installed() is installed()
    assert resolve("probe", "knob").entry == installed().find("probe", "knob")


def test_find_all_gives_one_of_each_kind(site):
    site.add(
        "fake",
        spec("both")
        + "@hookimpl\ndef probebench_datasets():\n    yield DatasetSpec(name='both', factory='a:b', summary='')\n",
    )
    registry = site.registry()
    assert [entry.kind for entry in registry.find_all("both")] == ["dataset", "probe"]
    assert fails(UsageError, registry.find_all, "bth") == [
        "no component is called 'bth'",
        "  try: did you mean 'both'? (available: both)",
    ]


def test_find_all_of_a_plugin_that_does_not_load_gives_the_cause(site):
    site.add("broken", "import absent_dependency")
    assert "No module named 'absent_dependency'" in fails(PluginError, site.registry().find_all, "broken/knn")[0]
