"""What a newcomer runs first: --help, plugins, doctor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from commandline import SLOWNESS, Command

COMMANDS = [
    *("search", "resume", "report", "export", "predict", "runs", "show", "score", "train", "bench", "plugins", "doctor", "repair"),
    "explain",
]


def imports_torch(*words: str) -> bool:
    code = (
        "import sys\n"
        f"sys.argv = ['archscout', *{words!r}]\n"
        "from archscout.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split()[-1] == "True"


def test_help_is_quick_and_lists_all_commands(archscout: Command) -> None:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        done = archscout("--help")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.5 * SLOWNESS, took
    for command in COMMANDS:
        assert f"  {command} " in done.out


@pytest.mark.parametrize(
    "words",
    [("--help",), ("search", "--help"), ("bench", "--help"), ("plugins",), ("plugins", "strategies", "--json"), ("runs",)],
    ids=" ".join,
)
def test_help_and_listing_import_no_torch(words: tuple[str, ...]) -> None:
    assert not imports_torch(*words)


def test_a_refused_option_imports_no_torch() -> None:
    assert not imports_torch("search", "--data", "bundled", "--budget", "10x")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, call: Callable[..., str]) -> None:
    assert "Usage:" in call(command, "--help")


def test_plugins(call: Callable[..., str]) -> None:
    listed = json.loads(call("plugins", "--json"))
    assert list(listed) == ["spaces", "strategies", "estimators", "learners", "data", "tables", "meta", "families", "extractors"]
    assert {"shapes", "omniglot", "dataset"} <= listed["families"].keys() and {"small", "resnet18"} == listed["extractors"].keys()
    assert {"nas201", "darts", "mobile"} <= listed["spaces"].keys()
    assert {"random", "regularized-evolution", "local", "successive-halving", "assisted-evolution"} <= listed["strategies"].keys()
    assert {"naswot", "synflow", "params", "macs", "latency", "train", "blend"} <= listed["estimators"].keys()
    assert {"nas201", "nas101", "macro", "transnas-cell", "transnas-macro", "nlp-rnn"} <= listed["tables"].keys()
    assert {"bundled", "folder", "fashion-mnist", "cifar10", "mnist", "omniglot", "sign-digits"} <= listed["data"].keys()
    assert all(summary for room in listed.values() for summary in room.values())
    assert list(json.loads(call("plugins", "spaces", "--json"))) == ["spaces"]
    described = json.loads(call("plugins", "strategies", "regularized-evolution", "--json"))
    assert described["settings"]["population"]["type"] == "int"
    assert "--set strategy." in call("plugins", "strategies", "regularized-evolution")


def test_doctor(call: Callable[..., str]) -> None:
    checks = {check["name"]: check for check in json.loads(call("doctor", "--json"))}
    assert checks["torch"]["ok"] and checks["cache folder"]["ok"]
    assert "ok   torch" in call("doctor")
