# SPDX-License-Identifier: Apache-2.0
"""Checks a distillation's teacher: it reads the student's token ids, so both must have the same tokenizer.

With another tokenizer, or other token ids, the teacher would silently give probabilities for different texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medix_verl.chat_template import load_tokenizer, read_template
from medix_verl.errors import ConfigError, MedixError
from medix_verl.recipe.check import Check

__all__ = ["check_teacher"]

NAME = "teacher"
KEY = "distillation.teacher_models.teacher_model.model_path"


def check_teacher(
    teachers: Sequence[str],
    policy: Mapping[str, Any],
    recipe: str,
    load: Callable[[str, bool, str | None], Any] = load_tokenizer,
) -> Check | None:
    """Whether the teachers have the student's tokenizer; None without distillation.

    Args:
        teachers: Teacher models.
        policy: From medix_verl.recipe.facts.
        recipe: Recipe name.
        load: Loads a tokenizer.
    """
    if not teachers:
        return None
    try:
        student = load(policy["tokenizer"], False, policy["template"])
        others = {path: load(path, False, None) for path in teachers}
    except ConfigError as error:
        found = f"{', '.join(teachers)}: its tokenizer is not compared with the student's: {error}"
        return Check(NAME, "warn", found, f"hf download {teachers[0]}; both must have one tokenizer")
    for path, other in others.items():
        if other.get_vocab() != student.get_vocab():
            found = (
                f"{path} has another tokenizer than {policy['path']}: it would be asked about other texts ({recipe})"
            )
            return Check(NAME, "FAIL", found, f"{KEY}=MODEL_OF_THE_SAME_FAMILY")
        try:
            starts = [read_template(one, policy["settings"])[0] for one in (student, other)]
        except MedixError:
            continue  # the student's template is checked by check_template
        if starts[0] != starts[1]:
            found = f"{path} begins a reply with {starts[1]!r}, the student with {starts[0]!r} ({recipe})"
            return Check(NAME, "warn", found, f"{KEY}=a teacher with the student's chat template")
    return Check(NAME, "ok", f"{', '.join(teachers)} has the student's tokenizer ({recipe})")
