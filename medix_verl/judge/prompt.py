# SPDX-License-Identifier: Apache-2.0
"""Builds judge requests: fills a prompt file in one pass, with the candidate in fences, and wraps it in a chat request.

The policy under training writes the candidate, and training favours any text that makes the judge say YES. Therefore
the candidate is cut to a maximum length, stripped of control characters and of anything that a chat template could
parse as a role, quoted line by line, and put between two fences that it cannot contain. Inserted values are never
scanned for placeholders.

The SHA-256 of a request's bytes is the key of its cached reply (judge.cache). Therefore equal questions must give equal
bytes, and the request must not contain anything else, such as an address or a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.judge.pictures import media_of
from medix_verl.judge.reply import TOP_LOGPROBS, VERDICTS
from medix_verl.judge.rule.equality import meaning
from medix_verl.judge.spec import JudgeSpec
from medix_verl.types import ImageRef, Reference

__all__ = ["ChatRequest", "Turn", "Writer", "chat_body", "fill", "load_prompt", "prompt_names"]

FOLDER = Path(__file__).parent / "prompts"
FIELDS = ("question", "reference", "candidate", "fence")
PLACEHOLDER = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
HIDDEN = frozenset(("Cc", "Cf", "Cs"))
# "<|im_start|>", "<think>", "</s>", "[INST]", and the wide bar \uff5c of some models: servers may parse these as
# control tokens at any position.
MARKUP = re.compile(r"<(?=[|\uff5c/!?_A-Za-z])|\[(?=/?(?:INST|SYS)\b)|(?<=[|\uff5c])(?=>)", re.IGNORECASE)


def prompt_names() -> list[str]:
    """Names of the prompts in this package."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def load_prompt(name: str, show_question: bool = True) -> str:
    """Read a prompt by its name, or from the path of a .txt file.

    Args:
        name: The name or the path.
        show_question: Whether the recipe shows the judge the question; the prompt must agree.

    Raises:
        ConfigError: There is no such prompt, a placeholder is missing, or it has {question} while `show_question` is
            false.
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
    """Refuse a prompt with a missing placeholder, or with a question that must not be shown.

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
        reference: The right answer and its question.
        max_chars: Maximum length of the candidate.

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
    """The options of a multiple-choice question; without them an answer that is a letter has no meaning."""
    if not reference.options:
        return ""
    lines = [f"{chr(ord('A') + index)}. {disarm(text)}" for index, text in enumerate(reference.options)]
    return "\nOptions:\n" + "\n".join(lines)


def quote(candidate: str, max_chars: int) -> str:
    """Cut, clean and quote the candidate, line by line."""
    cut = candidate[:max_chars] + (" [cut here]" if len(candidate) > max_chars else "")
    return "\n".join(f"> {disarm(line)}" for line in cut.splitlines() or [""])


def disarm(text: str) -> str:
    """Remove invisible characters, and break up whatever a chat template could parse as a control token."""
    if text.isascii():  # fast path with the same result
        visible = CONTROL.sub("", text)
    else:
        visible = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in HIDDEN)
    return MARKUP.sub(lambda found: f"{found[0]} ", visible)


