# SPDX-License-Identifier: Apache-2.0
"""The demo's folder, built for real: data, a policy that speaks the grammar but does not know the answers, a judge.

Builds once (about two minutes on one core) and loads the models as any user of the checkpoints would. Run it
with OMP_NUM_THREADS=1 on a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.io.parquet import read_samples
from medix_verl.data.prompts import build_messages
from medix_verl.demo.build import COUNTS, BuildSpec, build_demo, is_built
from medix_verl.demo.measure import MeasureSpec, answer_lines, average, score_lines
from medix_verl.demo.models.judge_model import PROMPT, question
from medix_verl.demo.models.tokenizer import GRAMMAR_TOKENS
from medix_verl.demo.models.warmup import TEMPLATE, encode_prompt, target_text
from medix_verl.response import parse_response
from medix_verl.types import MODALITIES, Response, Sample

torch = pytest.importorskip("torch", reason="the models need torch")
transformers = pytest.importorskip("transformers", reason="the models need transformers")

pytestmark = pytest.mark.timeout(600)

PROMPT_LIMIT, RESPONSE_LIMIT = 256, 40
MEASURED_ROWS = 60


@dataclass(frozen=True)
class Built:
    """A finished demo folder with its policy loaded."""

    folder: Path
    policy: Any
    processor: Any
    validation: list[Sample]


@pytest.fixture(scope="module")
def built(demo_folder: Path) -> Iterator[Built]:
    threads, folder = torch.get_num_threads(), demo_folder
    torch.set_num_threads(1)
    policy = transformers.AutoModelForImageTextToText.from_pretrained(folder / "policy")
    processor = transformers.AutoProcessor.from_pretrained(folder / "policy")
    yield Built(folder, policy, processor, list(read_samples(folder / "data" / "val.parquet")))
    torch.set_num_threads(threads)


def generate(built: Built, sample: Sample) -> Response:
    prompt = encode_prompt(built.processor, sample)
    with torch.no_grad():
        tokens = built.policy.generate(**prompt, max_new_tokens=RESPONSE_LIMIT, do_sample=False)
    reply = tokens[0, prompt["input_ids"].shape[1] :]
    return parse_response(built.processor.tokenizer.decode(reply, skip_special_tokens=True))


def test_the_folder_is_complete_and_used_again(built: Built) -> None:
    assert is_built(built.folder) and not is_built(built.folder, BuildSpec(seed=1))
    before = (built.folder / "manifest.json").read_bytes()
    build_demo(built.folder)
    assert (built.folder / "manifest.json").read_bytes() == before
    assert len(built.validation) == COUNTS["val"]
    assert len(list(read_samples(built.folder / "data" / "train.parquet"))) == COUNTS["train"]


def test_the_policy_is_tiny_and_loads_as_what_it_is(built: Built) -> None:
    parameters = sum(parameter.numel() for parameter in built.policy.parameters())
    assert 1_000_000 < parameters < 3_000_000
    assert built.policy.dtype == torch.float32
    assert type(built.policy).__name__ == "Qwen3VLForConditionalGeneration"
    assert type(built.processor).__name__ == "Qwen3VLProcessor"


def test_grammar_tokens_are_whole_and_survive_decoding(built: Built) -> None:
    tokenizer = built.processor.tokenizer
    assert all(len(tokenizer.encode(token, add_special_tokens=False)) == 1 for token in GRAMMAR_TOKENS)
    for sample in built.validation:
        text = target_text(sample, sample.answer)
        tokens = tokenizer.encode(text + "<|im_end|>", add_special_tokens=False)
        assert len(tokens) <= RESPONSE_LIMIT
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_prompts_are_short_and_have_a_place_for_every_patch(built: Built) -> None:
    image_token = built.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    for sample in built.validation[:20]:
        prompt = encode_prompt(built.processor, sample)
        assert prompt["input_ids"].shape[1] <= PROMPT_LIMIT
        places = int((prompt["input_ids"] == image_token).sum())
        grids = prompt.get("image_grid_thw")
        assert places == (0 if grids is None else int(grids.prod(-1).sum()) // 4)
        assert (places > 0) == bool(sample.images)


def test_the_chat_template_takes_text_and_lists(built: Built) -> None:
    sample = next(row for row in built.validation if not row.images)
    (turn,) = build_messages(sample, [], TEMPLATE)
    apply: Callable[..., str] = built.processor.apply_chat_template
    as_text = apply([{"role": "user", "content": turn["content"][0]["text"]}], tokenize=False)
    assert as_text == apply([turn], tokenize=False)
    assert apply([turn], tokenize=False, add_generation_prompt=True) == as_text + "<|im_start|>assistant\n"


def test_the_policy_knows_the_form_and_not_the_answers(built: Built) -> None:
    rows = built.validation[:MEASURED_ROWS]
    replies = [generate(built, sample) for sample in rows]
    well_formed = sum(reply.well_formed for reply in replies) / len(rows)
    right = sum(reply.answer in (row.answer, *row.meta["synonyms"]) for reply, row in zip(replies, rows, strict=True))
    tagged = [(reply, row) for reply, row in zip(replies, rows, strict=True) if row.images]
    assert well_formed > 0.9
    assert right / len(rows) < 0.5
    assert sum(reply.modality in MODALITIES for reply, _ in tagged) > 0.9 * len(tagged)
    # Seven modalities: chance is 0.14.
    assert sum(reply.modality == row.modality for reply, row in tagged) > 0.4 * len(tagged)
    assert not any(reply.modality for reply, row in zip(replies, rows, strict=True) if not row.images)


def test_measured_answers_are_those_of_the_policy_alone(built: Built, tmp_path: Path) -> None:
    """Rows of different lengths, with and without pictures, are answered together as each is by itself."""
    rows = built.validation[:12]
    assert {len(row.images) for row in rows} == {0, 1}
    lines = answer_lines(built.folder / "policy", built.folder / "policy", rows, MeasureSpec(draws=2, batch=8))
    greedy = [parse_response(line["response"]) for line in lines if line["decoding"] == "greedy"]
    assert greedy == [generate(built, row) for row in rows]
    assert [line["id"] for line in lines if line["decoding"] == "sampled"] == [row.id for row in rows for _ in range(2)]
    figures = average(score_lines(lines, tmp_path / "answers.jsonl", "medix_cpu"))
    assert figures["greedy/format"] > 0.9 and 0 <= figures["sampled/acc"] < 0.6


def test_the_judge_tells_the_demos_answers_apart(built: Built) -> None:
    """Every answer with itself, and with each of three others: YES and NO, on the prompt that verl asks it with."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(built.folder / "judge")
    judge = transformers.AutoModelForCausalLM.from_pretrained(built.folder / "judge")
    answers = sorted({row.answer for row in built.validation})
    right = {True: 0, False: 0}
    for place, reference in enumerate(answers):
        for offset in (0, 1, 5, 11):
            candidate = answers[(place + offset) % len(answers)]
            turns = [{"role": "user", "content": question(reference, candidate)}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
            with torch.no_grad():
                tokens = judge.generate(**asked, max_new_tokens=4, do_sample=False)
            said = tokenizer.decode(tokens[0, asked["input_ids"].shape[1] :], skip_special_tokens=True).strip()
            right[offset == 0] += said == ("YES" if offset == 0 else "NO")
    assert right[True] >= 0.9 * len(answers) and right[False] >= 0.9 * 3 * len(answers), (right, len(answers))
    assert (built.folder / "judge" / "prompt.txt").read_text() == PROMPT
