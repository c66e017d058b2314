"""The catalogue: the folder is the registry."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from archscout import catalogue
from archscout.core.errors import UnknownName, UserError
from archscout.core.protocols import Estimator, Strategy

SHIPPED = {
    "strategies": {"random", "regularized-evolution", "assisted-evolution", "local", "successive-halving"},
    "estimators": {"params", "macs", "latency", "blend"},
}
PLUGIN = '''"""Counts the layers."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Layers:
    weight: float = 1.0
'''


@pytest.mark.parametrize("room", SHIPPED)
def test_the_folder_is_the_registry(room):
    names = catalogue.names(room)
    assert SHIPPED[room] <= set(names)
    assert names == sorted(names)
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize(("room", "name"), [(room, name) for room in catalogue.ROOMS for name in catalogue.names(room)])
def test_every_plugin_is_one_dataclass_with_a_summary(room, name):
    summary = catalogue.summary(room, name)
    assert summary.endswith(".") and len(summary) <= 132, f"{room}/{name}: '{summary}'"
    made = catalogue.plugin(room, name)
    assert made.__doc__ and not made.__doc__.startswith(f"{made.__name__}("), f"{room}/{name} needs a docstring"
    if room == "strategies":
        assert isinstance(made(), Strategy)
    if room == "estimators":
        assert isinstance(made(), Estimator)


def test_listing_imports_no_torch():
    code = (
        "import archscout.catalogue as c, sys\n"
        "lines = [c.summary(room, name) for room in c.ROOMS for name in c.names(room)]\n"
        "assert len(lines) >= 9 and all(lines), lines\n"
        "assert not {'torch', 'scipy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_unknown_names_come_with_a_suggestion():
    with pytest.raises(UnknownName, match=r"no strategy 'regularised-evolution'; did you mean 'regularized-evolution'"):
        catalogue.make("strategies", "regularised-evolution")
    with pytest.raises(UnknownName, match=r"no estimator 'zzzzzz'; known: .*blend"):
        catalogue.make("estimators", "zzzzzz")
    with pytest.raises(UnknownName, match=r"no plug-ins called 'strategy'; did you mean 'strategies'"):
        catalogue.names("strategy")


def test_unknown_settings_come_with_a_suggestion():
    with pytest.raises(UnknownName, match=r"'regularized-evolution' has no setting 'populaton'; did you mean 'population'"):
        catalogue.make("strategies", "regularized-evolution", populaton=3)


def test_settings_that_do_not_fit_are_the_users_fault():
    with pytest.raises(UserError, match="population and tournament are at least 1, but 0 and 3 came") as caught:
        catalogue.make("strategies", "regularized-evolution", population=0)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_setting_is_a_finite_number(value):
    with pytest.raises(UserError, match=rf"the setting 'limit' of 'nasi' is a finite number, but {value} came"):
        catalogue.make("strategies", "nasi", limit=value)


@pytest.mark.parametrize(
    ("room", "name", "settings"),
    [
        *(("strategies", name, setting) for name in ("darts", "lpt", "mdenas", "nao-ws") for setting in (
            "last_rate", "momentum", "weight_decay", "clip", "channels", "depth",
        )),
        *(("strategies", "darts", setting) for setting in ("gate_rate", "gate_decay", "partial")),
        *(("strategies", "lpt", setting) for setting in ("meaning", "practice", "tester_rate", "creator_rate", "creator_decay")),
        *(("strategies", "mdenas", setting) for setting in ("latency_target", "warm_up", "steps_per_trial")),
        *(("strategies", "nasi", setting) for setting in ("limit", "penalty", "channels", "depth")),
        *(("learners", "weight-sharing", setting) for setting in ("clip", "minutes", "channels", "depth")),
    ],
)  # fmt: skip
def test_a_negative_setting_of_a_supernet_is_the_users_fault(room, name, settings):
    with pytest.raises(UserError, match=rf"the settings of '{name}' do not fit: {settings} is at least [01], but -1 came"):
        catalogue.make(room, name, **{settings: -1})


def test_settings_arrive():
    made = catalogue.make("strategies", "regularized-evolution", population=7)
    assert made.population == 7
    assert catalogue.record(made) == {
        "plugin": "strategies.regularized_evolution.RegularizedEvolution",
        "settings": {"population": 7, "tournament": 3, "skip_duplicates": False},
    }


def test_a_file_is_a_plugin(tmp_path):
    file = tmp_path / "layers.py"
    file.write_text(PLUGIN)
    made = catalogue.make("estimators", str(file), weight=2.0)
    assert (type(made).__name__, made.weight) == ("Layers", 2.0)
    assert type(catalogue.make("estimators", str(file))) is type(made)
    assert str(file.resolve()) in catalogue.loaded_files().values()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no plug-in file"),
        ("import nothing_of_that_name", "cannot be imported: ModuleNotFoundError"),
        ("x = 1", "one public dataclass, but none came"),
        (PLUGIN + "\n@dataclass\nclass Second:\n    pass\n", "one public dataclass, but Layers, Second came"),
        (PLUGIN + "\n@dataclass\nclass _Hidden:\n    pass\n", ""),
    ],
)
def test_files_that_are_no_plugin(tmp_path, text, message):
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    if not message:
        assert catalogue.plugin("estimators", str(file)).__name__ == "Layers"
        return
    with pytest.raises(UserError, match=message):
        catalogue.plugin("estimators", str(file))


def test_other_packages_register_by_entry_point(monkeypatch):
    entry = EntryPoint("fraction", "fractions:Fraction", "archscout.estimators")
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [entry] if group == entry.group else [])
    monkeypatch.setattr(catalogue, "_registered", catalogue._registered.__wrapped__)
    assert "fraction" in catalogue.names("estimators")
    assert "fraction" not in catalogue.names("strategies")
    assert catalogue.summary("estimators", "fraction") == "from the package fractions"
    assert catalogue.plugin("estimators", "fraction").__name__ == "Fraction"
