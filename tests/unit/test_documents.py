# SPDX-License-Identifier: Apache-2.0
"""What the documents and the heads of recipes say to type exists: commands, flags, recipes, files, headings, counts."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.places import ROOT
from medix_verl.cli.main import COMMANDS, main
from medix_verl.recipe.index import recipe_files

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "medix_verl/**/README.md", "recipes/README.md", "tests/**/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"  # it has the commands of earlier versions as well
)
BENCHMARKS = "tests/benchmarks"
HEADED = [*sorted((ROOT / "recipes" / "recipe").glob("*.yaml")), *sorted((ROOT / "examples").rglob("*.*"))]


def fenced(text: str) -> Iterator[str]:
    """The lines of blocks of code: fenced ones, and those that four spaces make."""
    text = re.sub(r" *\\\n *", " ", text)
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.S | re.M):
        yield from block.splitlines()
    yield from re.findall(r"^    (\S.*)$", text, re.M)


def commands() -> list[str]:
    """Every line or piece of code that begins with `medix-verl`, without its comment."""
    found: list[str] = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found += [line for line in fenced(text) if line.startswith("medix-verl ")]
        found += re.findall(r"`(medix-verl [a-z][^`]*)`", text)
    for path in HEADED:
        comments = re.sub(r" *\\\n#? *", " ", path.read_text(encoding="utf-8"))
        found += re.findall(r"^#?  +(medix-verl [a-z].*)$", comments, re.M)
    plain = [re.sub(r"\s+# .*", "", line).strip() for line in found]
    return sorted({line for line in plain if "error:" not in line and line != "medix-verl"})


def alternatives(line: str) -> Iterator[list[str]]:
    """The command lines of `medix-verl recipe list | show NAME`: what follows a bar takes its place."""
    first, *others = (shlex.split(part) for part in line.split(" | "))
    yield first
    yield from ([*first[:2], *words] for words in others)


def refused(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What of a line is no command, or has flags that its command does not know."""
    found = []
    for words in alternatives(line):
        try:
            monkeypatch.setattr(importlib.import_module(COMMANDS[words[1]].module), "run", lambda args: 0)
            code: object = main(words[1:])
        except (KeyError, SystemExit) as error:
            code = error
        if code != 0:
            found.append(f"{shlex.join(words)}: {code!r}")
    return found


def test_each_command_of_the_documents_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [why for line in commands() for why in refused(line, monkeypatch)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["medix-verl nothing", "medix-verl recipe list --no-such-flag"])
def test_a_command_that_is_none_is_seen(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(refused(line, monkeypatch)) == 1


def test_enough_commands_were_found() -> None:
    assert len(commands()) > 25
    assert {line.split()[1] for line in commands()} >= set(COMMANDS) - {"calibrate", "mix"}


def lost_recipes(text: str) -> set[str]:
    """Recipes that a text names and that are not there."""
    typed = re.findall(r"\+recipe(?:@_global_)?=\[?([\w,/]+)", text) + re.findall(r"--recipe ([\w,/]+)", text)
    # One of a namespace is an example of a reader's own.
    names = {name for group in typed for name in group.split(",") if "/" not in name}
    return names - set(recipe_files()) - {"NAME", "R", "ours", ""}


def lost_files(text: str, folder: Path) -> list[str]:
    """Files that a text names or links to, and headings that it links to, that are not there."""
    named = re.findall(
        r"(?<![\w/])(?:tests|examples|recipes|medix_verl)/[\w./-]*\w\.(?:py|md|yaml|sh|sbatch|ipynb)\b", text
    )
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    return [name for name in named if "NAME" not in name and not (ROOT / name).is_file()] + [
        link for link in links if not (folder / link.partition("#")[0]).exists() or is_lost_heading(link, text, folder)
    ]


def is_lost_heading(link: str, text: str, folder: Path) -> bool:
    """Whether a link names a heading that its document has not; headings are spelled as GitHub spells their anchors."""
    path, _, anchor = link.partition("#")
    there = (folder / path).read_text(encoding="utf-8") if path and anchor else text
    headings = re.findall(r"^#+ (.*)$", there, re.M)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return bool(anchor) and anchor not in anchors


def test_recipes_that_are_named_exist() -> None:
    lost = {path: lost_recipes(path.read_text(encoding="utf-8")) for path in (*DOCUMENTS, *HEADED)}
    found = [f"{path.relative_to(ROOT)}: names the recipe {name}" for path, names in lost.items() for name in names]
    assert not found, "\n".join(found)


def test_files_that_are_named_exist() -> None:
    lost = {path: lost_files(path.read_text(encoding="utf-8"), path.parent) for path in DOCUMENTS}
    found = [f"{path.relative_to(ROOT)}: names {name}" for path, names in lost.items() for name in names]
    assert not found, "\n".join(found)


def test_what_is_lost_is_seen() -> None:
    assert lost_recipes("type +recipe=[medix,no_such_one] or --recipe gone") == {"no_such_one", "gone"}
    assert lost_files("see tests/unit/gone.py, [this](gone.md) and README.md", ROOT) == [
        "tests/unit/gone.py",
        "gone.md",
    ]
    assert lost_files("# A `b`: c\n[a](#a-b-c) [b](#gone) [c](README.md#limits) [d](README.md#gone)", ROOT) == [
        "#gone",
        "README.md#gone",
    ]


def test_flags_of_scripts_and_targets_of_make_exist() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    typed = [line.split("  #")[0] for line in fenced(text)] + re.findall(r"`([^`\n]*)`", text)
    found = [re.match(rf"\S*python ({BENCHMARKS}/\w+\.py)(.*)", line) for line in typed]
    scripts = [match.groups() for match in found if match]
    assert len(scripts) > 20
    for script, words in scripts:
        source = (ROOT / script).read_text(encoding="utf-8")
        # A flag may be made of a name in a list.
        names = {name.replace("_", "-") for name in re.findall(r'"(?:--)?([a-z][a-z_-]*)"', source)}
        assert [flag for flag in re.findall(r"--([a-z-]+)", words) if flag not in names] == [], script
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M)) <= targets


def test_the_readme_is_short_and_names_the_readmes_of_the_folders() -> None:
    """What needs explaining is in the folder that it is about; each such document is reached from the first one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 170 and max(map(len, text.splitlines())) <= 160
    folders = [path for path in DOCUMENTS if path.parent != ROOT]
    architecture = (ROOT / "medix_verl" / "README.md").read_text(encoding="utf-8")
    reached = {
        (folder / link.partition("#")[0]).resolve()
        for folder, page in ((ROOT, text), (ROOT / "medix_verl", architecture))
        for link in re.findall(r"\]\(([^)\s]+)\)", page)
    }
    assert len(folders) > 8 and [str(path.relative_to(ROOT)) for path in folders if path not in reached] == []


def test_counts_of_the_readme_are_those_of_the_lists() -> None:
    from medix_verl.data.converters.registry import names
    from medix_verl.evaluation.tasks.table import tasks

    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert {int(n) for n in re.findall(r"(\d+) public sets", text)} == {len({*names()} - {"own", "dicom"})}
    assert {int(n) for n in re.findall(r"(\d+) tasks: the 17", text)} == {len(tasks())}
