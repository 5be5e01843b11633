# SPDX-License-Identifier: Apache-2.0
"""One commit of a git repository is read without running, checking out or following anything of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from medix_verl.errors import DataError
from medix_verl.recipe.share import git
from medix_verl.recipe.share.bundle import Bundle, collect
from medix_verl.recipe.share.git import git_source

RECIPE = "# @package _global_\n# Ours.\n# requires: verl>=0.9.0,<0.10; medix-verl>=0.1\na: 1\n"


def run(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=lab", "-c", "user.email=lab@example.org", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits: a tag `v1`, and a second recipe after it."""
    folder = tmp_path / "lab"
    (folder / "recipe" / "lab").mkdir(parents=True)
    run(folder, "init", "-q", "-b", "main")
    (folder / "recipe" / "lab" / "ours.yaml").write_text(RECIPE)
    commit(folder)
    run(folder, "tag", "v1")
    (folder / "recipe" / "lab" / "more.yaml").write_text(RECIPE)
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "-m", "x", "--no-verify")


def fetched(address: str, revision: str | None = None) -> Bundle:
    with git_source(address, revision) as source:
        found = collect(source)
        assert source.origin.commit and len(source.origin.commit) == 40
        assert list(Path(source.repository).glob("hooks/*")) == []
        assert not (Path(source.repository) / "recipe").exists()
    assert not Path(source.repository).exists()
    return found


def test_a_branch_a_tag_and_a_commit(repository: Path) -> None:
    address = f"file://{repository}"
    assert set(fetched(address).heads) == {"lab/ours", "lab/more"}
    assert set(fetched(address, "main").heads) == {"lab/ours", "lab/more"}
    assert set(fetched(address, "v1").heads) == {"lab/ours"}
    head = run(repository, "rev-parse", "HEAD")
    with git_source(address, head) as source:
        assert source.origin.commit == head and source.origin.describe() == f"{address} at {head}"


def test_hooks_filters_and_settings_of_the_repository_run_nothing(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    for hook in ("post-checkout", "post-merge", "pre-auto-gc", "reference-transaction"):
        path = repository / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {trace}\n")
        path.chmod(0o755)
    (repository / ".gitattributes").write_text("*.yaml filter=evil\n")
    (repository / ".lfsconfig").write_text("[lfs]\nurl = https://evil.example\n")
    run(repository, "config", "filter.evil.smudge", f"touch {trace}; cat")
    commit(repository)
    trace.unlink(missing_ok=True)  # the author's own hooks ran when the author committed
    assert set(fetched(f"file://{repository}").heads) == {"lab/ours", "lab/more"}
    assert not trace.exists()


def test_settings_of_the_user_are_not_read(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(f'[url "ext::touch {trace}"]\n\tinsteadOf = file://\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'protocol.ext.allow=always'")
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert "lab/ours" in fetched(f"file://{repository}").heads
    assert not trace.exists()


def test_links_and_submodules(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q", "-b", "main")
    (other / "x").write_text("x")
    commit(other)
    run(repository, "submodule", "--quiet", "add", f"file://{other}", "sub")
    (repository / "outside").symlink_to("/etc/passwd")
    commit(repository)
    assert {"sub", "outside"} <= set(fetched(f"file://{repository}").left_out)
    (repository / "recipe" / "lab" / "link.yaml").symlink_to("/etc/passwd")
    commit(repository)
    with pytest.raises(DataError, match="recipe/lab/link.yaml is a link"):
        fetched(f"file://{repository}")


def test_names_that_lead_elsewhere(repository: Path) -> None:
    """git's own check refuses `..` in a tree; a name with a backslash is left to ours."""
    blob = run(repository, "hash-object", "-w", "recipe/lab/ours.yaml")
    run(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},recipe/lab\\..\\x.yaml")
    run(repository, "commit", "-q", "-m", "x", "--no-verify")
    with pytest.raises(DataError, match="leads elsewhere; refused"):
        fetched(f"file://{repository}")


def test_a_tree_with_dots_is_refused_by_git(repository: Path) -> None:
    blob = run(repository, "hash-object", "-w", "recipe/lab/ours.yaml")
    inner = subprocess.run(
        ["git", "mktree"], cwd=repository, input=f"100644 blob {blob}\tours.yaml\n", capture_output=True, text=True
    ).stdout.strip()
    outer = subprocess.run(
        ["git", "mktree"], cwd=repository, input=f"040000 tree {inner}\t..\n", capture_output=True, text=True
    ).stdout.strip()
    head = run(repository, "commit-tree", outer, "-m", "x")
    run(repository, "update-ref", "refs/heads/evil", head)
    with pytest.raises(DataError, match="cannot be fetched|leads elsewhere"):
        fetched(f"file://{repository}", "evil")


def test_a_large_repository_is_cut_off(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(git, "LARGEST_PACK", 1 << 20)
    (repository / "large.bin").write_bytes(os.urandom(3 << 20))
    commit(repository)
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(f"file://{repository}")


@pytest.mark.parametrize("address", ["ext::sh -c touch% TRACE", "fd::3", "git://127.0.0.1:1/x"])
def test_other_transports_are_off(tmp_path: Path, address: str) -> None:
    """Also where an address came past the check of its words."""
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(address.replace("TRACE", str(tmp_path / "trace")))
    assert not (tmp_path / "trace").exists()


def test_an_option_in_place_of_an_address_or_a_revision(repository: Path, tmp_path: Path) -> None:
    evil = f"--upload-pack=touch {tmp_path / 'trace'}"
    for address, revision in ((evil, None), (f"file://{repository}", evil)):
        with pytest.raises(DataError, match="cannot be fetched"):
            fetched(address, revision)
    assert not (tmp_path / "trace").exists()


class Redirecting(BaseHTTPRequestHandler):
    """Sends whoever asks to another path, where the repository would be."""

    asked: list[str]

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_address[1]}/elsewhere{self.path}")  # type: ignore[index]
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def redirecting() -> Iterator[str]:
    Redirecting.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/lab.git"
    server.shutdown()
    server.server_close()


def test_a_redirect_is_not_followed(redirecting: str) -> None:
    with pytest.raises(DataError, match="cannot be fetched"):
        fetched(redirecting)
    assert Redirecting.asked and not any(path.startswith("/elsewhere") for path in Redirecting.asked)


def test_what_is_not_there(tmp_path: Path, repository: Path) -> None:
    for address, revision in ((f"file://{tmp_path}/no.git", None), (f"file://{repository}", "no-such-branch")):
        with pytest.raises(DataError, match="check the address and the revision"):
            fetched(address, revision)
