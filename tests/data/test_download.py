from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archscout.core.errors import DataError
from archscout.data._download import RemoteFile, fetch

CONTENT = bytes(range(256)) * 4096
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        server.asked.append((self.path, start))
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/plain":
            start = 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if self.path != "/wrong" else b"\0" * (len(CONTENT) - start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        if self.path in ("/breaks", "/plain") and len(server.asked) <= server.breaks:
            body = body[: len(body) // 3]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    asked: list[tuple[str, int]]
    breaks = 0


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server: Server, *pages: str, checksum: str | None = SHA) -> RemoteFile:
    return RemoteFile("file.bin", tuple(f"http://127.0.0.1:{server.server_port}/{page}" for page in pages), checksum)


def test_download_once(server: Server, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    path = fetch(remote(server, "good"), tmp_path / "new", "some-set", lambda *step: told.append(step))
    assert path.read_bytes() == CONTENT and told[-1] == ("downloading file.bin", len(CONTENT), len(CONTENT))
    assert fetch(remote(server, "good"), tmp_path / "new", "some-set") == path
    assert len(server.asked) == 1
    assert {entry.name for entry in path.parent.iterdir()} <= {"file.bin", "file.bin.lock"}


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.breaks = 2
    path = fetch(remote(server, "breaks"), tmp_path, "some-set", pause=0)
    assert path.read_bytes() == CONTENT
    starts = [start for _, start in server.asked]
    assert starts[0] == 0 < starts[1] < starts[2]


def test_a_server_that_cannot_resume(server: Server, tmp_path: Path) -> None:
    server.breaks = 1
    assert fetch(remote(server, "plain"), tmp_path, "some-set", pause=0).read_bytes() == CONTENT


def test_the_part_of_an_earlier_process_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(server, "good"), tmp_path, "some-set").read_bytes() == CONTENT
    assert server.asked == [("/good", 1000)]


@pytest.mark.parametrize("part", [b"wrong" * 10, CONTENT + b"more", CONTENT])
def test_a_wrong_part_is_thrown_away(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "file.bin.part").write_bytes(part)
    assert fetch(remote(server, "good"), tmp_path, "some-set", pause=0).read_bytes() == CONTENT


def test_a_second_mirror_helps(server: Server, tmp_path: Path) -> None:
    path = fetch(remote(server, "missing", "wrong", "good"), tmp_path, "some-set", pause=0)
    assert path.read_bytes() == CONTENT


def test_wrong_contents_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'some-set' .*its sha256 checksum is .*--data-dir") as caught:
        fetch(remote(server, "wrong", "missing"), tmp_path, "some-set", pause=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists() and not (tmp_path / "file.bin.part").exists()


def test_offline(tmp_path: Path) -> None:
    file = RemoteFile("file.bin", ("http://127.0.0.1:9/file.bin",), SHA)
    with pytest.raises(DataError, match="give the folder that holds it with --data-dir, or go online"):
        fetch(file, tmp_path, "some-set", pause=0)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="ARCHSCOUT_CACHE"):
        fetch(file, tmp_path / "file" / "folder", "some-set", pause=0)
