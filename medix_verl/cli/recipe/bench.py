# SPDX-License-Identifier: Apache-2.0
"""Measures the throughput of a recipe's judge, encoder or rollouts in answers per second, and writes it to a file.

`medix-verl doctor --recipe X --gpus N --gpu-memory G --bench judge.json --bench encoder.json --bench rollout.json` then
reports which of them makes GPUs wait. Measure each on the hardware of the run: the judge's server, the encoder's
device, a GPU of the rollouts. The questions are synthetic; none of your data is sent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.cli.lines import waiting
from medix_verl.recipe.bench.record import KINDS, BenchRecord, write_record
from medix_verl.recipe.identity import versions

if TYPE_CHECKING:
    from omegaconf import DictConfig

__all__ = ["add_arguments", "run"]

COUNTS = {"judge": (512, 256), "encoder": (2048, 256), "rollout": (256, 64)}
"""Default number of answers, and of concurrent requests."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands of `medix-verl bench`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    helps = {
        "judge": "verdicts a second of the recipe's judge, with the run's own pool and client",
        "encoder": "comparisons a second of the recipe's embedding model",
        "rollout": "answers a second of one server of the policy",
    }
    for kind in KINDS:
        command = commands.add_parser(kind, help=helps[kind])
        answers, at_once = COUNTS[kind]
        command.add_argument("--recipe", metavar="NAME", default="medix", help="or a list with commas (default: medix)")
        command.add_argument("--answers", type=int, default=answers, metavar="N", help=f"in all (default: {answers})")
        command.add_argument(
            "--at-once", type=int, default=at_once, metavar="N", help=f"under way at a time (default: {at_once})"
        )
        command.add_argument("--out", type=Path, metavar="FILE", help=f"default: {kind}.json")
        command.add_argument("--trust", action="store_true", help="load the code that the recipe names; read it before")
        command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as verl gets them")
        if kind != "encoder":
            command.add_argument("--gpus", type=int, metavar="N", help="GPUs of the server that is measured")
    served = "base address of the policy's server; without it vLLM is started here with the recipe's model"
    command.add_argument("--url", metavar="URL", help=served)
    command.add_argument("--model", metavar="NAME", help="its name at --url (default: the first that it lists)")
    command.add_argument("--api-key-env", metavar="VARIABLE", help="name of the variable with the key for --url")
    lengths = "tokens of {} (default: the recipe's limit, which is more than most have)"
    command.add_argument("--prompt-tokens", type=int, metavar="N", help=lengths.format("a prompt"))
    command.add_argument("--response-tokens", type=int, metavar="N", help=lengths.format("an answer"))
    command.add_argument("--serve-args", metavar="WORDS", default="", help="further words for vllm serve, in quotes")
    command.add_argument("--log", type=Path, metavar="FILE", help="of the server that is started")


def run(args: argparse.Namespace) -> int:
    """Measure, write the record, and print the result."""
    from medix_verl.recipe.bench.sections import compose_trusted

    with waiting("composing the recipe with verl's own configuration"):
        config = compose_trusted(args.recipe.strip("[]").split(","), args.overrides, args.trust)
    record = {"judge": _judge, "encoder": _encoder, "rollout": _rollout}[args.command](args, config)
    record = replace(record, versions=versions())
    out = args.out or Path(f"{args.command}.json")
    write_record(out, record)
    print(
        f"{args.command}: {record.answers_per_second:.1f} answers a second, {args.at_once} at once; "
        f"half within {record.median_s:.3g} s, 95 % within {record.slow_s:.3g} s"
    )
    if record.failed:
        print(f"{record.failed} of {record.failed + record.answers} failed and are not counted", file=sys.stderr)
    print(f"wrote {out}; medix-verl doctor --recipe {args.recipe} --gpu-memory 80 --bench {out}")
    return 0


def _judge(args: argparse.Namespace, config: DictConfig) -> BenchRecord:
    from medix_verl.recipe.bench.sections import section_of
    from medix_verl.recipe.bench.services import bench_judge

    with waiting(f"judging {args.answers} answers"):
        return asyncio.run(bench_judge(section_of(config, "judge"), args.answers, args.at_once, args.gpus or 0))


def _encoder(args: argparse.Namespace, config: DictConfig) -> BenchRecord:
    from medix_verl.recipe.bench.sections import section_of
    from medix_verl.recipe.bench.services import bench_encoder

    with waiting(f"comparing {args.answers} pairs"):
        return asyncio.run(bench_encoder(section_of(config, "semantic"), args.answers, args.at_once))


def _rollout(args: argparse.Namespace, config: DictConfig) -> BenchRecord:
    from medix_verl.openai_client import read_key
    from medix_verl.recipe.bench.rollout import Lengths, bench_rollout
    from medix_verl.recipe.bench.sections import rollout_settings

    settings = rollout_settings(config)
    prompt = config.data.max_prompt_length if args.prompt_tokens is None else args.prompt_tokens
    response = config.data.max_response_length if args.response_tokens is None else args.response_tokens
    lengths = Lengths(prompt, response, config.actor_rollout_ref.rollout.n)
    gpus = settings["tensor_parallel"] if args.gpus is None else args.gpus
    measure = partial(bench_rollout, lengths=lengths, answers=args.answers, at_once=args.at_once, settings=settings)
    if args.url is not None:
        with waiting(f"generating {args.answers} answers"):
            key = read_key(args.api_key_env)
            return asyncio.run(measure(args.url, model=args.model, gpus=gpus, key=key))
    return _served(args, settings["model"], _words(settings, prompt + response, args.serve_args.split()), measure, gpus)


def _words(settings: dict[str, object], longest: int, typed: Sequence[str]) -> tuple[str, ...]:
    """The arguments of vLLM that the recipe gives; without those for GPUs on a CPU build."""
    from medix_verl.evaluation.models.server import is_cpu_build

    words = ["--max-model-len", str(longest)]
    if not is_cpu_build():
        words += ["--tensor-parallel-size", str(settings["tensor_parallel"])]
        words += ["--gpu-memory-utilization", str(settings["gpu_memory_utilization"])]
    return (*words, *typed)


def _served(
    args: argparse.Namespace,
    model: str,
    words: tuple[str, ...],
    measure: partial[Coroutine[Any, Any, BenchRecord]],
    gpus: int,
) -> BenchRecord:
    """Start a server, measure it, and stop it."""
    from medix_verl.evaluation.models.server import ServerSpec, serving

    with tempfile.TemporaryDirectory() as folder:
        log = args.log or Path(folder) / "server.log"
        path = os.path.expanduser(model)

        def show_line(line: str) -> None:
            print(line, file=sys.stderr)

        what = f"serving {model} and generating {args.answers} answers"
        with waiting(what), serving(ServerSpec(path, extra=words), log, show_line) as url:
            return asyncio.run(measure(url, model=path, gpus=gpus))
