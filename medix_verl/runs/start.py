# SPDX-License-Identifier: Apache-2.0
"""Checks a run before Ray starts: a Hydra callback, in the process with the command line.

A recipe names it in `hydra.callbacks`. It runs the checks of `medix-verl doctor`, prints each line that is not ok, and
stops a run that would fail, with the fix, instead of letting it hang or fail minutes later. `medix.start=warn` starts
the run anyway, for example while a judge is still starting; `skip` checks nothing.

verl's SFT trainer is started by torchrun, with one process per GPU; only the first process checks. If only one
process is requested, torchrun is not needed here.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from medix_verl.recipe.check import Check, as_line
from medix_verl.recipe.checks.chosen import check_facts
from medix_verl.recipe.compose import is_sft
from medix_verl.recipe.facts import describe
from medix_verl.recipe.heads import SFT
from medix_verl.recipe.identity import encoder_of, judge_of, section, texts
from medix_verl.recipe.primary import lost_keys
from medix_verl.runs.compose import recipes, resolved, terms_of
from medix_verl.secrets import scrub_text

__all__ = ["MODES", "RunStart"]

MODES = ("refuse", "warn", "skip")


class RunStart:
    """Hydra callback with those methods of `hydra.experimental.callback.Callback` that are used."""

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Print the settings in force and each check that is not ok.

        Raises:
            SystemExit: A check failed, and `medix.start` is not `warn`.
        """
        from omegaconf import OmegaConf

        prepare_processes(config)
        if not is_first():
            return  # torchrun stops all processes if the first one exits
        mode = OmegaConf.select(config, "medix.start") or MODES[0]
        if mode not in MODES:
            raise SystemExit(f"medix-verl: error: medix.start is {mode!r}; accepted: {', '.join(MODES)}")
        if mode == "skip":
            return
        failed = False
        for check in self._look(config):  # printed one by one, because a judge may respond slowly
            if check.status != "ok":
                say(as_line(check))
            failed = failed or check.status == "FAIL"
        if failed and mode == MODES[0]:
            raise SystemExit(
                "medix-verl: error: the run would fail, and has not started; fix the lines above that FAIL, or type "
                "medix.start=warn (++medix.start=warn) to start it all the same"
            )

    def _look(self, config: Any) -> Iterator[Check]:
        from omegaconf import OmegaConf

        plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        words = [str(word) for word in OmegaConf.select(config, "hydra.overrides.task") or ()]
        say(cold_start(resolved(plain)) if is_sft(plain) else in_force(resolved(plain)))
        yield from lost_keys(config, words)
        names = recipes_of(config, words)
        facts = describe(plain, trust=True, names=names, words=words)
        yield from check_facts({**facts, "name": ",".join(names) or "your configuration", "devices": devices()})

    def __getattr__(self, name: str) -> Any:
        """No-ops for Hydra's other callback methods."""
        if name.startswith("on_"):
            return lambda **_: None
        raise AttributeError(name)


def recipes_of(config: Any, words: Sequence[str]) -> list[str]:
    """The recipes as typed, or the one in the defaults list of the primary configuration."""
    from omegaconf import OmegaConf

    chosen = OmegaConf.select(config, "hydra.runtime.choices.recipe")
    return recipes(words) or ([str(chosen)] if chosen else [])


def say(line: str) -> None:
    """Print a line to stderr, like verl's own messages."""
    print(f"medix-verl: {scrub_text(line)}", file=sys.stderr, flush=True)


def in_force(values: Any) -> str:
    """Judge, encoder and terms of a resolved configuration, in one line."""
    terms = ", ".join(f"{name} {weight:g}" for name, weight in terms_of(values).items())
    return f"judge: {judge_of(values).describe()}; encoder: {encoder_of(values).describe()}; terms: {terms}"


def cold_start(values: Any) -> str:
    """Model, data and prompt of a resolved configuration of the SFT trainer, in one line."""
    data = section(values, "data")
    files = ", ".join(texts(data.get("train_files")))
    prompt = section(data, "medix").get("prompt")
    return f"SFT of {section(values, 'model').get('path')} on {files}; prompt: {prompt}"


def is_first() -> bool:
    """Whether this is the first or only process of a run."""
    return os.environ.get("RANK", "0") == "0"


def prepare_processes(config: Any) -> None:
    """Set torchrun's variables for an SFT run in one process; refuse a run in several processes without torchrun.

    Raises:
        SystemExit: Several processes are requested, and torchrun has not started them.
    """
    from omegaconf import OmegaConf

    program = OmegaConf.select(config, "hydra.job.name")
    if program == f"{SFT}_ray" and OmegaConf.select(config, "trainer.device") == "cpu":
        # It does not request GPUs from Ray and would wait for one forever.
        raise SystemExit(
            f"medix-verl: error: verl.trainer.{program} needs accelerators; type python -m verl.trainer.{SFT} ..."
        )
    if program != SFT or "RANK" in os.environ or not is_sft(config):
        return
    count = config.trainer.n_gpus_per_node * config.trainer.nnodes
    if count != 1:
        raise SystemExit(
            f"medix-verl: error: trainer.n_gpus_per_node={config.trainer.n_gpus_per_node} asks for {count} processes, "
            f"and this is one: type torchrun --standalone --nproc-per-node {config.trainer.n_gpus_per_node} "
            f"-m verl.trainer.{SFT} ..., or trainer.n_gpus_per_node=1"
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)


def devices() -> int:
    """Number of accelerators that verl finds here."""
    from verl.plugin.platform.platform_manager import get_platform

    platform = get_platform()
    return int(platform.device_count()) if platform.is_available() and platform.device_name != "cpu" else 0
