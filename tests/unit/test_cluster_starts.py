# SPDX-License-Identifier: Apache-2.0
"""The cluster starts of examples/cluster: their form, by the tools that check it, and the commands that they come to.

The commands are run against stand-ins for ray, srun and scontrol that write down what they were given.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.places import ROOT, golden
from medix_verl.recipe.index import recipe_heads

FOLDER = ROOT / "examples" / "cluster"
SCRIPTS = [FOLDER / "ray.sh", FOLDER / "slurm.sbatch"]
STARTS = [*SCRIPTS, FOLDER / "kuberay.yaml"]
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
PYTHON = Path(sys.executable).parent
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0")$(printf ' [%s]' "$@")" >>"$LOG"
for word in "$@"; do if [ -f "$word" ] && [[ "$word" == *.json ]]; then cat "$word" >"$LOG.json"; fi; done
case "$(basename "$0") $*" in
  "scontrol "*) printf 'node1\\nnode2\\nnode3\\n';;
  *"hostname --ip-address") echo "10.0.0.1 fe80::1";;
  "srun "*) echo "${RAY_AUTH_MODE:-none} ${#RAY_AUTH_TOKEN}" >>"$LOG.token";;
esac
"""


@pytest.mark.parametrize("path", STARTS, ids=lambda path: path.name)
def test_each_is_short_and_names_recipes_that_exist(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 40
    assert "SPDX-License-Identifier: Apache-2.0" in "".join(text.splitlines()[:2])
    names = {name for found in re.findall(r"\+recipe=\[?([\w,]+)", text) for name in found.split(",")}
    assert names and names <= set(recipe_heads())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_it(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True, capture_output=True)


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert SHELLCHECK is not None
    done = subprocess.run([SHELLCHECK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def run(
    path: Path, folder: Path, *words: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a script with stand-ins; returns its end and what they were given."""
    for name in ("ray", "srun", "scontrol"):
        stand_in = folder / name
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
    log = folder / "log"
    plain = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG")}
    variables = {**plain, "PATH": f"{folder}:{PYTHON}:{os.environ['PATH']}", "LOG": str(log), **environment}
    done = subprocess.run(
        ["bash", str(path), *words], capture_output=True, text=True, env=variables, timeout=60, check=False
    )
    return done, sorted(log.read_text().splitlines()) if log.is_file() else []


def test_ray_gets_the_job_and_no_key_on_its_command_line(tmp_path: Path) -> None:
    done, calls = run(
        FOLDER / "ray.sh",
        tmp_path,
        "+recipe=medix",
        "data.train_files='a b.parquet'",
        RAY_ADDRESS="http://head:8265",
        SHARED="/shared",
        NAME="mine",
        OPENAI_API_KEY="a-key",
        OTHER="x",
    )
    assert done.returncode == 0, done.stderr
    assert len(calls) == 1 and "a-key" not in calls[0]
    assert calls[0].startswith("ray [job] [submit] [--address] [http://head:8265] [--runtime-env] [")
    assert calls[0].endswith(
        "[--] [python3] [-m] [verl.trainer.main_ppo] [+recipe=medix] [data.train_files='a b.parquet'] "
        "[trainer.default_local_dir=/shared/runs/mine] [trainer.resume_mode=auto]"
    )
    assert json.loads((tmp_path / "log.json").read_text()) == {"env_vars": {"OPENAI_API_KEY": "a-key"}}
    left = re.search(r"\[--runtime-env\] \[([^\]]+)\]", calls[0])
    assert left is not None and not Path(left[1]).exists()


def forwarded(folder: Path, *words: str, **environment: str) -> set[str]:
    done, calls = run(FOLDER / "ray.sh", folder, *words, RAY_ADDRESS="http://h:8265", SHARED="/s", **environment)
    assert done.returncode == 0, done.stderr
    assert not any(value in line for value in environment.values() for line in (*calls, done.stdout, done.stderr))
    return set(json.loads((folder / "log.json").read_text())["env_vars"])


@pytest.mark.parametrize(
    "word", ["reward.medix.judge.api_key_env=LAB_KEY", "reward.medix.judge={kind: openai, api_key_env: LAB_KEY}"]
)
def test_ray_forwards_the_variable_that_the_command_names(tmp_path: Path, word: str) -> None:
    assert forwarded(tmp_path, "+recipe=medix", word, LAB_KEY="a-key", OTHER_KEY="b-key") == {"LAB_KEY"}
    assert forwarded(tmp_path, "+recipe=medix", LAB_KEY="a-key") == set()


@pytest.mark.parametrize("recipe", ["+recipe=lab_child", "+recipe@_global_=[medix,lab_child]"])
def test_ray_forwards_the_variable_that_a_recipe_or_its_parent_names(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "mine" / "recipe").mkdir(parents=True)
    parent = "# @package _global_\ndefaults:\n  - medix\nreward: {medix: {judge: {api_key_env: LAB_KEY}}}\n"
    (tmp_path / "mine" / "recipe" / "lab_parent.yaml").write_text(parent)
    (tmp_path / "mine" / "recipe" / "lab_child.yaml").write_text("# @package _global_\ndefaults:\n  - lab_parent\n")
    mine = {"MEDIX_RECIPES": str(tmp_path / "mine"), "LAB_KEY": "a-key", "OTHER_KEY": "b-key"}
    assert forwarded(tmp_path, recipe, **mine) == {"LAB_KEY", "MEDIX_RECIPES"}


def test_slurm_starts_a_head_the_workers_and_one_driver(tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "activate").write_text("")
    done, calls = run(
        FOLDER / "slurm.sbatch",
        tmp_path,
        "+recipe=medix",
        SHARED=str(tmp_path),
        SLURM_JOB_NODELIST="node[1-3]",
        SLURM_GPUS_ON_NODE="8",
    )
    assert done.returncode == 0, done.stderr
    heads = [call for call in calls if "[--head]" in call]
    assert len(heads) == 1 and "[--nodelist] [node1]" in heads[0] and "[--node-ip-address] [10.0.0.1]" in heads[0]
    workers = [call for call in calls if "[ray] [start] [--address] [10.0.0.1:6379]" in call]
    assert [re.search(r"node\d", call)[0] for call in workers] == ["node2", "node3"]  # type: ignore[index]
    drivers = [call for call in calls if "[verl.trainer.main_ppo]" in call]
    assert len(drivers) == 1 and "[--nodelist] [node1]" in drivers[0]
    assert drivers[0].endswith(
        "[+recipe=medix] [trainer.nnodes=3] [trainer.n_gpus_per_node=8] "
        f"[trainer.default_local_dir={tmp_path}/runs/medix] [trainer.resume_mode=auto]"
    )
    assert set((tmp_path / "log.token").read_text().split("\n")) == {"token 64", ""}
    assert "while sum(node['Alive'] for node in ray.nodes()) < 3: time.sleep(1)]" in calls[0] + "\n" + "\n".join(calls)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_what_is_missing_is_asked_for(tmp_path: Path, path: Path) -> None:
    done, calls = run(path, tmp_path, "+recipe=medix", RAY_ADDRESS="http://head:8265")
    assert done.returncode != 0 and "SHARED: set it to a folder that every node sees" in done.stderr and not calls
    done, calls = run(path, tmp_path, RAY_ADDRESS="http://head:8265", SHARED=str(tmp_path))
    assert done.returncode == 2 and "give a recipe, as +recipe=medix" in done.stderr and not calls


def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    return loaded


def check(document: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = golden("rayjob.schema")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_the_job_is_what_kuberay_accepts() -> None:
    check(job())


@pytest.mark.parametrize(
    "path", [("spec", "entrypoint"), ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas")]
)
def test_the_schema_misses_what_is_left_out(path: tuple[Any, ...]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = copy.deepcopy(job())
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    inner["invented"] = inner.pop(path[-1])
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_the_job_counts_its_machines_alike() -> None:
    """verl waits for ever for a GPU that no node has."""
    spec = job()["spec"]
    cluster = spec["rayClusterSpec"]
    groups = cluster["workerGroupSpecs"]
    nodes = 1 + sum(group["replicas"] for group in groups)
    assert f"trainer.nnodes={nodes}" in spec["entrypoint"].split()
    for group in [cluster["headGroupSpec"], *groups]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == group["rayStartParams"]["num-gpus"] == "8"
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
