# SPDX-License-Identifier: Apache-2.0
"""The doctor's template check: a perfect response is shown with its score, and what is in its way is said."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from helpers.fake_tokenizer import FakeTokenizer
from medix_verl.cli.recipe import doctor
from medix_verl.errors import ConfigError
from medix_verl.recipe.checks.chosen import check_chosen
from medix_verl.recipe.checks.template import check_template
from medix_verl.rewards.example import perfect_response, try_template
from medix_verl.rewards.spec import RewardSpec

POLICY: dict[str, Any] = {
    "path": "lab/model", "tokenizer": "lab/model", "trust_remote_code": False, "template": None, "settings": {},
    "prompt": "medix",
}  # fmt: skip


def checked(tokenizer: Any, reward: dict[str, Any] | None = None, **policy: Any) -> list[tuple[str, str, str, str]]:
    found = check_template({**POLICY, **policy}, reward or {}, "medix", lambda *_: tokenizer)
    return [(check.name, check.status, check.found, check.todo) for check in found]


def test_a_plain_template() -> None:
    ((name, status, found, _),) = checked(FakeTokenizer())
    assert (name, status) == ("template", "ok")
    assert found == (
        r'lab/model: the prompt ends with "<|im_start|>assistant\n", which says nothing of the thinking; a perfect '
        r'response "<X_RAY>\n<think>There is an opacity in the right lower lobe.</think>\n<answer>pneumonia</answer>" '
        "scores 1.0"
    )


def test_a_template_that_opens_the_thinking() -> None:
    ((_, status, found, _),) = checked(FakeTokenizer("<think>\n"), prompt="medix_thinking")
    assert status == "ok" and "which opens the thinking" in found
    assert r'response "There is an opacity in the right lower lobe.\n</think>\n\n<X_RAY>\n<answer>' in found
    assert found.endswith("scores 1.0")


@pytest.mark.parametrize(
    ("start", "prompt", "todo"),
    [
        ("<think>\n", "medix", "data.medix.prompt=medix_thinking"),
        ("<think>\n", "medix_short", "data.medix.prompt=medix_thinking"),
        ("", "medix_thinking", "data.medix.prompt=medix"),
        ("", "published", "data.medix.prompt=medix"),
    ],
)
def test_a_prompt_that_asks_for_another_form(start: str, prompt: str, todo: str) -> None:
    assert [(name, status, what) for name, status, _, what in checked(FakeTokenizer(start), prompt=prompt)][1:] == [
        ("prompt", "warn", todo)
    ]


def test_a_model_with_a_mark_of_its_own_is_named() -> None:
    shown = FakeTokenizer(chat_template=FakeTokenizer().chat_template + "{# [THINK] #}")
    name, status, found, todo = checked(shown)[1]
    assert (name, status, todo) == ("prompt", "warn", "data.medix.prompt=medix_thinking")
    assert "[THINK] (Magistral" in found
    assert len(checked(shown, prompt="medix_thinking")) == 1


def test_a_template_that_opens_a_mark_of_its_own_is_named() -> None:
    tokenizer = FakeTokenizer("[THINK]")
    ((_, status, found, _),) = checked(tokenizer, prompt="medix_thinking")
    assert status == "ok" and "which opens the thinking with [THINK] (Magistral" in found
    assert r"[/THINK]\n\n<X_RAY>" in found and found.endswith("scores 1.0")


def test_a_setting_that_spoils_a_perfect_response() -> None:
    (_, status, found, todo), more = checked(FakeTokenizer("<think>\n"), {"thinking": "none"}, prompt="medix_thinking")
    assert more[:2] + more[3:] == ("thinking", "warn", "type reward.medix.thinking=auto")
    assert "reward.medix.thinking=none, and by the chat template it is open" in more[2]
    assert status == "FAIL" and found.endswith("scores 0.855: format 0, modality 0")
    assert todo.startswith("reward.medix.thinking=auto")


def test_a_setting_that_gives_form_away_is_said() -> None:
    """Under `open` the whole form is well formed too, but so is one without an opener."""
    (_, status, _, _), (name, warned, found, _) = checked(FakeTokenizer(), {"thinking": "open"})
    assert (status, name, warned) == ("ok", "thinking", "warn") and "by the chat template it is none" in found


def test_special_tags_and_unknown_marks_fail() -> None:
    ((_, status, found, todo),) = checked(FakeTokenizer(special=["<answer>"]))
    assert status == "FAIL" and "<answer> as special tokens" in found and "special_tokens=keep" in todo
    ((_, status, found, todo),) = checked(FakeTokenizer("<reasoning>\n"))
    assert status == "FAIL" and "'<reasoning>'" in found and "reward.medix.thinking=none" in todo


def test_a_model_that_is_not_here_is_a_warning() -> None:
    def load(*_: Any) -> Any:
        raise ConfigError("no tokenizer of lab/model could be loaded on this machine: OSError")

    (check,) = check_template(POLICY, {}, "medix", load)
    assert (check.status, check.name) == ("warn", "template")
    assert check.todo == "medix-verl doctor --recipe medix --model FOLDER, or hf download lab/model"


def test_terms_of_ones_own_are_left_out() -> None:
    own = {"terms": {"brevity": {"path": "pkg://nowhere.at.all", "name": "Brevity", "weight": 0.5}}}
    assert try_template(RewardSpec.from_mapping(own), FakeTokenizer(), {})[0].score == 1.0


def test_the_published_rule_has_one_form() -> None:
    spec = RewardSpec(rule="published")
    for start in ("", "<think>\n", "<think>\n\n</think>\n\n"):
        pictured, text_only = try_template(spec, FakeTokenizer(start), {})
        assert pictured.response.startswith("<X_RAY>\n<think>") and text_only.response.startswith("<think>")
        assert (pictured.score, text_only.score) == (1.0, 1.0)
    assert perfect_response(pictured.end, "published") != perfect_response(pictured.end)


def test_nothing_to_look_at() -> None:
    checks = check_chosen({"name": "medix", "error": "no key"}, ["medix"])
    assert [check.name for check in checks] == ["recipe"]


@pytest.mark.parametrize(
    ("path", "word"),
    [("lab/model", "actor_rollout_ref.model.path='lab/model'"), ("it's", r"actor_rollout_ref.model.path='it\'s'")],
)
def test_model_is_an_override(path: str, word: str) -> None:
    assert doctor._overrides(argparse.Namespace(model=path, recipe=None, overrides=["a=1"])) == ["a=1", word]
    assert doctor._overrides(argparse.Namespace(model=None, recipe=None, overrides=["a=1"])) == ["a=1"]
