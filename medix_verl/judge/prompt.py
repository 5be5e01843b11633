# SPDX-License-Identifier: Apache-2.0
"""What a judge model is asked: a prompt file, filled in one pass with the candidate fenced, and the request around it.

The candidate is written by the policy under training, which learns whatever makes a judge say YES. So it is cut to a
length, stripped of control characters and of anything a chat template could read as a role, each of its lines is
quoted, and it stands between two fences that it cannot contain. Values are never scanned for placeholders.

A request's bytes are the identity of a question: SHA-256 of them is the key of its cached reply (judge.cache). So the
same question must always give the same bytes, and nothing else may be in them, such as an address or a time.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.judge.reply import TOP_LOGPROBS, VERDICTS
from medix_verl.judge.rule.equality import meaning
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import Reference

__all__ = ["ChatRequest", "Turn", "Writer", "chat_body", "fill", "load_prompt", "prompt_names"]

FOLDER = Path(__file__).parent / "prompts"
FIELDS = ("question", "reference", "candidate", "fence")
PLACEHOLDER = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
HIDDEN = frozenset(("Cc", "Cf", "Cs"))
# "<|im_start|>", "<think>", "</s>", "[INST]", and the wide bar \uff5c of some models: servers may read these as control
# tokens wherever they stand.
MARKUP = re.compile(r"<(?=[|\uff5c/!?_A-Za-z])|\[(?=/?(?:INST|SYS)\b)|(?<=[|\uff5c])(?=>)", re.IGNORECASE)


def prompt_names() -> list[str]:
    """Names of the prompts that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load_prompt(name: str, show_question: bool = True) -> str:
    """Read a prompt by its name, or from the path of a .txt file.

    Args:
        name: The name or the path.
        show_question: Whether the recipe wants the judge to see the question; the prompt must agree.

    Raises:
        ConfigError: There is no such prompt, it lacks a placeholder, or it has a question that is not to be shown.
    """
    path = Path(name) if name.endswith(".txt") else FOLDER / f"{name}.txt"
    if not name.endswith(".txt") and name not in prompt_names():
        raise ConfigError(
            f"judge.prompt is {name!r}; accepted: {', '.join(prompt_names())}, or the path of a .txt file"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"judge.prompt {name!r} cannot be read as a UTF-8 file ({type(error).__name__})") from error
    check_fields(name, text, show_question)
    return text


def check_fields(name: str, text: str, show_question: bool) -> None:
    """Refuse a prompt without its placeholders, or with a question where none is to be shown.

    Raises:
        ConfigError: One of the two.
    """
    needed = FIELDS if show_question else FIELDS[1:]
    missing = [field for field in needed if "{" + field + "}" not in text]
    if missing:
        hint = "; or set judge.show_question=false" if missing[0] == "question" else ""
        listed = " ".join("{" + field + "}" for field in needed)
        raise ConfigError(f"judge.prompt {name!r} lacks {{{missing[0]}}}; it needs {listed}{hint}")
    if not show_question and "{question}" in text:
        raise ConfigError(f"judge.prompt {name!r} has {{question}} and judge.show_question is false; set it to true")


def fill(template: str, candidate: str, reference: Reference, max_chars: int) -> str:
    """Fill a prompt's placeholders in one pass.

    Args:
        template: The text of a prompt file.
        candidate: The answer to judge, as the policy wrote it.
        reference: The right answer and the question it belongs to.
        max_chars: How much of the candidate is shown.

    Returns:
        The text of the message to the judge model.
    """
    quoted = quote(candidate, max_chars)
    values = {
        "question": disarm(reference.question or "(not given)") + options_line(reference),
        "reference": disarm(reference.answer),
        "candidate": quoted,
    }
    values["fence"] = fence("".join(values.values()))
    return PLACEHOLDER.sub(lambda found: values[found[1]], template)


def options_line(reference: Reference) -> str:
    """The options of a multiple-choice question, without which a letter says nothing."""
    if not reference.options:
        return ""
    lines = [f"{chr(ord('A') + index)}. {disarm(text)}" for index, text in enumerate(reference.options)]
    return "\nOptions:\n" + "\n".join(lines)


