"""What a user may ask for, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from archscout.core.errors import UnknownName, UserError
from archscout.engine.request import Request, parse_count, parse_milliseconds, parse_settings, settings_of


@pytest.mark.parametrize(("text", "value"), [("500k", 5e5), ("50M", 5e7), ("300000", 3e5), ("1.5m", 1.5e6), ("2G", 2e9)])
def test_counts(text: str, value: float) -> None:
    assert parse_count(text, "--max-params") == value


@pytest.mark.parametrize("text", ["", "k", "-5", "0", "5x", "1e6", "five"])
def test_wrong_counts_name_the_option(text: str) -> None:
    with pytest.raises(UserError, match="--max-params takes a positive number"):
        parse_count(text, "--max-params")


@pytest.mark.parametrize(("text", "value"), [("5ms", 5), ("0.2s", 200), ("7", 7)])
def test_latencies(text: str, value: float) -> None:
    assert parse_milliseconds(text) == value


def test_a_request_survives_the_store() -> None:
    request = Request("images", limits={"params": 1e5}, settings={"strategy.population": "5"})
    assert Request.from_dict(request.as_dict()) == request


@dataclass(frozen=True)
class Plugin:
    population: int = 3
    share: float = 0.5
    eager: bool = False
    rungs: tuple[float, ...] = ()
    name: str = ""


def test_settings_take_the_types_of_the_fields() -> None:
    pairs = ["strategy.population=50", "strategy.share=0.25", "strategy.eager=yes", "strategy.rungs=1,3", "strategy.name=a=b"]
    found = settings_of("strategy", parse_settings(pairs), Plugin)
    assert found == {"population": 50, "share": 0.25, "eager": True, "rungs": (1.0, 3.0), "name": "a=b"}
    assert settings_of("space", parse_settings(pairs), Plugin) == {}


@pytest.mark.parametrize("pair", ["population=5", "strategy.population"])
def test_settings_without_owner_or_value_are_refused(pair: str) -> None:
    with pytest.raises(UserError, match=r"room.setting=value"):
        parse_settings([pair])


def test_a_setting_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(UserError, match="population"):
        settings_of("strategy", {"strategy.population": "many"}, Plugin)
    with pytest.raises(UnknownName, match="did you mean 'population'"):
        settings_of("strategy", {"strategy.popullation": "5"}, Plugin)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"budget": "10x"}, "10x"),
        ({"space": "mobil"}, "did you mean 'mobile'"),
        ({"strategy": "randon"}, "did you mean 'random'"),
        ({"estimator": "nazwot"}, "did you mean 'naswot'"),
        ({"limits": {"size": 5}}, "there is no limit 'size'"),
        ({"limits": {"params": -1}}, "must be more than 0"),
        ({"channels": "2"}, "--channels takes"),
        ({"device": "gpu"}, "--device takes"),
        ({"formats": "tflite"}, "tflite"),
        ({"settings": {"stratgy.x": "1"}}, "did you mean 'strategy'"),
        ({"settings": {"estimator.batch": "1"}}, "name it with --estimator"),
        ({"allowed_failures": 2.0}, "between 0 and 1"),
    ],
)
def test_a_wrong_request_is_refused_in_one_sentence(change: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as caught:
        Request("images", **change).check()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("device", "good"), [("auto", True), ("cpu", True), ("cuda:1", True), ("gpu", False), ("", False)])
def test_devices(device: str, good: bool) -> None:
    request = Request("images", device=device)
    if good:
        request.check()
    else:
        with pytest.raises(UserError, match="--device takes auto, cpu"):
            request.check()


def test_paths_are_made_absolute_and_names_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "my_space.py").touch()
    found = Request("images", space="my_space.py").anchored()
    assert (found.data, found.space) == (str(tmp_path / "images"), str(tmp_path / "my_space.py"))
    assert Request("fashion-mnist").anchored() == Request("fashion-mnist")
    assert Request("images:cat+dog,ship").anchored().data == f"{(tmp_path / 'images').resolve()}:cat+dog,ship"
    assert Request("mnist:0").anchored() == Request("mnist:0")
