# SPDX-License-Identifier: Apache-2.0
"""Measures a recipe's judge and encoder with the judge pool, client and encoder of a run.

The questions are synthetic, all different, and not decided by guards or equality: each reaches the service, which is
more load than in a run. They contain no patient data and may be sent to any server. The reply cache is off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from medix_verl.embedding.encoder import build_encoder
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError
from medix_verl.judge.judge import GuardedJudge, Question, build_judge
from medix_verl.judge.pictures import probe_picture
from medix_verl.judge.spec import JudgeSpec
from medix_verl.recipe.bench.measure import measure
from medix_verl.recipe.bench.record import BenchRecord, make_record
from medix_verl.types import Reference

__all__ = ["bench_encoder", "bench_judge", "encoder_settings", "judge_settings", "question"]

_FINDINGS = ("nodule", "opacity", "cyst", "lesion", "haematoma", "fracture", "effusion", "stone", "mass", "ulcer")
_PLACES = ("lung", "liver", "kidney", "spleen", "femur", "brain", "pancreas", "bladder", "colon", "thyroid")
_SIGNS = (
    "fever",
    "cough",
    "weight loss",
    "back pain",
    "jaundice",
    "syncope",
    "dyspnoea",
    "a rash",
    "fatigue",
    "oedema",
)


def question(number: int) -> tuple[str, Reference]:
    """A candidate answer and its reference: different for each number, and similar enough to need a model's verdict."""
    place, finding = _PLACES[number % 10], _FINDINGS[number // 10 % 10]
    sign = _SIGNS[number // 100 % 10]
    case = f"case {abs(number)}{'w' if number < 0 else ''}"
    asked = f"A patient ({case}) has {sign}; the image shows a {finding} of the {place}. What is it, and what follows?"
    candidate = f"most likely a benign {finding} in the {place}, to be followed because of {sign}"
    return candidate, Reference(f"{place} {finding} with {sign}, of benign appearance ({case})", question=asked)


def judge_settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a recipe's `judge` section for the record."""
    return asdict(JudgeSpec.from_mapping(section))


def encoder_settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a recipe's `semantic` section for the record."""
    return asdict(SemanticSpec.from_mapping(section))


async def bench_judge(section: Mapping[str, Any], answers: int, at_once: int, gpus: int = 0) -> BenchRecord:
    """Measure the judge of a recipe's `judge` section.

    Raises:
        ConfigError: The judge is served by verl inside the run, or cannot be built.
        SetupError: No question was judged.
    """
    spec = JudgeSpec.from_mapping(section)
    if spec.kind == "verl" or any(member.kind == "verl" for member in spec.members):
        raise ConfigError(
            "the judge is served by verl inside a run (kind=verl), so that there is none to ask now; start its model "
            "with vllm serve and type reward.medix.judge.kind=openai reward.medix.judge.url=http://HOST:PORT/v1"
        )
    judge = build_judge(replace(spec, cache="none"))
    pictures = (probe_picture(),) if spec.shows_pictures else ()

    async def ask(number: int) -> str:
        candidate, reference = question(number)
        return await ask_past_guards(judge, candidate, replace(reference, images=pictures))

    try:
        found = await measure(ask, answers, at_once)
    finally:
        await judge.close()
    return make_record("judge", found, at_once, asdict(spec), {"pictures": len(pictures)}, gpus)


async def ask_past_guards(judge: GuardedJudge, candidate: str, reference: Reference) -> str:
    """Reason why the judge gave no verdict, or an empty string; bypasses guards and equality."""
    verdict = await judge.ask_judge(Question(candidate, reference))
    return "" if verdict.correct is not None else verdict.reason or str(verdict.failure)


async def bench_encoder(section: Mapping[str, Any], answers: int, at_once: int) -> BenchRecord:
    """Measure the encoder of a recipe's `semantic` section on pairs of candidate and reference.

    Raises:
        ConfigError: The recipe has no encoder.
        EncoderError: The model cannot be loaded.
        SetupError: No pair was compared.
    """
    spec = SemanticSpec.from_mapping(section)
    encoder = build_encoder(spec)

    async def ask(number: int) -> str:
        candidate, reference = question(number)
        # The number keeps the candidate out of every cache.
        similarity = await encoder.compare(f"{candidate}, {number}", reference.answer)
        return "" if similarity.ok else similarity.reason

    try:
        found = await measure(ask, answers, at_once)
    finally:
        await encoder.close()
    return make_record("encoder", found, at_once, asdict(spec), {})
