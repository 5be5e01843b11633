# SPDX-License-Identifier: Apache-2.0
"""What README, CONTRIBUTING and the heads of recipes tell to type exists: commands, flags, recipes, files, counts."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from medix_verl.cli.main import COMMANDS, main
from medix_verl.recipes_index import recipe_files

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "recipes" / "README.md"]
HEADED = [*sorted((ROOT / "recipes" / "recipe").glob("*.yaml")), *sorted((ROOT / "examples").rglob("*.*"))]


def fenced(text: str) -> Iterator[str]:
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.S | re.M):
        yield from block.replace("\\\n", " ").splitlines()


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
    return sorted({line for line in plain if "error:" not in line})


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
    typed = re.findall(r"\+recipe(?:@_global_)?=\[?([\w,]+)", text) + re.findall(r"--recipe ([\w,]+)", text)
    names = {name for group in typed for name in group.split(",")}
    return names - set(recipe_files()) - {"NAME", "R", "ours", ""}


def lost_files(text: str, folder: Path) -> list[str]:
    """Files that a text names or links to, and that are not there."""
    named = re.findall(r"\b(?:tests|examples|recipes|medix_verl)/[\w./-]*\w\.(?:py|md|yaml|sh|sbatch)\b", text)
    links = [link for link in re.findall(r"\[[^\]]*\]\(([^)#]+)\)", text) if "://" not in link]
    return [name for name in named if not (ROOT / name).is_file()] + [
        link for link in links if not (folder / link).exists()
    ]


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


def test_flags_of_scripts_and_targets_of_make_exist() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    for script, words in re.findall(r"`python (tests/benchmarks/\w+\.py)([^`]*)`", text):
        source = (ROOT / script).read_text(encoding="utf-8")
        assert [flag for flag in re.findall(r"--[a-z-]+", words) if f'"{flag}"' not in source] == [], script
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M)) <= targets


def test_counts_of_the_readme_are_those_of_the_lists() -> None:
    from medix_verl.data.converters.registry import names
    from medix_verl.evaluation.tasks import tasks

    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert {int(n) for n in re.findall(r"(\d+) public sets", text)} == {len({*names()} - {"own", "dicom"})}
    assert {int(n) for n in re.findall(r"(\d+) tasks: the 17", text)} == {len(tasks())}
