"""A broken plugin never affects the others and is always reported: fake distributions with different faults."""

from __future__ import annotations

import importlib
import sys

import pytest

from probebench.plugins.discovery import Discovery, Problem, discover

GOOD = """
@hookimpl
def probebench_probes():
    yield ProbeSpec(name="good", factory="nowhere:Good", summary="works")
"""


def names(discovery: Discovery) -> list[str]:
    return [f"{plugin.distribution}/{spec.name}" for plugin in discovery.plugins for spec in plugin.specs]


@pytest.fixture
def problem_of(site):
    """Loads a broken plugin between two good ones; gives its one problem after seeing that the good ones work."""

    def load(source: str = "", **options) -> Problem:
        site.add("aa-good", GOOD)
        site.add("broken", source, version="0.3", **options)
        site.add("zz-good", GOOD)
        discovery = site.load()
        assert {"aa-good/good", "zz-good/good"} <= set(names(discovery))
        (problem,) = discovery.problems
        assert (problem.distribution, problem.version) == ("broken", "0.3")
        return problem

    return load


def test_a_good_plugin_is_described(site):
    module = site.add("Fake_Good", GOOD, entry_point="anything", version="2.1")
    (plugin,) = site.load().plugins
    assert (plugin.distribution, plugin.version) == ("fake-good", "2.1")
    assert (plugin.entry_point, plugin.module, plugin.api) == ("anything", module, 1)
    assert [spec.name for spec in plugin.specs] == ["good"]
    assert plugin.import_seconds > 0
    assert plugin.heavy == ()


def test_loading_imports_no_factory(site):
    site.add("fake", GOOD.replace("nowhere", "fake_heavy_module"))
    assert names(site.load()) == ["fake/good"]
    assert "fake_heavy_module" not in sys.modules


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import absent_dependency", "ModuleNotFoundError: No module named 'absent_dependency'"),
        ("raise RuntimeError('no\\n  licence')", "RuntimeError: no licence"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Odd(BaseException): pass\nraise Odd('odd')", "Odd: odd"),
    ],
)
def test_a_module_that_cannot_be_imported(problem_of, source, error):
    problem = problem_of(source)
    assert (problem.stage, problem.entry_point) == ("import", "main")
    assert problem.error.startswith(error)
    assert "\n" not in problem.error
    assert "fake_broken.py" in problem.error
    assert problem.hint.endswith("pip uninstall broken")


def test_an_import_error_names_the_line_of_the_plugin(problem_of):
    assert "fake_broken.py:4)" in problem_of("x = 1\nimport absent_dependency").error


def test_a_module_that_is_not_there(problem_of):
    problem = problem_of(entry_points="[probebench]\nmain = fake_absent\n")
    assert problem.stage == "import"
    assert problem.error == "ModuleNotFoundError: No module named 'fake_absent'"


def test_an_entry_point_that_names_an_object(problem_of):
    problem = problem_of("class Plugin: pass", entry_points="[probebench]\nmain = fake_broken:Plugin\n")
    assert problem.stage == "import"
    assert "must name a module" in problem.error


def test_a_module_that_replaces_itself(problem_of):
    problem = problem_of("import sys\nsys.modules[__name__] = 3")
    assert problem.stage == "import"
    assert "fake_broken replaces itself with a int" in problem.error


