"""Downloads of published files: several mirrors, resumed after a break, checked against the published checksum, moved in whole."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock

from archscout.core.errors import DataError
from archscout.data._contents import Progress

TIMEOUT_SECONDS = 20.0
ATTEMPTS = 3
_BLOCK = 1 << 18


@dataclass(frozen=True)
class RemoteFile:
    """A published file. urls: mirrors, tried in order. checksum: "md5:..." or "sha256:...", or None where none is published."""

    name: str
    urls: tuple[str, ...]
    checksum: str | None


class _WrongContents(Exception):
    """What came is not what was published."""


def fetch(file: RemoteFile, folder: Path, wanted_for: str, progress: Progress | None = None, pause: float = 1.0) -> Path:
    """The file in `folder`, downloaded if it is not there yet.

    wanted_for: the name of the data set, for messages. pause: seconds before trying again. Raises DataError, one sentence that
    names --data-dir, when no mirror answers or what comes is not the published file.
    """
    path = folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if path.is_file():
                return path
            troubles = [trouble for url in file.urls if (trouble := _from_mirror(file, url, path, progress, pause))]
            if path.is_file():
                return path
    except OSError as error:
        raise DataError(
            f"'{file.name}' cannot be kept in '{folder}' ({error.strerror or error}); set ARCHSCOUT_CACHE to another folder"
        ) from error
    raise DataError(
        f"the data set '{wanted_for}' is not here and '{file.name}' could not be downloaded ({_most_telling(troubles)}); "
        "give the folder that holds it with --data-dir, or go online"
    )


def _from_mirror(file: RemoteFile, url: str, path: Path, progress: Progress | None, pause: float) -> str | None:
    """Try one mirror a few times; None once the file is there, or the trouble."""
    if path.is_file():
        return None
    part = path.with_name(f"{path.name}.part")
    trouble = "no answer"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause)
        try:
            _receive(url, part, progress)
            _check(file, part)
        except _WrongContents as error:
            part.unlink(missing_ok=True)
            trouble = str(error)
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the part is as long as the file or longer, yet not right
                part.unlink(missing_ok=True)
                continue
            return f"{_host(url)} answers {error.code} {error.reason}"
        except URLError as error:
            return f"{_host(url)}: {getattr(error.reason, 'strerror', None) or error.reason}"
        except (HTTPException, TimeoutError, ConnectionError) as error:
            trouble = f"{_host(url)}: {str(error) or type(error).__name__}"
        else:
            os.replace(part, path)
            return None
    return trouble


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Append to the part what is still missing; a server that cannot resume sends everything again."""
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "archscout", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
        resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if answer.status == 206 and not resumed:
            raise _WrongContents(f"{_host(url)} sends another part of the file than was asked for")
        done = have if resumed else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        with part.open("ab" if resumed else "wb") as file:
            done = _copy(answer, file, done, total, part.name.removesuffix(".part"), progress)
            file.flush()
            os.fsync(file.fileno())
    if done < total:
        raise ConnectionError(f"the connection broke after {done:,} of {total:,} bytes")


def _copy(answer: Any, file: Any, done: int, total: int, name: str, progress: Progress | None) -> int:
    while block := answer.read(_BLOCK):
        file.write(block)
        done += len(block)
        if progress is not None:
            progress(f"downloading {name}", done, total)
    return done


def _check(file: RemoteFile, part: Path) -> None:
    if file.checksum is None:
        return
    kind, _, wanted = file.checksum.partition(":")
    with part.open("rb") as opened:
        came = hashlib.file_digest(opened, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if came != wanted:
        raise _WrongContents(f"its {kind} checksum is {came[:12]}… instead of {wanted[:12]}…")


def _host(url: str) -> str:
    return url.split("/")[2]


def _most_telling(troubles: Sequence[str]) -> str:
    return next((trouble for trouble in troubles if "checksum" in trouble), troubles[0] if troubles else "no mirror is known")