def fence(text: str) -> str:
    """A line that the text does not contain; it is derived from the whole text, so that it cannot be predicted."""
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
    """Writes the requests of one judge; the parts that all requests share are encoded once."""

    def __init__(self, spec: JudgeSpec, model: str) -> None:
        """Read the prompt.

        Raises:
            ConfigError: There is no such prompt, or it does not fit `judge.show_question`.
        """
        self.shown = spec.max_candidate_chars
        self.template = load_prompt(spec.prompt, spec.show_question)
        body: dict[str, Any] = {
            "model": model,
            # 0.0 becomes 0, because the cache's key is computed from these bytes.
            "temperature": spec.temperature or 0,
            # Not 1 for a soft verdict: if the tokenizer splits the word, one token is not a readable verdict.
            "max_tokens": spec.max_tokens or MAX_TOKENS[spec.structured],
            **STRUCTURE[spec.structured],
            **spec.extra_body,
        }
        if spec.seed is not None:
            body["seed"] = spec.seed
        if spec.soft:
            body.update(logprobs=True, top_logprobs=TOP_LOGPROBS)
        self._start = json.dumps(body)[:-1].encode() + b', "messages": [{"role": "user", "content": '

    def prompt(self, candidate: str, reference: Reference) -> str:
        """The prompt that asks whether a candidate matches a reference."""
        return fill(self.template, candidate, reference, self.shown)

    def swapped_prompt(self, candidate: str, reference: Reference) -> str:
        """The prompt with candidate and reference exchanged.

        The candidate is then outside the fences, so it is reduced to one line. A YES needs both passes, so the missing
        fence cannot turn a NO of the first pass into a YES.
        """
        line = " ".join(candidate[: self.shown].split())
        right = meaning(reference)
        return fill(self.template, right, replace(reference, answer=line), max(self.shown, len(right)))

    def body(self, prompt: str, pictures: Sequence[bytes] = (), left_out: int = 0) -> bytes:
        """The request's JSON; what UTF-8 cannot represent is escaped.

        Args:
            prompt: The text.
            pictures: Shown before the text, each as PNG or JPEG; empty for a text-only request.
            left_out: How many pictures of the question are not shown; the prompt mentions the number.
        """
        return b"".join((self._start, *content(prompt, pictures, left_out), b"}]}"))


NOT_SHOWN = "The question has {all} pictures, of which the first {shown} are shown here."


def content(text: str, pictures: Sequence[bytes], left_out: int = 0) -> list[bytes]:
    """The JSON of a message's content, in pieces: the text alone, or pictures and then the text, as OpenAI's parts.

    Pictures are embedded by value, never as an address that a server would fetch.
    """
    if not pictures:
        return [json.dumps(text).encode("ascii")]
    pieces = [b"["]
    for picture in pictures:
        head = f'{{"type": "image_url", "image_url": {{"url": "data:{media_of(picture)};base64,'
        pieces += [head.encode("ascii"), base64.b64encode(picture), b'"}}, ']
    note = [NOT_SHOWN.format(shown=len(pictures), all=len(pictures) + left_out)] if left_out else []
    parts = json.dumps([{"type": "text", "text": said} for said in (*note, text)])
    return [*pieces, parts[1:].encode("ascii")]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A conversation and the settings of its next message, for requests of an evaluation other than YES or NO."""

    turns: tuple[Turn, ...]
    schema: Mapping[str, Any] | None = None
    """JSON schema of the reply; None sets none. The caller parses the reply."""
    temperature: float = 0
    seed: int | None = None
    max_tokens: int = 512
    restricted: bool = False
    """Whether it contains a credentialed row, and may only go to local addresses."""
    images: tuple[ImageRef, ...] = ()
    """The row's pictures; GuardedJudge reads them into `pictures` if the judge is shown pictures."""
    pictures: tuple[bytes, ...] = ()
    """Shown before the first turn's text, each as PNG or JPEG."""
    left_out: int = 0
    """Number of the row's pictures that are not in `pictures`."""


def chat_body(
    request: ChatRequest, model: str, structured: str, max_tokens: int | None = None, extra: Mapping[str, Any] = {}
) -> bytes:
    """The JSON of one chat completion request; what UTF-8 cannot represent is escaped.

    Args:
        request: The conversation and its settings.
        model: Name of the model.
        structured: JudgeSpec.structured; `none` sends no schema. vLLM accepts OpenAI's `response_format` too, so the
            other two are the same here.
        max_tokens: JudgeSpec.max_tokens: a reasoning model needs more than the request asks for.
        extra: JudgeSpec.extra_body.
    """
    messages: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in request.turns]
    if request.pictures:
        shown = content(request.turns[0].content, request.pictures, request.left_out)
        messages[0]["content"] = json.loads(b"".join(shown))
    body: dict[str, Any] = {
        "model": model,
        "temperature": request.temperature or 0,
        "max_tokens": max(request.max_tokens, max_tokens or 0),
        **extra,
        "messages": messages,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None and structured != "none":
        schema = {"name": "reply", "strict": True, "schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return json.dumps(body).encode("ascii")
