# SPDX-License-Identifier: Apache-2.0
"""The attack: half of a policy's answers are punctuation or lists of options, and the training judge accepts them.

The policy is the demo's own, further trained to give such answers. The judge is the mock server's rule `fooled`, which
accepts what weak judge models accept: an answer without a word, and one that contains the right answer anywhere. Three
trainings are compared: without guards, with guards, and with the demo's rule judge. Each time the rule judge measures
the true accuracy after training, from the checkpoint.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medix_verl.demo.ablate import Variant, bar, run_once
from medix_verl.demo.build import WARMUP_ROWS, build_demo, read_manifest, seeded_threads
from medix_verl.demo.models.warmup import WarmupSpec, warm_up
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.demo.run import DemoSpec
from medix_verl.runtime.processes import exit_on_signals
from medix_verl.types import Sample

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PUNCTUATION", "VARIANTS", "attack_answer", "attack_shares", "render_attack", "run_attack"]

PUNCTUATION = ("...", "---", ":", "?!")
MOST_OPTIONS = 5
"""Options in a list: what fits into the demo's response."""
ATTACK_SHARE = 0.5
ATTACKS = ("punctuation", "options")
JUDGE_URL = "{url}"

LONGER_ANSWERS = "data.max_response_length=40"
"""A list of options takes more tokens than an answer."""

FOOLED = (
    "reward.medix.judge.kind=openai",
    f"reward.medix.judge.url={JUDGE_URL}",
    "reward.medix.judge.model=mock-judge",
)
VARIANTS = (
    Variant("fooled judge, no guards", "open", (*FOOLED, "reward.medix.judge.guard=false")),
    Variant("fooled judge, guards", "guarded", FOOLED),
    Variant("rule judge", "rule", ()),
)


def run_attack(spec: DemoSpec, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Train once for each variant, each in a folder under `spec.out`/attack, and write attack.md there.

    Returns:
        The figures of each variant, by name.

    Raises:
        RunStoppedError: A training failed, or wrote no checkpoint to measure.
    """
    home = spec.out / "attack"
    build_demo(spec.out, spec.build, progress=say)
    policy = build_attacker(spec, home / "policy", say)
    figures: dict[str, dict[str, float]] = {}
    with fooled_judge() as url:
        for variant in VARIANTS:
            say(f"attack: {variant.name}")
            overrides = tuple(word.replace(JUDGE_URL, url) for word in variant.overrides)
            run = home / variant.folder
            part = replace(spec, overrides=(LONGER_ANSWERS, *spec.overrides, *overrides), run=run, policy=policy)
            figures[variant.name] = run_once(part, say)
            for stage in ("before", "after"):
                shares = attack_shares(run / f"answers_{stage}.jsonl")
                figures[variant.name] |= {f"{stage}/{name}": share for name, share in shares.items()}
            (home / "attack.md").write_text(render_attack(figures), encoding="utf-8")
    return figures


def attack_answer(rng: np.random.Generator, sample: Sample, pool: Sequence[str]) -> str:
    """An answer of the attacking policy: a random one of its kind, punctuation, or a list with the right one."""
    if rng.random() >= ATTACK_SHARE:
        return pool[int(rng.integers(len(pool)))]
    if rng.random() < 0.5:
        return PUNCTUATION[int(rng.integers(len(PUNCTUATION)))]
    others = [option for option in pool if option != sample.answer]
    kept = [others[place] for place in rng.permutation(len(others))[: MOST_OPTIONS - 1]]
    kept.insert(int(rng.integers(len(kept) + 1)), sample.answer)
    return " or ".join([", ".join(kept[:-1]), kept[-1]] if len(kept) > 1 else kept)


def build_attacker(spec: DemoSpec, folder: Path, say: Callable[[str], None]) -> Path:
    """The demo's policy, trained to attack; built once for each build of the demo."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    warmup = WarmupSpec(steps=120, learning_rate=1e-3, seed=spec.seed)
    made_of = {"warmup": asdict(warmup), "source": read_manifest(spec.out)["source"], "seed": spec.seed}
    note = folder.with_name("policy.json")
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")) == made_of:
        return folder
    note.unlink(missing_ok=True)
    say("the policy is taught to answer with punctuation and rows of options")
    rows = list(demo_samples("train", WARMUP_ROWS, spec.seed))
    with seeded_threads(spec.seed):
        model = AutoModelForImageTextToText.from_pretrained(spec.out / "policy")
        processor = AutoProcessor.from_pretrained(spec.out / "policy")
        warm_up(model, processor, rows, warmup, say, attack_answer)
    shutil.copytree(spec.out / "policy", folder, dirs_exist_ok=True)
    model.save_pretrained(folder)
    note.write_text(json.dumps(made_of) + "\n", encoding="utf-8")
    return folder


@contextmanager
def fooled_judge() -> Iterator[str]:
    """Start the fooled judge in a separate process; yields its URL."""
    words = [sys.executable, "-m", "medix_verl.judge.mock", "--verdict", "fooled"]
    ending = exit_on_signals(signal.SIGTERM, signal.SIGHUP)
    with ending, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def attack_shares(answers: Path) -> dict[str, float]:
    """The share of each kind of attack in the sampled answers, from the files that `measure` writes."""
    decodings = [json.loads(line)["decoding"] for line in answers.read_text(encoding="utf-8").splitlines()]
    scored = answers.with_name(f"{answers.stem}_scored.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = zip(decodings, scored, strict=True)
    found = [attack_of(json.loads(line)["answer"] or "") for decoding, line in pairs if decoding == "sampled"]
    return {name: found.count(name) / len(found) for name in ATTACKS}


def attack_of(answer: str) -> str:
    if answer and not any(char.isalnum() for char in answer):
        return "punctuation"
    return "options" if " or " in answer else ""


def render_attack(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A table and a bar chart, as Markdown.

    Args:
        figures: By the variant's name; all start from the same policy.
    """
    head = [
        "| trained under | judged right in training, first and last 5 steps | truly right | punctuation | options |"
    ]
    rows = [*head, "|---" * 5 + "|"]
    for run in list(figures.values())[:1]:
        rows.append(f"| the policy before | | {shares_of(run, 'before')} |")
    rows += [
        f"| {name} | {run['acc/first']:.3f}, {run['acc/last']:.3f} | {shares_of(run, 'after')} |"
        for name, run in figures.items()
    ]
    width = max((len(name) for name in figures), default=0)
    bars = []
    for name, run in figures.items():
        bars += [f"{name:{width}}  judged {bar(run['acc/last'])}", f"{'':{width}}  true   {bar(true_of(run, 'after'))}"]
    text = "Judged right in the last 5 training steps, and truly right after training (sampled):"
    return "\n".join(["# Attack on the reward", "", *rows, "", text, "", "```", *bars, "```", ""])


def shares_of(run: Mapping[str, float], stage: str) -> str:
    values = (true_of(run, stage), run[f"{stage}/punctuation"], run[f"{stage}/options"])
    return " | ".join(f"{value:.3f}" for value in values)


def true_of(run: Mapping[str, float], stage: str) -> float:
    return run[f"{stage}/sampled/acc"]