def quote(candidate: str, max_chars: int) -> str:
    """Cut, clean and mark the candidate, line by line."""
    cut = candidate[:max_chars] + (" [cut here]" if len(candidate) > max_chars else "")
    return "\n".join(f"> {disarm(line)}" for line in cut.splitlines() or [""])


def disarm(text: str) -> str:
    """Drop invisible characters, and break up whatever a chat template could take for a control token."""
    if text.isascii():  # the same, without a look at each character
        visible = CONTROL.sub("", text)
    else:
        visible = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in HIDDEN)
    return MARKUP.sub(lambda found: f"{found[0]} ", visible)


def fence(text: str) -> str:
    """A line that the text does not contain; it depends on the whole text, so that nobody can write it in advance."""
    round_ = 0
    while True:
        mark = "=====" + hashlib.sha256(f"{round_}:{text}".encode()).hexdigest()[:16] + "====="
        if mark not in text:
            return mark
        round_ += 1


MAX_TOKENS = {"choice": 4, "json_schema": 32, "none": 8}
SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": list(VERDICTS)}},
    "required": ["verdict"],
    "additionalProperties": False,
}
STRUCTURE: dict[str, dict[str, Any]] = {
    # vLLM's name since 0.12 (before: guided_choice); see its ChatCompletionRequest.structured_outputs.
    "choice": {"structured_outputs": {"choice": list(VERDICTS)}},
    "json_schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
        }
    },
    "none": {},
}


class Writer:
    """Writes the requests of one judge; everything that is the same for all of them is encoded once."""

    def __init__(self, spec: JudgeSpec, model: str) -> None:
        """Read the prompt.

        Raises:
            ConfigError: There is no such prompt, or it does not fit `judge.show_question`.
        """
        self.shown = spec.max_candidate_chars
        self.template = load_prompt(spec.prompt, spec.show_question)
        body: dict[str, Any] = {
            "model": model,
            # 0.0 is 0: the cache's key is made of these bytes.
            "temperature": spec.temperature or 0,
            # Not 1 for a soft verdict: a tokenizer that cuts the word would give no readable verdict.
            "max_tokens": MAX_TOKENS[spec.structured],
            **STRUCTURE[spec.structured],
        }
        if spec.seed is not None:
            body["seed"] = spec.seed
        if spec.soft:
            body.update(logprobs=True, top_logprobs=TOP_LOGPROBS)
        self._start = json.dumps(body)[:-1].encode() + b', "messages": [{"role": "user", "content": '

    def prompt(self, candidate: str, reference: Reference) -> str:
        """The prompt whether a candidate matches a reference."""
        return fill(self.template, candidate, reference, self.shown)

    def swapped_prompt(self, candidate: str, reference: Reference) -> str:
        """The prompt with candidate and reference exchanged.

        The candidate then stands where no fence is, so it is one line; and a verdict needs both passes, so that
        nothing can be won here that was lost in the first one.
        """
        line = " ".join(candidate[: self.shown].split())
        right = meaning(reference)
        return fill(self.template, right, replace(reference, answer=line), max(self.shown, len(right)))

    def body(self, prompt: str) -> bytes:
        """The request's JSON; what UTF-8 cannot hold is escaped."""
        return b"".join((self._start, json.dumps(prompt).encode("ascii"), b"}]}"))


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation so far, and how its next message is made: what an evaluation asks that is no yes or no."""

    turns: tuple[Turn, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply; None leaves it free. Reading the reply is the asker's business."""
    temperature: float = 0
    seed: int | None = None
    max_tokens: int = 512
    restricted: bool = False
    """Whether it shows a credentialed row, and may only go to local addresses."""


def chat_body(request: ChatRequest, model: str, structured: str) -> bytes:
    """The JSON of one chat completion request; what UTF-8 cannot hold is escaped.

    Args:
        request: What to ask.
        model: Name of the model.
        structured: JudgeSpec.structured; `none` sends no schema. vLLM takes OpenAI's `response_format` as well, so the
            other two are the same here.
    """
    body: dict[str, Any] = {
        "model": model,
        "temperature": request.temperature or 0,
        "max_tokens": request.max_tokens,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.turns],
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None and structured != "none":
        schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return json.dumps(body).encode("ascii")
