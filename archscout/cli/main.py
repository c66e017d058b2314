"""The command line: parse, call, print. Torch is imported by the commands that need it, never for help or listings."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from archscout.core.errors import ArchscoutError, Interrupted

if TYPE_CHECKING:
    import typer

_STOPPED = "archscout: stopped; everything finished so far is saved."


def main() -> None:
    """The entry point: exit codes 0 done, 1 our fault, 2 the user's input, 3 too many failures, 130 and 143 after saving."""
    _catch_signals()  # before anything that takes long to import
    try:
        commands()()
    except ArchscoutError as error:
        print(f"archscout: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted as stop:
        print(f"{_STOPPED} {stop}".rstrip(), file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(stop.exit_code)  # the interpreter's own end lets a second signal kill it, with another exit code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def commands() -> typer.Typer:
    """All commands, for the parser and for those who look into it."""
    import typer

    from archscout.cli import bench, explain, meta, networks, plugins, runs, search, tasks

    app = typer.Typer(
        name="archscout",
        help="Neural architecture search on a small budget: images in; a trained, exported network and an honest report out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for part in (search, runs, networks, explain, bench, meta, tasks, plugins):
        part.register(app)
    return app


def _catch_signals() -> None:
    """The first SIGINT or SIGTERM unwinds the stack, so that everything is saved; a second one leaves at once."""
    caught: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        if _importing(frame):
            os.write(2, f"{_STOPPED}\n".encode())
            os._exit(128 + number)
        raise Interrupted(number)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: what is raised then may be swallowed, by extension modules or Python's own callbacks.

    To leave at once loses nothing: the store and the checkpoints are whole at any moment, even for SIGKILL.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    main()
