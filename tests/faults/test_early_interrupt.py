"""Interrupts while the command is still loading: one sentence and the exit code of the signal, as later."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import Command, end_of, until

STOPPED = "archscout: stopped; everything finished so far is saved."
WHILE_IMPORTING = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            signal.raise_signal({number})
sys.meta_path.insert(0, Finder())
sys.argv = ["archscout", "search", "--data", "bundled", "--out", {out!r}]
from archscout.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["typer", "archscout.cli.search", "numpy", "torch", "torch.nn", "archscout.store.runs"])
def test_while_a_module_is_imported(module: str, number: signal.Signals, archscout: Command, tmp_path: Path) -> None:
    code = WHILE_IMPORTING.format(module=module, number=int(number), out=str(tmp_path / "run"))
    done = subprocess.run(
        [sys.executable, "-c", code], env=archscout.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{STOPPED}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells which signals a process catches")
@pytest.mark.parametrize("pause", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_within_the_first_second(pause: float, archscout: Command, small_data: Path, tmp_path: Path) -> None:
    driver = archscout.start("search", "--data", small_data, "--budget", "10m", "--out", tmp_path / "run")
    assert until(lambda: catches(driver.pid, signal.SIGTERM), driver)  # Python itself catches SIGINT alone
    time.sleep(pause)
    driver.send_signal(signal.SIGINT)
    done = end_of(driver)
    assert done.code == 130 and done.out == "" and "Traceback" not in done.err
    assert [line[: len(STOPPED)] for line in done.err.splitlines() if line.startswith("archscout:")] == [STOPPED], done.err
    assert done.err.splitlines()[-1].startswith(STOPPED)


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for the signal."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(mask >> (number - 1) & 1)