def test_ctrl_c_during_an_import_is_no_problem_of_the_plugin(site):
    site.add("fake", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        site.load()


def test_a_module_without_an_api_number(problem_of):
    problem = problem_of(GOOD, api=None)
    assert problem.stage == "api"
    assert problem.error == "module fake_broken does not define PROBEBENCH_API"
    assert problem.hint == "write PROBEBENCH_API = 1 in fake_broken"


@pytest.mark.parametrize(
    ("number", "hint"),
    [(2, "upgrade probebench"), (0, "upgrade broken"), ("'1'", "upgrade broken")],
)
def test_another_api_number_is_refused_in_one_line(problem_of, number, hint):
    problem = problem_of(GOOD, api=number)
    assert problem.stage == "api"
    assert problem.error == f"the plugin is written for plugin API {number}, but this probebench has plugin API 1"
    assert problem.hint == f"pip install --{hint}"


def test_the_number_true_is_not_the_number_one(problem_of):
    assert problem_of(GOOD, api="True").stage == "api"


def test_a_misspelt_hook_is_found_and_the_right_name_suggested(problem_of):
    problem = problem_of(GOOD.replace("probebench_probes", "probebench_probe"))
    assert problem.stage == "hooks"
    assert problem.error == "there is no hook 'probebench_probe'"
    assert problem.hint == "did you mean 'probebench_probes'?"


def test_a_misspelt_hook_without_its_mark_is_found_too(problem_of):
    problem = problem_of(GOOD.replace("probebench_probes", "probebench_probe").replace("@hookimpl", ""))
    assert problem.error == "there is no hook 'probebench_probe'"


def test_a_marked_function_of_any_other_name_is_found(problem_of):
    assert problem_of(GOOD.replace("probebench_probes", "my_probes")).error == "there is no hook 'my_probes'"


def test_a_hook_without_its_mark_is_found(problem_of):
    problem = problem_of(GOOD.replace("@hookimpl", ""))
    assert problem.error == "probebench_probes is not marked with @hookimpl"
    assert problem.hint == "write @hookimpl above def probebench_probes"


def test_a_hook_under_another_name_works_with_specname(site):
    site.add(
        "fake",
        GOOD.replace("probebench_probes", "mine").replace("@hookimpl", "@hookimpl(specname='probebench_probes')"),
    )
    assert names(site.load()) == ["fake/good"]
    assert site.load().problems == ()


def test_a_hook_with_an_argument_that_does_not_exist(problem_of):
    problem = problem_of(GOOD.replace("probebench_probes()", "probebench_probes(config)"))
    assert problem.stage == "hooks"
    assert problem.error.startswith("PluginValidationError")
    assert "config" in problem.error
    assert "\n" not in problem.error


def test_an_exception_in_one_hook_leaves_the_other_hooks_of_the_plugin(site):
    site.add("fake", GOOD + "@hookimpl\ndef probebench_datasets():\n    raise OSError('disk')\n")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    (problem,) = discovery.problems
    assert problem.stage == "hooks"
    assert problem.error.startswith("probebench_datasets: OSError: disk")
    assert "fake_fake.py:9)" in problem.error


def test_a_hook_that_fails_half_way_keeps_what_came_before(site):
    site.add("fake", GOOD + "    raise OSError('disk')\n")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    assert [problem.stage for problem in discovery.problems] == ["hooks"]


def test_a_hook_that_exits_the_process(problem_of):
    problem = problem_of("@hookimpl\ndef probebench_probes():\n    raise SystemExit(0)\n")
    assert problem.error.startswith("probebench_probes: SystemExit: 0")


def test_a_hook_that_returns_nothing(problem_of):
    problem = problem_of("@hookimpl\ndef probebench_probes():\n    pass\n")
    assert (problem.stage, problem.error) == (
        "hooks",
        "probebench_probes: TypeError: the hook returns None, but must yield specs",
    )


@pytest.mark.parametrize(("item", "found"), [("'knn'", "str"), ("None", "NoneType"), ("Probe", "ABCMeta")])
def test_a_hook_that_yields_something_else(site, item, found):
    site.add("fake", f"{GOOD}    yield {item}\n")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    (problem,) = discovery.problems
    assert (problem.stage, problem.error) == ("spec", f"probebench_probes yields a {found}, not a ProbeSpec")


def test_a_spec_of_another_kind_is_refused(problem_of):
    problem = problem_of(GOOD.replace("probebench_probes", "probebench_datasets"))
    assert problem.error == "probebench_datasets yields a ProbeSpec, not a DatasetSpec"


def test_a_spec_that_does_not_validate_is_a_problem_of_its_hook(problem_of):
    problem = problem_of(GOOD.replace('"good"', '"Not Good"'))
    assert problem.stage == "hooks"
    assert "name 'Not Good' is not lower-case words" in problem.error


def test_an_option_without_a_default_is_refused(problem_of):
    problem = problem_of(
        "class Needy(Options):\n    path: str\n" + GOOD.replace('summary="works"', 'summary="works", options=Needy')
    )
    assert (problem.stage, problem.kind, problem.name) == ("spec", "probe", "good")
    assert problem.error == "option 'path' of good has no default"


def test_a_missing_requirement_is_a_problem_of_that_component_only(site):
    site.add(
        "fake",
        GOOD
        + '    yield ProbeSpec(name="needy", factory="n:N", summary="", requires=("absent-thing>=2", "pluggy>=999"))\n',
    )
    discovery = site.load()
    assert names(discovery) == ["fake/good", "fake/needy"]
    (problem,) = discovery.problems
    assert (problem.stage, problem.kind, problem.name) == ("requires", "probe", "needy")
    installed = importlib.metadata.version("pluggy")
    assert problem.error == f"needs absent-thing>=2 (not installed) and pluggy>=999 ({installed} is installed)"
    assert problem.hint == "pip install 'absent-thing>=2' 'pluggy>=999'"


@pytest.mark.parametrize("requires", ['("not a requirement!",)', '"pluggy"'])
def test_requirements_that_cannot_be_read_are_a_problem_of_the_spec(problem_of, requires):
    problem = problem_of(GOOD.replace('summary="works"', f'summary="works", requires={requires}'))
    assert (problem.stage, problem.name) == ("spec", "good")


def test_a_requirement_for_another_platform_is_not_missing(site):
    site.add("fake", GOOD.replace('summary="works"', "summary='', requires=('absent; sys_platform == \"amiga\"',)"))
    assert site.load().problems == ()


def test_two_distributions_may_have_one_name(site):
    site.add("one", GOOD)
    site.add("two", GOOD)
    discovery = site.load()
    assert names(discovery) == ["one/good", "two/good"]
    assert discovery.problems == ()


def test_two_entry_points_with_one_component_are_a_collision(site):
    site.add("fake", GOOD, entry_points="[probebench]\nfirst = fake_fake\nsecond = fake_more\n")
    site.add("more", GOOD, module="fake_more", entry_points="[other]\nx = y\n")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    (problem,) = [problem for problem in discovery.problems if problem.distribution == "fake"]
    assert (problem.stage, problem.entry_point, problem.kind, problem.name) == ("collision", "second", "probe", "good")
    assert problem.error == "probe good is provided twice, by entry points 'first' and 'second'"


def test_one_distribution_installed_twice_is_a_problem(site, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    site.add("fake-twice", GOOD, version="1.0")
    site.monkeypatch.syspath_prepend(str(other))
    site.add("fake.twice", GOOD, version="2.0", folder=other, module="fake_fake_twice")
    discovery = site.load()
    assert [plugin.version for plugin in discovery.plugins] == ["2.0"]
    (problem,) = discovery.problems
    assert (problem.stage, problem.distribution) == ("metadata", "fake-twice")
    assert problem.error == f"installed twice: 2.0 in {other} hides 1.0 in {site.folder}"


def test_one_folder_twice_on_the_import_path_is_no_problem(site):
    site.add("fake", GOOD)
    site.monkeypatch.setattr(sys, "path", [str(site.folder), *sys.path])
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    assert discovery.problems == ()


def test_a_malformed_entry_point_file(problem_of):
    problem = problem_of(entry_points="[probebench]\nno equals sign\n")
    assert problem.stage == "metadata"
    assert problem.error.startswith("malformed entry_points.txt")


def test_a_malformed_file_of_another_distribution_is_ignored(site):
    site.add("fake", GOOD)
    site.add("unrelated", entry_points="[console_scripts]\nno equals sign\n")
    site.names.remove("unrelated")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    assert discovery.problems == ()


def test_an_unreadable_file_of_another_distribution_is_ignored(site):
    site.add("fake", GOOD)
    site.add("unrelated")
    (site.folder / "unrelated-1.0.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe")
    site.names.remove("unrelated")
    assert names(site.load()) == ["fake/good"]


def test_a_recipe_without_defaults_is_refused(problem_of):
    problem = problem_of(
        "class Needy(Options):\n    path: str\n"
        "@hookimpl\ndef probebench_backbones():\n"
        "    yield BackboneSpec(name='net', factory='a:b', summary='', trainer='a:b', recipe=Needy)\n"
    )
    assert (problem.stage, problem.error) == ("spec", "option 'path' of net has no default")


def test_a_distribution_without_a_name(site, monkeypatch):
    site.add("fake", GOOD)
    (site.folder / "fake-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\n")
    site.load()
    monkeypatch.delenv("PROBEBENCH_PLUGINS")
    discover.cache_clear()
    assert f"a distribution in {site.folder} lacks a name or a version" in [p.error for p in discover().problems]


def test_output_of_a_plugin_goes_to_stderr(site, capsys):
    site.add(
        "fake", "print('hello from the module')" + GOOD.replace("    yield", "    print('and the hook')\n    yield")
    )
    site.load()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["hello from the module", "and the hook"]


def test_a_heavy_module_is_counted_for_the_plugin_that_loads_it(site):
    (site.folder / "transformers.py").write_text("")
    site.add("aa-light", GOOD)
    site.add("heavy", "import transformers" + GOOD)
    heavy = {plugin.distribution: plugin.heavy for plugin in site.load().plugins}
    assert heavy == {"aa-light": (), "heavy": ("transformers",)}


def test_the_environment_restricts_what_is_imported(site, monkeypatch):
    wanted, other = site.add("Fake_Wanted", GOOD), site.add("fake-other", GOOD)
    monkeypatch.setenv("PROBEBENCH_PLUGINS", " fake-wanted ,")
    importlib.invalidate_caches()
    discover.cache_clear()
    assert names(discover()) == ["fake-wanted/good"]
    assert wanted in sys.modules
    assert other not in sys.modules


def test_an_empty_restriction_loads_nothing(site, monkeypatch):
    site.add("fake", GOOD)
    monkeypatch.setenv("PROBEBENCH_PLUGINS", "")
    discover.cache_clear()
    assert discover() == Discovery((), ())


def test_a_restriction_to_a_missing_plugin_is_a_problem(site):
    site.add("fake", GOOD)
    site.names.append("fkae")
    discovery = site.load()
    assert names(discovery) == ["fake/good"]
    (problem,) = discovery.problems
    assert (problem.stage, problem.distribution) == ("selection", "fkae")
    assert "PROBEBENCH_PLUGINS names fkae" in problem.error


def test_without_a_restriction_everything_is_loaded(site, monkeypatch):
    site.add("fake", GOOD)
    monkeypatch.delenv("PROBEBENCH_PLUGINS", raising=False)
    importlib.invalidate_caches()
    discover.cache_clear()
    assert "fake/good" in names(discover())


def test_discovery_runs_once_and_may_be_repeated(site):
    site.add("fake", "import sys\nsys.fake_imports = getattr(sys, 'fake_imports', 0) + 1" + GOOD)
    site.add("broken", "import absent_dependency")
    first = site.load()
    assert discover() is first
    again = site.load()
    assert again is not first
    assert names(again) == names(first)
    assert again.problems == first.problems
    assert sys.fake_imports == 1
    del sys.fake_imports
