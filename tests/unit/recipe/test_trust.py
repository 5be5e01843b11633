# SPDX-License-Identifier: Apache-2.0
"""What is accepted by name: a line, its value, or the package that its module is in; and nothing beside it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from medix_verl.errors import ConfigError
from medix_verl.recipe.beside import beside
from medix_verl.recipe.code import not_accepted, trust_word

LINES = {
    "a.path=pkg://lab.terms": ["pkg://lab.terms", "lab", "a.path=pkg://lab.terms"],
    "reward.medix.judge.kind=lab.judges:First": ["lab.judges:First", "lab.judges", "lab"],
    "x._target_=os.mkdir": ["os.mkdir", "os"],
    "model.trust_remote_code=True": ["model.trust_remote_code=True"],
    "env.pip=['a b']": ["env.pip=['a b']"],
    "a.path=/srv/x.py": ["/srv/x.py"],
    "url=https://h.org/v1": ["https://h.org/v1"],
}
OTHERS = [
    "",
    "true",
    "True",
    "la",
    "lab.term",
    "lab.terms.",
    "mkdir",
    "o",
    "*",
    "a",
    "a.path",
    "path",
    "h.org",
    "x.py",
    "[",
]


@pytest.mark.parametrize(("line", "words"), LINES.items(), ids=LINES)
def test_names(line: str, words: list[str]) -> None:
    assert all(not_accepted([line], [word]) == [] for word in words)
    assert all(not_accepted([line], [word]) == [line] for word in OTHERS)
    (typed,) = shlex.split(trust_word(line))
    assert not_accepted([line], [typed]) == []


def test_all_and_none() -> None:
    assert not_accepted(LINES, True) == [] and not_accepted(LINES, False) == list(LINES) == not_accepted(LINES, ())


def test_a_file_beside_a_recipe_is_named_by_its_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for top in ("mine", "other"):
        (tmp_path / top / "recipe" / "lab").mkdir(parents=True)
        (tmp_path / top / "recipe" / "lab" / "terms.py").write_text("")
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path / "mine"))
    line = f"path={tmp_path / 'mine' / 'recipe' / 'lab' / 'terms.py'}"
    assert trust_word(line) == "lab/terms.py" and not_accepted([line], ["lab/terms.py"]) == []
    other = line.replace("mine", "other")
    assert not_accepted([other], ["lab/terms.py"]) == [other]


@pytest.mark.parametrize("name", ["lab/gone.txt", "../secret.txt", "lab/link.txt", "lab", "/etc/hostname"])
def test_only_files_beside_a_recipe_are_given(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipe" / "lab").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "recipe" / "lab" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "recipe" / "lab" / "judge.txt").write_text("x")
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    assert beside("lab/judge.txt") == str(tmp_path / "recipe" / "lab" / "judge.txt")
    with pytest.raises(ConfigError, match="lies beside a recipe; type medix-verl recipe list"):
        beside(name)
