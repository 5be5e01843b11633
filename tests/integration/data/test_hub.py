# SPDX-License-Identifier: Apache-2.0
"""Sets read from a hub: the real `datasets` and `huggingface_hub` against a small hub on this machine.

The hub serves a folder over the few calls that the two libraries make. What comes from it must be, byte for byte, what
comes from the folder itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from helpers import set_layouts as layouts

COMMIT = "0123456789abcdef0123456789abcdef01234567"
pytestmark = pytest.mark.timeout(180)


class Hub(BaseHTTPRequestHandler):
    """Gives the files below `root/OWNER/NAME` as data set repositories of one commit."""

    root: Path
    asked: list[str]

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def reply_json(self, value: Any) -> None:
        self.reply(200, json.dumps(value).encode(), Content_Type="application/json")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        repo = self.repo()
        if repo is None or "/paths-info/" not in self.path:
            self.missing()
            return
        self.reply_json([entry(repo, repo / path) for path in form.get("paths", []) if (repo / path).exists()])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        repo, path = self.repo(), unquote(urlsplit(self.path).path)
        if repo is None:
            self.missing()
        elif path.startswith("/api/"):
            self.describe(repo, path)
        elif f"/resolve/{COMMIT}/" in path:
            self.give(repo / path.split(f"/resolve/{COMMIT}/")[1])
        else:
            self.missing()

    def describe(self, repo: Path, path: str) -> None:
        files = sorted(file for file in repo.rglob("*") if file.is_file())
        if "/tree/" in path:
            below = repo / path.split("/tree/")[1].partition("/")[2]
            inside = below.rglob("*") if "recursive=True" in self.path else below.iterdir()
            self.reply_json([entry(repo, item) for item in sorted(inside)])
            return
        siblings = [{"rfilename": file.relative_to(repo).as_posix(), "size": file.stat().st_size} for file in files]
        name = repo.relative_to(self.root).as_posix()
        self.reply_json({"id": name, "sha": COMMIT, "private": False, "gated": False, "siblings": siblings, "tags": []})

    def give(self, file: Path) -> None:
        if not file.is_file():
            self.missing("EntryNotFound")
            return
        data, wanted = file.read_bytes(), self.headers.get("Range")
        tag = {"ETag": '"' + entry(file.parent, file)["oid"] + '"', "Accept_Ranges": "bytes"}
        if wanted is None:
            self.reply(200, data, **tag)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        end = min(int(last) + 1 if last else len(data), len(data))
        span = f"bytes {first}-{end - 1}/{len(data)}"
        self.reply(206, data[int(first) : end], Content_Range=span, **tag)

    def repo(self) -> Path | None:
        parts = urlsplit(self.path).path.removeprefix("/api").split("/")
        folder = self.root.joinpath(*parts[2:4]) if len(parts) > 3 else self.root
        return folder if len(parts) > 3 and parts[1] == "datasets" and folder.is_dir() else None

    def missing(self, code: str = "RepoNotFound") -> None:
        self.reply(404, b"{}", X_Error_Code=code)


def entry(repo: Path, path: Path) -> dict[str, Any]:
    name = path.relative_to(repo).as_posix()
    kind = "directory" if path.is_dir() else "file"
    size = path.stat().st_size if path.is_file() else 0
    return {"type": kind, "path": name, "oid": f"{abs(hash((name, size))):040x}"[:40], "size": size}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, list[str]]]:
    """Address and folder of a hub, and what it was asked."""
    Hub.root, Hub.asked = tmp_path_factory.mktemp("hub"), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Hub.root, Hub.asked
    server.shutdown()
    server.server_close()


def prepare(address: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medix_verl", "prepare", *words, "--workers", "1"],
        capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "repo"),
    [("vqa-rad", "flaviagiammarino/vqa-rad"), ("slake", "BoKelvin/SLAKE"), ("medix-rl-data", "MBZUAI/medix-rl-data")],
)
def test_the_hub_gives_what_the_folder_gives(
    hub: tuple[str, Path, list[str]], name: str, repo: str, tmp_path: Path
) -> None:
    """Rows in parquet with pictures, rows in JSON with pictures in a zip, and shards of a list of pictures."""
    address, root, asked = hub
    folder = root / repo
    if name == "medix-rl-data":
        put_shards(folder)
    else:
        layouts.WRITERS[name](folder, layouts.ROWS[name])
    for out, place in (("hub", ()), ("folder", ("--source", str(folder)))):
        (tmp_path / out).mkdir()
        done = prepare(address, tmp_path / "home", name, *place, "--out", str(tmp_path / out / "train.parquet"))
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "hub" / "train.parquet").read_bytes() == (tmp_path / "folder" / "train.parquet").read_bytes()
    report = json.loads((tmp_path / "hub" / "train.report.json").read_text(encoding="utf-8"))
    assert report["source"]["commit"] == COMMIT and report["source"]["place"] == repo
    assert any(f"/datasets/{repo}/resolve/{COMMIT}/" in line for line in asked)


def put_shards(folder: Path) -> None:
    rows = [
        {
            "id": f"m{n}",
            "image": [layouts.picture(n)],
            "source": "x",
            "problem": f"Q {n}?",
            "solution": f"<X_RAY>a{n}",
        }
        for n in range(6)
    ]
    for number in range(2):
        path = folder / "data" / f"train-{number:05}-of-00002.parquet"
        layouts.write_parquet(path, rows[number * 3 : number * 3 + 3])


def test_a_set_that_the_hub_does_not_have(hub: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    done = prepare(hub[0], tmp_path, "slake", "--source", "nobody/nothing", "--out", str(tmp_path / "a.parquet"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "nobody/nothing: no such folder here, and no such data set on the hub; check --source" in done.stderr
