# SPDX-License-Identifier: Apache-2.0
"""Heads of recipes: what they say, and the lists that would not be what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medix_verl.errors import ConfigError
from medix_verl.recipe.heads import Head, check_list, lineage, read_head, trainer_of
from medix_verl.recipe.index import recipe_heads

RECIPE = """# @package _global_
#
# Eight billion,
# on one node.
#
#   python -m verl.trainer.main_ppo +recipe=ours \\
#     reward.medix.judge.url=URL
#
# table: a model | GRPO | 8 | nothing
# not with: one, two

defaults:
  - base # why
  - override /model_engine: megatron
  - _self_

trainer: {nnodes: 1}
  - not_a_parent
"""


def head(
    name: str,
    *parents: str,
    overlay: bool = False,
    not_with: tuple[str, ...] = (),
    instead_of: tuple[str, ...] = (),
    command: str = "",
) -> Head:
    return Head(name, "", command, overlay, (), not_with, parents, instead_of)


HEADS = {
    found.name: found
    for found in [
        head("base"),
        head("child", "base"),
        head("other", "base"),
        head("tiny", overlay=True, not_with=("big",)),
        head("cpu", "base", "tiny"),
        head("big", overlay=True),
        head("fast", overlay=True),
        head("mine"),
        head("slow", overlay=True, instead_of=("slower",)),
        head("slower", overlay=True, instead_of=("slow",)),
        head("snail", "base", "slow"),
        head("small", overlay=True, command="python -m x +recipe=[base,child,small] key=value"),
    ]
}


def test_everything_of_a_head() -> None:
    found = read_head("ours", RECIPE)
    assert found.text.startswith("Eight billion, on one node.")
    assert found.command.startswith("python -m verl.trainer.main_ppo +recipe=ours")
    assert found.columns == ("a model", "GRPO", "8", "nothing")
    assert (found.is_overlay, found.not_with, found.parents) == (False, ("one", "two"), ("base",))


def test_an_overlay_and_a_file_without_a_head() -> None:
    found = read_head("o", "# @package _global_\n#\n# Overlay: less.\n# overlay: size | nothing\n\na: 1\n")
    assert (found.is_overlay, found.columns, found.text) == (True, ("size", "nothing"), "less.")
    plain = read_head("p", "# @package _global_\ndefaults: [base, _self_]\na: 1\n")
    assert (plain.is_overlay, plain.columns, plain.parents, plain.text) == (False, (), ("base",), "")


@given(st.text(alphabet="# :|-\n \\defaultsp[],ovry", max_size=200))
def test_no_file_is_unreadable(text: str) -> None:
    read_head("any", text)


def faults(name: str, heads: Mapping[str, Head]) -> list[str]:
    """What one of our own heads lacks."""
    found = heads[name]
    rules = {
        "its text is no sentence of its own": found.text.endswith(".") and not found.text.startswith("Overlay"),
        "its line of the table is not whole": len(found.columns) == (2 if found.is_overlay or found.is_part else 4),
        "its command is not there": name in found.command
        and f"verl.trainer.{trainer_of(name, heads)} +recipe=" in found.command,
        "it names a recipe that is not there": set(found.not_with) | set(found.parents) <= set(heads),
    }
    return [f"{name}: {why}" for why, kept in rules.items() if not kept]


def test_our_own_heads_are_complete() -> None:
    heads = recipe_heads()
    assert len(heads) > 15
    found = [why for name in sorted(heads) for why in faults(name, heads)]
    assert not found, "\n".join(found)


def test_a_head_that_lacks_something_is_seen() -> None:
    assert len(faults("lacks", {"lacks": head("lacks", "gone")})) == 4


@pytest.mark.parametrize(
    ("top", "has_place"),
    [
        ("# @package _global_", True),
        ("\n#@package   _global_", True),
        ("# @title mine\n# @package actor_rollout_ref", True),
        ("# a word first\n# @package _global_", False),
        ("# @package _group_", False),
        ("# @package", False),
        ("", False),
    ],
)
def test_where_the_keys_go_is_read_as_hydra_reads_it(top: str, has_place: bool) -> None:
    assert read_head("any", f"{top}\ntrainer: {{nnodes: 2}}\n").has_place is has_place


def test_a_file_whose_keys_would_be_lost_is_refused() -> None:
    heads = {**HEADS, "lost": replace(head("lost", "base"), has_place=False), "heir": head("heir", "lost")}
    for names in (["lost"], ["heir"], ["base", "heir"]):
        with pytest.raises(ConfigError, match="'lost' has no line '# @package _global_' at its top.*write that line"):
            check_list(names, heads)


def test_lineage() -> None:
    assert lineage("cpu", HEADS) == ["cpu", "base", "tiny"]
    assert lineage("unknown", HEADS) == ["unknown"]


@pytest.mark.parametrize(
    "names",
    [
        ["base"],
        ["base", "child"],
        ["child", "fast", "tiny"],
        ["base", "cpu"],
        ["base", "mine"],
        ["cpu", "fast"],
        ["snail", "slower"],
        ["base", "slow", "fast"],
    ],
)
def test_lists_that_pass(names: list[str]) -> None:
    check_list(names, HEADS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fast"], r"fast, an overlay, .*type \+recipe=\[medix,fast\]"),
        (["small"], r"small, an overlay, .*type \+recipe=\[base,small\]"),
        (["fast", "small"], r"type \+recipe=\[base,fast,small\]"),
        (["base", "slow", "slower"], r"slow and slower set the same keys, and one would undo the other; leave one out"),
        (["base", "slower", "slow"], r"slower and slow set the same keys"),
        (["child", "snail"], r"snail begins again from base and would undo child; type \+recipe=\[child,slow\]"),
        (["fast", "base"], r"type \+recipe=\[base,fast\]"),
        (["base", "fast", "mine"], r"type \+recipe=\[base,mine,fast\]"),
        (["base", "tiny", "big"], r"tiny and big exclude each other \(tiny says: not with big\)"),
        (["base", "big", "tiny"], r"tiny and big exclude each other|big and tiny exclude each other"),
        (["cpu", "big"], r"cpu and big exclude each other \(tiny says: not with big\)"),
        (["child", "other"], r"other begins again from base and would undo child; type \+recipe=other"),
        (["child", "cpu"], r"cpu begins again from base and would undo child; type \+recipe=\[child,tiny\]"),
        (["child", "base"], r"base begins again from base and would undo child"),
    ],
)
def test_lists_that_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_list(names, HEADS)
