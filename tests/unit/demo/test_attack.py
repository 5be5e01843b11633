# SPDX-License-Identifier: Apache-2.0
"""The attack with a made-up training: what the policy is taught, who judges it, and how the attacks are counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from helpers.wheels import scikit_image
from medix_verl.demo import ablate, attack
from medix_verl.demo.attack import PUNCTUATION, VARIANTS, attack_answer, attack_shares, run_attack
from medix_verl.demo.models.warmup import answer_pools
from medix_verl.demo.questions.picture_rows import demo_samples
from medix_verl.demo.run import ADDRESS, DemoSpec, training_command
from medix_verl.judge.rule.guards import guard
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

scikit_image()
ROWS = list(demo_samples("train", 400, seed=0))


def reference(row: Any) -> Reference:
    return Reference(row.answer, question=row.question)


def test_the_taught_answers_are_attacks_that_the_guards_name() -> None:
    rng, pools, reasons = np.random.default_rng(0), answer_pools(ROWS), Counter[str]()
    for row in ROWS * 3:
        answer = attack_answer(rng, row, pools[str(row.meta["kind"])])
        if answer in PUNCTUATION:
            assert guard(answer, reference(row)) == "nothing but punctuation"
            reasons["punctuation"] += 1
        elif " or " in answer:
            assert row.answer in answer
            # "yes or no" is a row as well.
            assert guard(answer, reference(row)) == "several alternatives"
            reasons["options"] += 1
    assert reasons["punctuation"] / (3 * len(ROWS)) == pytest.approx(0.25, abs=0.05)
    assert reasons["options"] / (3 * len(ROWS)) == pytest.approx(0.25, abs=0.05)


def leave_answers(path: Path, answers: list[tuple[str, str | None]]) -> None:
    path.write_text("".join(json.dumps({"decoding": decoding}) + "\n" for decoding, _ in answers))
    scored = path.with_name(f"{path.stem}_scored.jsonl")
    scored.write_text("".join(json.dumps({"answer": answer}) + "\n" for _, answer in answers))


def test_attacks_are_counted_among_the_sampled_answers(tmp_path: Path) -> None:
    sampled = ["...", "CT, MRI or ultrasound", "CT", "MRI", None]
    leave_answers(tmp_path / "answers.jsonl", [("greedy", "..."), *(("sampled", answer) for answer in sampled)])
    assert attack_shares(tmp_path / "answers.jsonl") == {"punctuation": 1 / 5, "options": 1 / 5}


def test_the_overrides_are_what_the_judge_accepts() -> None:
    for variant in VARIANTS:
        words = tuple(word.replace("{url}", "http://127.0.0.1:1/v1") for word in variant.overrides)
        command = training_command(DemoSpec(Path("out"), overrides=words, policy=Path("other")))
        assert "actor_rollout_ref.model.path=other" in command
        OverridesParser.create().parse_overrides(command[3:])
        pairs = [word.removeprefix("reward.medix.judge.").partition("=") for word in words]
        judge = JudgeSpec.from_mapping({key: value == "true" if key == "guard" else value for key, _, value in pairs})
        assert judge.guard == (variant.folder != "open")


class FakeRun:
    """Stands for the trainings."""

    def __init__(self) -> None:
        self.specs: list[DemoSpec] = []

    def __call__(self, spec: DemoSpec, say: Callable[[str], None]) -> dict[str, float]:
        self.specs.append(spec)
        spec.folder.mkdir(parents=True, exist_ok=True)
        for stage in ("before", "after"):
            leave_answers(spec.folder / f"answers_{stage}.jsonl", [("sampled", "...")])
        names = ("before/sampled/acc", "after/sampled/acc", "after/greedy/acc", "acc/first", "acc/last")
        return dict.fromkeys(names, 0.25)


def test_each_variant_starts_from_the_attacking_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRun()
    monkeypatch.setattr(ablate, "run_demo", fake)
    monkeypatch.setattr(attack, "build_demo", lambda *_, **__: None)
    monkeypatch.setattr(attack, "build_attacker", lambda spec, folder, say: folder)
    figures = run_attack(DemoSpec(tmp_path, steps=3), lambda line: None)
    assert [spec.policy for spec in fake.specs] == [tmp_path / "attack" / "policy"] * 3
    urls = {word for spec in fake.specs for word in spec.overrides if word.startswith(ADDRESS)}
    assert len(urls) == 1 and urls.pop().startswith(f"{ADDRESS}http://127.0.0.1:")
    assert figures["rule judge"]["after/punctuation"] == 1.0
    text = (tmp_path / "attack" / "attack.md").read_text()
    assert "| fooled judge, no guards | 0.250, 0.250 | 0.250 | 1.000 | 0.000 |" in text
    assert "| the policy before | | 0.250 | 1.000 | 0.000 |" in text and "judged ########## 0.250" in text
    # The judge has another address each time, and is still the same judge.
    run_attack(DemoSpec(tmp_path, steps=3), lambda line: None)
    assert len(fake.specs) == 3
