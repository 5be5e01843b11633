# SPDX-License-Identifier: Apache-2.0
"""Looking at a stranger's recipe runs nothing of it: its code is listed, and refused until it is trusted."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from medix_verl.recipe import code
from medix_verl.recipe.checks import probe
from medix_verl.recipe.code import foreign_code
from medix_verl.recipe.compose import compose_recipes
from medix_verl.recipe.facts import describe
from medix_verl.recipe.own import placed
from medix_verl.recipe.plan.from_recipe import plan_recipe
from medix_verl.recipe.validate import check

pytestmark = pytest.mark.timeout(600)
HEAD = "# @package _global_\ndefaults: [medix, _self_]\n"
CODE = {
    "a class that Hydra would call": (
        "actor_rollout_ref: {actor: {optim: {_target_: os.mkdir, path: TRACE}}}",
        "actor_rollout_ref.actor.optim._target_=os.mkdir",
    ),
    "a function of verl's that is no configuration": (
        "algorithm: {_target_: verl.utils.import_utils.load_module, module_path: FOLDER/evil.py}",
        "algorithm._target_=verl.utils.import_utils.load_module",
    ),
    "a term in a module": (
        "reward: {medix: {terms: {own: {path: 'pkg://evil_module', name: Term, weight: 0.1}}}}",
        "reward.medix.terms.own.path=pkg://evil_module",
    ),
    "a term in a file": (
        "reward: {medix: {terms: {own: {path: FOLDER/evil.py, name: Term, weight: 0.1}}}}",
        "reward.medix.terms.own.path=",
    ),
    "a data set class in a file without .py": (
        "data: {custom_cls: {path: FOLDER/evil, name: A}}",
        "data.custom_cls.path=",
    ),
    "a library that verl imports": (
        "actor_rollout_ref: {model: {external_lib: evil_module}}",
        "external_lib=evil_module",
    ),
    "the code of a model": ("actor_rollout_ref: {model: {trust_remote_code: true}}", "trust_remote_code=True"),
    "packages that Ray installs": ("ray_kwargs: {ray_init: {runtime_env: {pip: [evil]}}}", "runtime_env.pip="),
    "a callback of Hydra": (
        "hydra: {callbacks: {x: {_target_: os.mkdir, path: TRACE}}}",
        "hydra.callbacks.x._target_=os.mkdir",
    ),
    "a variable of the process": (
        "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
        "hydra.job.env_set.LD_PRELOAD=evil.so",
    ),
}


def stranger(folder: Path, line: str) -> Path:
    """A recipe, beside code that leaves a trace when it is run."""
    trace = f"import pathlib\npathlib.Path({str(folder / 'trace')!r}).mkdir()\n"
    (folder / "evil.py").write_text(trace)
    (folder / "evil").write_text(trace)
    (folder / "evil_module.py").write_text(trace)
    path = folder / "theirs.yaml"
    path.write_text(HEAD + line.replace("TRACE", str(folder / "trace")).replace("FOLDER", str(folder)) + "\n")
    return path


@pytest.mark.parametrize(("line", "listed"), CODE.values(), ids=CODE)
def test_code_is_listed_and_not_run(line: str, listed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    path = stranger(tmp_path, line)
    found = check(str(path))
    assert any(listed in fault and "read it, then type --trust " in fault for fault in found), found
    with placed(str(path)) as names:
        if not line.startswith("hydra"):
            assert any("--trust" in fault for fault in describe(compose_recipes(names))["faults"])
            assert "FAIL" in [one.status for one in plan_recipe(names, None, None, 80.0)]
    assert not (tmp_path / "trace").exists() and "evil_module" not in sys.modules


def test_what_an_installed_package_offers_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "installed_terms", lambda: {"own": "lab.terms:Own"})
    monkeypatch.setattr(
        code, "installed_kinds", lambda: {"lab": metadata.EntryPoint("lab", "lab.judges:Lab", "medix_verl.judges")}
    )
    words = ["+reward.medix.terms.own={weight: 0.1}", "reward.medix.judge.kind=lab"]
    config = compose_recipes(["medix"], words)
    assert foreign_code(config) == [
        "reward.medix.terms.own=lab.terms:Own", "reward.medix.judge.kind=lab.judges:Lab",
    ]  # fmt: skip


def test_our_recipes_need_no_trust() -> None:
    for names in (["medix"], ["medix", "medix_megatron"], ["medix_cpu"], ["medix", "medix_judge_verl"]):
        assert foreign_code(compose_recipes(names)) == []


def test_trust_loads_what_is_named(tmp_path: Path) -> None:
    path = stranger(tmp_path, CODE["a term in a file"][0])
    assert not any("evil.py has no 'Term'" in fault for fault in check(str(path), trust=["other.py"]))
    assert not (tmp_path / "trace").exists()
    assert any("evil.py has no 'Term'" in fault for fault in check(str(path), trust=[str(tmp_path / "evil.py")]))
    assert (tmp_path / "trace").exists()


def test_on_the_command_line(tmp_path: Path) -> None:
    path = stranger(tmp_path, CODE["a class that Hydra would call"][0])
    command = [sys.executable, "-m", "medix_verl", "recipe", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1 and "os.mkdir; read it, then type --trust os.mkdir" in done.stdout
    assert not (tmp_path / "trace").exists()


def test_the_doctor_lists_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIX_RECIPES", str(tmp_path))
    monkeypatch.setattr(probe, "_recipes", dict)  # composing all of them is another test's
    (tmp_path / "recipe").mkdir()
    for number, name in enumerate(("a callback of Hydra", "a class that Hydra would call")):
        stranger(tmp_path, CODE[name][0]).rename(tmp_path / "recipe" / f"theirs{number}.yaml")
        (fault, *_) = probe.probe(f"theirs{number}")["chosen"]["faults"]
        assert CODE[name][1] in fault and "--trust" in fault
    assert not (tmp_path / "trace").exists()
