# SPDX-License-Identifier: Apache-2.0
"""What is taken of a shared folder, and what refuses the whole of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from medix_verl.errors import DataError
from medix_verl.recipe.share import bundle as limits
from medix_verl.recipe.share.bundle import Bundle, Entry, Origin, collect
from medix_verl.recipe.share.contents import faults_of
from medix_verl.recipe.share.folder import FolderSource

HEAD = "# @package _global_\n#\n# Ours.\n#\n# requires: verl>=0.9.0,<0.10; medix-verl>=0.1\n"
RECIPE = HEAD + "# files: judge.txt, terms.py\n\ndefaults: [/recipe/medix, _self_]\ntrainer: {nnodes: 1}\n"


class Listed:
    """A source of given names, as a repository may have them and a folder cannot."""

    def __init__(self, *entries: Entry, text: str = "") -> None:
        self.listed, self.text, self.asked = entries, text, []  # type: ignore[var-annotated]
        self.origin = Origin("git", "there")

    def entries(self) -> Iterator[Entry]:
        yield from self.listed

    def read(self, name: str, most: int) -> bytes:
        self.asked.append(name)
        return self.text.encode()


def lab(folder: Path, text: str = RECIPE, **files: str) -> Path:
    """A folder with a recipe, a prompt, code, and further files by their paths with __ for /."""
    place = folder / "recipe" / "lab"
    place.mkdir(parents=True)
    (place / "ours.yaml").write_text(text)
    (place / "judge.txt").write_text("{question}")
    (place / "terms.py").write_text("print('EXECUTED')\n")
    (folder / "README.md").write_text("# Lab\n")
    return folder


def taken(folder: Path) -> Bundle:
    return collect(FolderSource(folder))


def test_recipes_and_what_they_list_are_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    lab(tmp_path)
    (tmp_path / "recipe" / "lab" / "README.md").write_text("x")
    (tmp_path / "recipe" / "lab" / "ours.lock.json").write_text("{}")
    (tmp_path / "recipe" / "lab" / "weights.pkl").write_bytes(b"\x80\x04")
    (tmp_path / "recipe" / "lab" / "other.py").write_text("1")
    (tmp_path / "setup.py").write_text("print('EXECUTED')")
    (tmp_path / ".env").write_text("SECRET=1")
    (tmp_path / "link").symlink_to("/etc/passwd")
    found = taken(tmp_path)
    assert (found.namespace, list(found.heads), found.code) == ("lab", ["lab/ours"], ["lab/terms.py"])
    inside = {"README.md", "judge.txt", "ours.lock.json", "ours.yaml", "terms.py"}
    assert set(found.inside) == inside and "README.md" in found.files
    assert found.left_out == ("link", "recipe/lab/other.py", "recipe/lab/weights.pkl", "setup.py")
    assert faults_of(found, {}) == []


NAMES = {
    "../recipe/lab/ours.yaml": "leads elsewhere; refused",
    "/etc/passwd": "leads elsewhere; refused",
    "recipe/lab/../../../x.yaml": "leads elsewhere; refused",
    "recipe//lab/ours.yaml": "leads elsewhere; refused",
    "recipe\\lab\\ours.yaml": "leads elsewhere; refused",
    "recipe/lab/a\nb.yaml": "leads elsewhere; refused",
    "recipe/lab/\u202eours.yaml": "leads elsewhere; refused",
    "recipe/medix.yaml": "has no namespace, and could take the name",
    "recipe/medix_cpu.yaml": "has no namespace",
    "recipe/lab/deep/ours.yaml": "has no namespace",
    "recipe/medix/ours.yaml": "the namespace 'medix' cannot be used",
    "recipe/medix_lab/ours.yaml": "the namespace 'medix_lab' cannot be used",
    "recipe/Lab/ours.yaml": "differ in capitals alone",
    "recipe/lab/our s.yaml": "a recipe is called NAME.yaml",
    "recipe/lab/-x.yaml": "a recipe is called NAME.yaml",
    "recipe/lab/ours.yml": "a recipe is called NAME.yaml",
    "recipe/lab/OURS.yaml": "differ in capitals alone",
    "recipe/2lab/ours.yaml": "the namespace '2lab' cannot be used",
    "recipe/other/ours.yaml": "share each namespace by itself",
    "notes.txt": None,
}


@pytest.mark.parametrize(("name", "message"), NAMES.items(), ids=list(map(repr, NAMES)))
def test_names(name: str, message: str | None) -> None:
    source = Listed(Entry("recipe/lab/ours.yaml", 9), Entry(name, 9), text=HEAD + "a: 1\n")
    if message is None:
        assert collect(source).left_out == (name,)
    else:
        with pytest.raises(DataError, match=message):
            collect(source)
        assert source.asked == []


@pytest.mark.parametrize("kind", ["link", "other"])
def test_links_and_submodules_among_recipes_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="recipes are plain files"):
        collect(Listed(Entry("recipe/lab/ours.yaml", 9, kind)))  # type: ignore[arg-type]
    assert collect(Listed(Entry("recipe/lab/a.yaml", 9), Entry("sub", 0, kind))).left_out == ("sub",)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["file", "folder", "namespace"])
def test_links_in_a_folder(tmp_path: Path, what: str) -> None:
    lab(tmp_path / "real")
    place = tmp_path / "shared"
    if what == "file":
        lab(place, HEAD)
        (place / "recipe" / "lab" / "judge.txt").unlink()
        (place / "recipe" / "lab" / "judge.txt").symlink_to("/etc/hostname")
    elif what == "namespace":
        (place / "recipe").mkdir(parents=True)
        (place / "recipe" / "lab").symlink_to(tmp_path / "real" / "recipe" / "lab")
    else:
        place.mkdir()
        (place / "recipe").symlink_to(tmp_path / "real" / "recipe")
    with pytest.raises(DataError, match="is a link; recipes are plain files"):
        taken(place)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    lab(tmp_path, HEAD)
    os.mkfifo(tmp_path / "recipe" / "lab" / "pipe.yaml")
    with pytest.raises(DataError, match="is no file; recipes are plain files"):
        taken(tmp_path)


def test_a_link_that_comes_between_listing_and_reading_is_not_followed(tmp_path: Path) -> None:
    source = FolderSource(lab(tmp_path))
    (tmp_path / "recipe" / "lab" / "ours.yaml").unlink()
    (tmp_path / "recipe" / "lab" / "ours.yaml").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="ours.yaml"):
        source.read("recipe/lab/ours.yaml", 10)


def test_amounts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = Listed(Entry("recipe/lab/ours.yaml", limits.MOST_BYTES + 1))
    with pytest.raises(DataError, match="a file of a recipe has 1048576 at most"):
        collect(big)
    assert big.asked == []
    with pytest.raises(DataError, match="more than the 1048576 bytes"):  # a size that was not true
        collect(Listed(Entry("recipe/lab/ours.yaml", 1), text="#" * (limits.MOST_BYTES + 1)))
    with pytest.raises(DataError, match="more than 20000 files"):
        collect(Listed(*(Entry(f"f{n}", 1) for n in range(20_002))))
    with pytest.raises(DataError, match="more than 200 files"):
        collect(Listed(*(Entry(f"recipe/lab/r{n}.yaml", 1) for n in range(201))))
    lab(tmp_path, RECIPE + "#" * (limits.MOST_BYTES + 1))
    with pytest.raises(DataError, match="a file of a recipe has 1048576 at most"):
        taken(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ("../x.txt", r"lists '../x.txt' in `# files:`; accepted are .py, .txt, .jinja"),
        ("weights.pkl", "accepted are .py, .txt, .jinja"),
        ("model.pt", "accepted are .py, .txt, .jinja"),
        ("gone.txt", "and there is no recipe/lab/gone.txt"),
    ],
)
def test_only_prompts_and_code_are_listed(tmp_path: Path, files: str, message: str) -> None:
    lab(tmp_path, HEAD + f"# files: {files}\n\na: 1\n")
    with pytest.raises(DataError, match=message):
        taken(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\x80\x04\x95", "is not a text in UTF-8"), (b"a\0b", "has null characters"), (b"PK\xff", "UTF-8")],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    lab(tmp_path)
    (tmp_path / "recipe" / "lab" / "judge.txt").write_bytes(data)
    with pytest.raises(DataError, match=message):
        taken(tmp_path)


def test_without_recipes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="there is no recipe/NAMESPACE/NAME.yaml"):
        taken(tmp_path)


FAULTS = {
    "data: {train_files: /home/me/train.parquet}": "data.train_files names a place of one machine",
    "data: {train_files: [a.parquet, ~/b.parquet]}": "data.train_files names a place",
    "trainer: {default_local_dir: ../../up}": "trainer.default_local_dir names a place",
    "trainer: {default_local_dir: a/../../b}": "trainer.default_local_dir names a place",
    "reward: {medix: {terms: {x: {path: ./terms.py}}}}": r"\$\{medix.beside:NAMESPACE/FILE\}",
    "reward: {medix: {terms: {x: {path: file:///x.py}}}}": "names a place",
    "a: &x [1, 2]\nb: [*x, *x]": "has an alias or a tag of YAML",
    "a: !!python/object/apply:os.system ['touch x']": "has an alias or a tag of YAML",
    "a: !!binary aGVsbG8=": "has an alias or a tag of YAML",
    "a: [1": "it is not YAML",
    "[1, 2]": "it is not a mapping of keys",
    "a: " + "[" * 60 + "]" * 60: "nested deeper than 40 levels",
    f"judge: {{api_key: sk-{'x' * 20}}}": "holds what looks like a secret",
    "env: {MY_TOKEN: abcdefgh12345}": "holds what looks like a secret",
    "url: https://me:password1@host/v1": "holds what looks like a secret",
    "note: hidden-value-9": "holds what looks like a secret",
    "defaults: [/recipe/medix, lab/other]": r"write - /recipe/lab/other",
    "defaults: [/recipe/lab/other]": "it stands on lab/other, which is not here",
}


@pytest.mark.parametrize(("line", "message"), FAULTS.items(), ids=[line[:40] for line in FAULTS])
def test_what_must_not_be_shared(tmp_path: Path, line: str, message: str) -> None:
    import re

    lab(tmp_path, f"{HEAD}\n{line}\n")
    found = faults_of(taken(tmp_path), {"MY_SECRET": "hidden-value-9"})
    assert any(re.search(message, fault) for fault in found), found
    assert not re.search("hidden-value|sk-x|password1|abcdefgh12345", " ".join(found))


def test_secrets_beside_the_recipe(tmp_path: Path) -> None:
    lab(tmp_path)
    code = tmp_path / "recipe" / "lab" / "terms.py"
    code.write_text("token = tokenizer.decode(x)\n")
    assert faults_of(taken(tmp_path), {}) == []
    code.write_text(f"KEY = 'hf_{'x' * 20}'\n")
    assert faults_of(taken(tmp_path), {})[0].startswith("recipe/lab/terms.py holds what looks like a secret")
    code.write_text("x = 1\n")
    (tmp_path / "README.md").write_text("export HF_TOKEN=hidden-value-8\n")
    assert faults_of(taken(tmp_path), {})[0].startswith("README.md holds what looks like a secret")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("# @package _global_\n", "states no range for verl and medix-verl; write # requires:"),
        ("# @package _global_\n# requires: verl>=0.9\n", "states no range for medix-verl"),
        ("# @package _global_\n# requires: anything\n", "is not a name with a range"),
        ("# requires: verl>=0.9; medix-verl>=0.1\n", "must begin with the line '# @package _global_'"),
    ],
)
def test_heads(tmp_path: Path, head: str, message: str) -> None:
    lab(tmp_path, f"{head}\na: 1\n")
    assert any(message in fault for fault in faults_of(taken(tmp_path), {}))
