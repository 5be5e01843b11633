# SPDX-License-Identifier: Apache-2.0
"""A message calls a setting by its field in Python, and by its flag where a command runs."""

from typing import Any

import pytest

from medix_verl.cli.evaluate.evaluate import add_run
from medix_verl.errors import ConfigError
from medix_verl.evaluation.assemble import TaskChoices
from medix_verl.evaluation.grading.spec import ProtocolSpec
from medix_verl.evaluation.settings import FLAGS, as_flags, setting
from medix_verl.evaluation.stats.missing import Counting


@pytest.mark.parametrize(
    ("given", "field", "flag"),
    [
        (("generation.max_tokens",), "generation.max_tokens", "--max-tokens"),
        (("generation.max_tokens", 9), "generation.max_tokens=9", "--max-tokens 9"),
        (("judge.kind", "openai"), 'judge.kind="openai"', "--judge openai"),
        (("judge.url", "URL"), "judge.url=URL", "--judge-url URL"),
        (("sources", "PATH", "medqa"), 'sources["medqa"]=PATH', "--sources medqa=PATH"),
        (("resume", True), "resume=True", "--resume"),
        (("choices.condition", "blank"), 'choices.condition="blank"', "--images blank"),
        (("allow_remote", True), "allow_remote=True", "--allow-remote-credentialed"),
        (("model.api_key_env",), "model.api_key_env", "--api-key-env"),
    ],
)
def test_both_names(given: tuple[Any, ...], field: str, flag: str) -> None:
    assert setting(*given) == field
    with as_flags():
        assert setting(*given) == flag
    assert setting(*given) == field


def test_every_flag_of_the_table_is_one_of_the_command() -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_run(parser)
    assert set(FLAGS.values()) <= {word for action in parser._actions for word in action.option_strings}


def test_a_spec_is_refused_by_the_name_that_was_typed() -> None:
    with as_flags(), pytest.raises(ConfigError, match="^--limit is 0; set it to an integer of at least 1"):
        TaskChoices(limit=0)
    with as_flags(), pytest.raises(ConfigError, match="^--images is 'none'; accepted: real, blank, shuffled"):
        TaskChoices(condition="none")
    with as_flags(), pytest.raises(ConfigError, match="^--max-unscored is 2"):
        Counting(max_unscored=2)
    with pytest.raises(ConfigError, match=r"^protocol\.name is 'best'; accepted: published, robust"):
        ProtocolSpec("best")
