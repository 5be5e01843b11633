# SPDX-License-Identifier: Apache-2.0
"""What a judge model is asked: a prompt file, filled in one pass, with the candidate answer fenced.

The candidate is written by the policy under training, which learns whatever makes a judge say YES. So it is cut to a
length, stripped of control characters and of anything a chat template could read as a role, each of its lines is
quoted, and it stands between two fences that it cannot contain. Values are never scanned for placeholders.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from medix_verl.errors import ConfigError
from medix_verl.types import Reference

__all__ = ["fill", "load_prompt", "prompt_names"]

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
