# SPDX-License-Identifier: Apache-2.0
"""A perfect response under a model's chat template scores 1.0 with every recipe; what could not is said before the run.

Tokenizers are made here; templates are shaped as those of released models that open the thinking, or close it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from helpers.recipes import composed
from medix_verl.chat_template import ReplyReader, load_tokenizer
from medix_verl.cli.main import main
from medix_verl.demo.models.tokenizer import CHAT_TEMPLATE, GRAMMAR_TOKENS, train_tokenizer
from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import PPO, trainer_of
from medix_verl.recipe.index import recipe_heads
from medix_verl.rewards.example import try_template
from medix_verl.rewards.spec import RewardSpec
from medix_verl.thinking import MARKS, Thinking

pytestmark = pytest.mark.timeout(300)
START = "<|im_start|>assistant\\n"
TEMPLATES = {
    "plain": "",
    "opens": "<think>\\n",
    "opens, no line": "<think>",
    "opens <thinking>": "<thinking>\\n",
    "opens and begins": "<think>\\nOkay, ",
    "closes an empty block": "<think>\\n\\n</think>\\n\\n",
    "closes Gemma 4's": "<|channel>thought\\n<channel|>",
}
SAYS = {
    "plain": Thinking.NONE,
    "closes an empty block": Thinking.CLOSED,
    "closes Gemma 4's": Thinking.CLOSED,
    **dict.fromkeys(("opens", "opens, no line", "opens <thinking>", "opens and begins"), Thinking.OPEN),
}
RECIPES = tuple(name for name in recipe_heads() if trainer_of(name, recipe_heads()) == PPO)
TEXTS = ["There is an opacity in the right lower lobe.", "assistant user pneumonia", *GRAMMAR_TOKENS] * 3


def template(words: str) -> str:
    """A chat template whose generation prompt ends with `words`."""
    return CHAT_TEMPLATE.replace(START, START + words)


def with_specials(tokenizer: Any, tokens: Sequence[str]) -> Any:
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens], special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module")
def plain() -> Any:
    return train_tokenizer(TEXTS)


@pytest.fixture
def fresh() -> Callable[..., Any]:
    def build(words: str = "", special: Sequence[str] = ()) -> Any:
        tokenizer = with_specials(train_tokenizer(TEXTS), special)
        tokenizer.chat_template = template(words)
        return tokenizer

    return build


@pytest.fixture(scope="module")
def rewards() -> dict[str, RewardSpec]:
    """The reward of every recipe; overlays on `medix`."""
    from omegaconf import OmegaConf

    specs = {}
    for name in RECIPES:
        block: Any = OmegaConf.to_container(composed(name).reward.medix, resolve=True)
        specs[name] = RewardSpec.from_mapping(block)
    return specs


@pytest.mark.parametrize("words", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_perfect_response_scores_one(plain: Any, rewards: dict[str, RewardSpec], recipe: str, words: str) -> None:
    plain.chat_template = template(words)
    pictured, text_only = try_template(rewards[recipe], plain, {})
    says = SAYS[next(name for name, found in TEMPLATES.items() if found == words)]
    assert pictured.end.thinking is says is text_only.end.thinking
    assert (pictured.score, text_only.score, pictured.below) == (1.0, 1.0, ())
    if rewards[recipe].rule == "medix" and says is Thinking.OPEN:
        assert "<think" not in pictured.response and pictured.response.index("</think") < pictured.response.index(
            "<X_RAY>"
        )


OPENS = {"Qwen/Qwen3-VL-30B-A3B-Thinking", "Qwen/Qwen3.5-9B", "Qwen/Qwen3.6-27B"}
"""Models of the recipes whose own template ends the prompt with `<think>`."""


def test_recipes_ask_for_the_tag_where_their_model_can_write_it() -> None:
    prompts = {
        name: composed(name)
        for name, head in recipe_heads().items()
        if name in RECIPES and not (head.is_overlay or head.is_part)
    }
    for name, config in prompts.items():
        thinking = config.actor_rollout_ref.model.path in OPENS
        assert (config.data.medix.prompt == "medix_thinking") is thinking, name
    assert {config.actor_rollout_ref.model.path for config in prompts.values()} >= OPENS


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.name)
def test_a_template_that_opens_a_mark_of_its_own(fresh: Callable[..., Any], mark: Any) -> None:
    tokenizer = fresh(mark.opener.replace("\n", "\\n"))
    pictured, _ = try_template(RewardSpec(), tokenizer, {})
    assert (pictured.end.thinking, pictured.end.mark, pictured.score) == (Thinking.OPEN, mark, 1.0)


def test_a_template_switches_with_its_settings(fresh: Callable[..., Any]) -> None:
    tokenizer = fresh("{%- if enable_thinking is defined and not enable_thinking -%}X{%- endif -%}")
    tokenizer.chat_template = CHAT_TEMPLATE.replace(
        "{{- '" + START + "' -}}",
        "{{- '" + START + "' -}}{%- if enable_thinking is defined and enable_thinking is false -%}"
        "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- else -%}{{- '<think>\\n' -}}{%- endif -%}",
    )
    assert try_template(RewardSpec(), tokenizer, {})[0].end.thinking is Thinking.OPEN
    assert try_template(RewardSpec(), tokenizer, {"enable_thinking": False})[0].end.thinking is Thinking.CLOSED


def test_a_template_for_lists_alone(fresh: Callable[..., Any]) -> None:
    tokenizer = fresh("<think>\\n")
    tokenizer.chat_template = (
        "{%- if messages[0]['content'] is string -%}{{- raise_exception('a list') -}}{%- endif -%}"
        + (tokenizer.chat_template)
    )
    assert try_template(RewardSpec(), tokenizer, {})[0].score == 1.0


@pytest.mark.parametrize("words", ["<reasoning>\\n", "<|begin_of_thought|>", "[REASONING]", "<analysis>"])
def test_an_unknown_mark_is_refused_by_name(fresh: Callable[..., Any], words: str) -> None:
    with pytest.raises(
        ConfigError, match="the prompt ends with .*accepted: <think>, .*type reward.medix.thinking=none"
    ) as error:
        try_template(RewardSpec(), fresh(words), {})
    assert words.removesuffix("\\n") in str(error.value)
    # The recipe's word is taken.
    assert try_template(RewardSpec(thinking="none"), fresh(words), {})[0].score == 1.0


SPECIAL = {
    "think": ["<think>", "</think>"],
    "the closer alone": ["</think>"],
    "answer": ["<answer>"],
    "a modality": ["<MAMMOGRAPHY>"],
}


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
def test_special_tags_are_refused_and_can_be_kept(special: list[str]) -> None:
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(train_tokenizer(TEXTS).backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["special"] or token["content"] in special
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token=AddedToken("<|im_end|>", special=True)
    )
    tokenizer.chat_template = template("")
    with pytest.raises(ConfigError, match="special tokens.*type reward.medix.special_tokens=keep") as error:
        try_template(RewardSpec(), tokenizer, {})
    assert all(tag in str(error.value) for tag in special)
    kept = try_template(RewardSpec(special_tokens="keep"), tokenizer, {})
    assert [example.score for example in kept] == [1.0, 1.0]
    reader = ReplyReader(tokenizer, "keep")
    text = "<MAMMOGRAPHY><think>a</think><answer>b</answer>"
    ids = tokenizer.encode(text + "<|im_end|><|endoftext|>", add_special_tokens=False)
    assert reader.text(ids) == text


@pytest.mark.parametrize("mark", [mark for mark in MARKS[1:] if mark.name in ("[THINK]", "<|channel|>analysis")])
def test_a_special_mark_that_the_template_shows_is_refused_and_can_be_kept(
    fresh: Callable[..., Any], mark: Any
) -> None:
    shown = fresh("", special=mark.tokens)
    ReplyReader(shown)  # nothing shows that the model writes it: a vocabulary may have what its model never does
    shown.chat_template += "{#- " + mark.opener + " -#}"
    with pytest.raises(ConfigError, match="as special tokens"):
        ReplyReader(shown)
    reader = ReplyReader(shown, "keep")
    text = f"{mark.opener}a{mark.closer}<answer>b</answer>"
    assert reader.text(shown.encode(text, add_special_tokens=False)) == text


@pytest.fixture(scope="module")
def policy(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The demo's tokenizer and configuration with another chat template, perhaps with tags as special tokens."""

    def build(words: str, special: Sequence[str] = ()) -> Path:
        folder = tmp_path_factory.mktemp("policy")
        for file in (demo_folder / "policy").iterdir():
            if file.suffix in (".json", ".jinja"):
                (folder / file.name).write_bytes(file.read_bytes())
        (folder / "chat_template.jinja").write_text(template(words), encoding="utf-8")
        state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        for token in state["added_tokens"]:
            token["special"] = token["special"] or token["content"] in special
        (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
        return folder

    return build


@pytest.fixture
def manager(policy: Callable[..., Path], demo_folder: Path) -> Iterator[Callable[..., Any]]:
    from medix_verl.rewards.manager import MedixRewardManager

    made = []

    def build(words: str, *overrides: str, special: Sequence[str] = ()) -> Any:
        folder = policy(words, special)
        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", ["+recipe=medix_cpu", f"medix.demo='{demo_folder}'", *overrides])
        made.append(MedixRewardManager(config, load_tokenizer(str(folder))))
        return made[-1]

    yield build
    for item in made:
        item.loop.run_until_complete(item.reward.close())


def scored(manager: Any, prompt: str | None, response: str, ahead: int = 0, behind: int = 0) -> dict[str, float]:
    """What verl's reward loop gets for one answer: `ahead` and `behind` are padding of the prompt."""
    import torch
    from verl import DataProto

    tokenizer = manager.tokenizer
    given = tokenizer.encode(prompt or "x", add_special_tokens=False)
    said = tokenizer.encode(response, add_special_tokens=False)
    tensors = {
        "responses": torch.tensor([said]),
        "attention_mask": torch.tensor([[0] * ahead + [1] * len(given) + [0] * behind + [1] * len(said)]),
    }
    if prompt is not None:
        tensors["prompts"] = torch.tensor([[0] * ahead + given + [0] * behind])
    info = {"id": "q", "question": "Which organ?", "modality": "X_RAY"}
    others = {"reward_model": [{"ground_truth": "lung"}], "extra_info": [info]}
    if behind:
        others["prompt_len"] = [len(given)]
    values = {name: np.array(value, dtype=object) for name, value in others.items()}
    data = DataProto.from_dict(tensors=tensors, non_tensors=values)
    return dict(manager.loop.run_until_complete(manager.run_single(data))["reward_extra_info"])


ASKED = "<|im_start|>user\nWrite <think>why</think> <answer>what</answer>.<|im_end|>\n<|im_start|>assistant\n"
BEHIND = "it is dark</think>\n<X_RAY>\n<answer>lung</answer>"
WHOLE = "<X_RAY>\n<think>it is dark</think>\n<answer>lung</answer>"


@pytest.mark.parametrize(("ahead", "behind"), [(0, 0), (5, 0), (0, 5)], ids=["exact", "padded ahead", "padded behind"])
def test_the_answers_own_prompt_decides(manager: Callable[..., Any], ahead: int, behind: int) -> None:
    ready = manager("")
    got = scored(ready, ASKED + "<think>\n", BEHIND, ahead, behind)
    assert (got["score"], got["format"], got["modality"], got["thinking_open"]) == (1.0, 1.0, 1.0, 1.0)
    got = scored(ready, ASKED, BEHIND, ahead, behind)
    assert (got["format"], got["modality"], got["thinking_open"]) == (0.0, 0.0, 0.0)
    got = scored(ready, ASKED, WHOLE, ahead, behind)
    assert (got["score"], got["thinking_open"]) == (1.0, 0.0)
    got = scored(ready, ASKED + "<think>\n\n</think>\n\n", "<X_RAY>\n<answer>lung</answer>", ahead, behind)
    assert (got["score"], got["thinking_open"]) == (1.0, 0.0)
    assert scored(ready, ASKED, "<X_RAY>\n<answer>lung</answer>", ahead, behind)["format"] == 0.0


def test_without_a_prompt_the_template_decides(manager: Callable[..., Any]) -> None:
    assert scored(manager("<think>\\n"), None, BEHIND)["score"] == 1.0
    assert scored(manager(""), None, BEHIND)["format"] == 0.0


def test_the_recipes_word_wins(manager: Callable[..., Any]) -> None:
    ready = manager("", "reward.medix.thinking=open")
    assert scored(ready, ASKED, BEHIND)["score"] == 1.0
    assert scored(manager("<think>\\n", "reward.medix.thinking=none"), ASKED + "<think>\n", BEHIND)["format"] == 0.0


def test_the_published_rule_wants_the_opener_again(manager: Callable[..., Any]) -> None:
    ready = manager("<think>\\n", "+reward.medix.rule=published")
    got = scored(ready, ASKED + "<think>\n", BEHIND)
    assert (got["format"], got["modality"]) == (0.0, 0.0)
    assert scored(ready, ASKED + "<think>\n", WHOLE)["score"] == 1.0


def test_a_run_does_not_start_with_special_tags(manager: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"<answer>, </answer> as special tokens.*special_tokens=keep"):
        manager("", special=["<answer>", "</answer>"])
    ready = manager("", "reward.medix.special_tokens=keep", special=["<answer>", "</answer>"])
    assert scored(ready, ASKED, WHOLE)["score"] == 1.0


def test_a_run_does_not_start_with_an_unknown_mark(manager: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="the prompt ends with '<reasoning>'"):
        manager("<reasoning>\\n")
    ready = manager("")
    with pytest.raises(ConfigError, match="the prompt ends with '<reasoning>'"):
        scored(ready, ASKED + "<reasoning>\n", WHOLE)


def doctor(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = main(["doctor", "--json", "--recipe", "medix_cpu", "--model", str(folder), *words])
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


def test_doctor_shows_a_perfect_response_and_its_score(
    policy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = doctor(policy("<think>\\n"), capsys)
    assert (code, checks["template"]["status"]) == (0, "ok"), checks
    assert r'opens the thinking; a perfect response "There' in checks["template"]["found"]
    assert r"</think>\n\n<X_RAY>\n<answer>pneumonia</answer>" in checks["template"]["found"]
    assert checks["template"]["found"].endswith("scores 1.0")
    assert (checks["prompt"]["status"], checks["prompt"]["todo"]) == ("warn", "data.medix.prompt=medix_thinking")


def test_doctor_fails_where_no_response_can_score_one(
    policy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, checks = doctor(policy("<think>\\n"), capsys, "reward.medix.thinking=none")
    assert (code, checks["template"]["status"]) == (1, "FAIL")
    assert "format 0" in checks["template"]["found"] and "modality 0" in checks["template"]["found"]
    code, checks = doctor(policy("", ["<answer>"]), capsys)
    assert (code, checks["template"]["status"]) == (1, "FAIL")
    assert "<answer>" in checks["template"]["found"] and "special_tokens=keep" in checks["template"]["todo"]
