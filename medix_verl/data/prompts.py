# SPDX-License-Identifier: Apache-2.0
"""The prompt of a sample, the same for training and for evaluation.

Templates are the files `prompts/*.jinja`. The sample's texts are values: whatever braces or tags they hold, they are
put in once and never rendered again. Pictures are items of the chat message's content, never placeholders in the
text, so that a row may have none, one or many.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medix_verl.errors import ConfigError, DataError
from medix_verl.types import MODALITIES, Sample

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["build_messages", "render_prompt", "template_names"]

FOLDER = Path(__file__).with_suffix("")
LETTERS = string.ascii_uppercase


def template_names() -> tuple[str, ...]:
    """The names that `render_prompt` accepts."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.jinja")))


@cache
def load_template(name: str) -> Template:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    if name not in template_names():
        raise ConfigError(f"prompt template {name!r} is not known; use one of {', '.join(template_names())}")
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))


def render_prompt(sample: Sample, template: str = "medix") -> str:
    """The text of the user turn.

    Args:
        sample: The question; pictures only decide whether the modality tag is asked for.
        template: One of `template_names()`.

    Raises:
        ConfigError: The template does not exist.
        DataError: There are more options than letters.
    """
    options = sample.options or ()
    if len(options) > len(LETTERS):
        raise DataError(f"row {sample.id!r}: {len(options)} options; at most {len(LETTERS)} can be lettered")
    text = load_template(template).render(
        question=sample.question.strip(),
        options=options,
        letters=LETTERS,
        has_images=bool(sample.images),
        modalities=MODALITIES,
    )
    return text.strip()


def build_messages(sample: Sample, images: Sequence[Any], template: str = "medix") -> list[dict[str, Any]]:
    """The chat messages of a sample: one user turn, its pictures first and then the prompt.

    Args:
        sample: The question.
        images: One for each of the sample's pictures, in order: what the processor accepts (a PIL picture, a path), or
            a whole item of the message's content (a mapping).
        template: One of `template_names()`.

    Raises:
        DataError: The number of pictures is not the sample's.
    """
    if len(images) != len(sample.images):
        raise DataError(f"row {sample.id!r}: got {len(images)} pictures, the row has {len(sample.images)}; load all")
    items = (image if isinstance(image, Mapping) else {"image": image} for image in images)
    content: list[dict[str, Any]] = [{"type": "image", **item} for item in items]
    content.append({"type": "text", "text": render_prompt(sample, template)})
    return [{"role": "user", "content": content}]
