# SPDX-License-Identifier: Apache-2.0
"""Render the prompt of a sample, the same for training and for evaluation.

Templates are the files `prompts/*.jinja`, or other files given by path. The sample's texts are inserted as values and
never rendered as templates, whatever braces or tags they contain. Pictures are items of the chat message's content, not
placeholders in the text, so that a row may have none, one or many.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.types import MODALITIES, Sample

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["build_messages", "is_template", "prompt_sha256", "render_prompt", "template_names", "template_text"]

SUFFIX = ".jinja"
FOLDER = Path(__file__).with_suffix("")
LETTERS = string.ascii_uppercase


def template_names() -> tuple[str, ...]:
    """The names that `render_prompt` accepts, in addition to the path of a .jinja file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))


def is_template(name: str) -> bool:
    """Whether `render_prompt` accepts this: a known name, or the path of an existing .jinja file."""
    return Path(name).expanduser().is_file() if name.endswith(SUFFIX) else name in template_names()


def template_text(name: str) -> str:
    """The text of a template, not rendered.

    Args:
        name: One of `template_names()`, or the path of a .jinja file.

    Raises:
        ConfigError: The template does not exist, or cannot be read.
    """
    if name.endswith(SUFFIX):
        try:
            return Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"prompt template {name!r} cannot be read ({type(error).__name__}); check it") from error
    if name not in template_names():
        names = ", ".join(template_names())
        raise ConfigError(f"prompt template {name!r} is not known; use one of {names}, or the path of a .jinja file")
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def prompt_sha256(name: str) -> str:
    """The first 16 hex digits of the SHA-256 of a template's text.

    Raises:
        ConfigError: The template does not exist.
    """
    return hashlib.sha256(template_text(name).encode("utf-8")).hexdigest()[:16]


@cache
def load_template(name: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    text = template_text(name)
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)


def render_prompt(sample: Sample, template: str = "medix") -> str:
    """The text of the user turn.

    Args:
        sample: The question; its pictures only determine whether the modality tag is asked for.
        template: One of `template_names()`, or the path of a .jinja file.

    Raises:
        ConfigError: The template does not exist, or cannot be rendered.
        DataError: There are more options than letters of the alphabet.
    """
    options = sample.options or ()
    if len(options) > len(LETTERS):
        raise DataError(f"row {sample.id!r}: {len(options)} options; at most {len(LETTERS)} can be lettered")
    from jinja2 import TemplateError

    try:
        text = load_template(template).render(
            question=sample.question.strip(),
            options=options,
            letters=LETTERS,
            has_images=bool(sample.images),
            modalities=MODALITIES,
        )
    except TemplateError as error:
        raise ConfigError(f"prompt template {template!r} cannot be rendered ({error}); fix it") from error
    return text.strip()


def build_messages(sample: Sample, images: Sequence[Any], template: str = "medix") -> list[dict[str, Any]]:
    """The chat messages of a sample: one user turn with its pictures, then the prompt.

    Args:
        sample: The question.
        images: One per picture of the sample, in order: what the processor accepts (a PIL picture, a path), or
            a complete item of the message's content (a mapping).
        template: One of `template_names()`.

    Raises:
        DataError: The number of pictures differs from the sample's.
    """
    if len(images) != len(sample.images):
        raise DataError(f"row {sample.id!r}: got {len(images)} pictures, the row has {len(sample.images)}; load all")
    items = (image if isinstance(image, Mapping) else {"image": image} for image in images)
    content: list[dict[str, Any]] = [{"type": "image", **item} for item in items]
    content.append({"type": "text", "text": render_prompt(sample, template)})
    return [{"role": "user", "content": content}]
