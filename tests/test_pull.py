"""Fetching models: what is pinned is what is kept, and nothing else ever is.

One idea: the network is a server in this process, or not there.  The published models are only
compared where LILLIPUT_SHARED has them.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli_case import Run, runner

from lilliput import pull as store
from lilliput.errors import LilliputError, UsageError

DATA = bytes(range(256)) * 40
NAME = "mlperf-tiny-kws"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every path with `body`, or with a failure where there is none."""

    body: bytes | None = DATA

    def do_GET(self) -> None:
        if self.body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    """A host of models; set `server.body` to what it answers."""
    handler = type("Here", (Handler,), {"body": DATA})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        monkeypatch.setattr(store, "HOST", f"http://127.0.0.1:{host.server_port}")
        monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener())
        yield handler
        host.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no stand-in for the network, no proxy, and one model: `NAME`."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LILLIPUT_CACHE", str(folder))
    monkeypatch.delenv("LILLIPUT_SHARED", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    entry = replace(store.models()[NAME], bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())
    monkeypatch.setattr(store, "models", lambda: {NAME: entry})
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_a_model_is_fetched_once(server: type[Handler], cache: Path) -> None:
    path = store.pull(NAME)
    assert path == cache / f"{NAME}.tflite"
    assert path.read_bytes() == DATA
    server.body = None
    assert store.pull(NAME) == path


def test_other_bytes_are_refused_and_not_kept(server: type[Handler], cache: Path) -> None:
    server.body = DATA[:-1] + b"\0"
    with pytest.raises(LilliputError) as caught:
        store.pull(NAME)
    text = str(caught.value)
    assert text.startswith(f"{NAME}: the model is not what was pinned; nothing was kept\n")
    assert f"expected: {len(DATA):,} bytes, sha256 {hashlib.sha256(DATA).hexdigest()}" in text
    assert f"found: {len(DATA):,} bytes, sha256 " in text
    assert list(cache.glob("**/*")) == []


def test_no_more_is_read_than_is_expected(server: type[Handler], cache: Path) -> None:
    server.body = bytes(50_000_000)
    with pytest.raises(LilliputError, match=f"found: {len(DATA) + 1:,} bytes"):
        store.pull(NAME)
    assert list(cache.glob("**/*")) == []


def test_a_server_without_the_model(server: type[Handler], cache: Path) -> None:
    server.body = None
    with pytest.raises(LilliputError, match="could not be fetched") as caught:
        store.pull(NAME)
    assert "found: HTTP Error 404" in str(caught.value) or "found: Not Found" in str(caught.value)
    assert list(cache.glob("**/*")) == []


def test_without_a_network(run: Run, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(store, "HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener())
    result = run("pull", NAME)
    assert result.code == 1
    assert "the model could not be fetched" in result.err
    assert "help: check the connection, or put the file at " in result.err
    assert not cache.exists()


def test_a_changed_cache_is_fetched_again(server: type[Handler], cache: Path) -> None:
    assert server.body == DATA
    path = store.pull(NAME)
    path.write_bytes(b"changed")
    lines: list[str] = []
    assert store.pull(NAME, lines.append).read_bytes() == DATA
    assert lines[0] == "the cached file was changed: fetching it again"


def test_the_shared_folder_stands_in_for_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    source = tmp_path / "shared" / "models" / store.models()[NAME].shared
    source.parent.mkdir(parents=True)
    source.write_bytes(DATA)
    monkeypatch.setenv("LILLIPUT_SHARED", str(tmp_path / "shared"))
    assert store.pull(NAME).read_bytes() == DATA
    source.write_bytes(DATA[::-1])
    (cache / f"{NAME}.tflite").unlink()
    with pytest.raises(LilliputError, match="not what was pinned"):
        store.pull(NAME)
    assert list(cache.iterdir()) == []


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=rf"there is no model 'mlperf-kws'\n  expected: {NAME}"):
        store.pull("mlperf-kws")


def test_pull_prints_a_path_or_the_list(run: Run, server: type[Handler], cache: Path) -> None:
    assert server.body == DATA
    assert run("pull", NAME).out == f"{cache / NAME}.tflite\n"
    assert run("pull", NAME, "--json").json["path"] == f"{cache / NAME}.tflite"
    assert NAME in run("pull").out
    url = run("pull", "--json").json["models"][0]["url"]
    assert url.endswith("/mlcommons/tiny/" + store.models()[NAME].commit + "/"
                        + store.models()[NAME].path)  # fmt: skip


def test_every_table_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for entry in store.models().values():
        assert len(entry.sha256) == 64
        assert entry.url.startswith("https://raw.githubusercontent.com/")
        assert entry.path.endswith(".tflite")
        assert entry.licence.startswith(("Apache-2.0", "MIT"))


@pytest.mark.shared
def test_the_pinned_hashes_are_those_of_the_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("LILLIPUT_SHARED", str(shared))
    monkeypatch.setenv("LILLIPUT_CACHE", str(tmp_path))
    for name in store.models():
        assert store.pull(name).is_file()
