# SPDX-License-Identifier: Apache-2.0
"""Text questions of the demo, with answers and equally right alternatives from an installed ontology.

Of ten rows, five ask which of four names is another name of a term (the others are names of near siblings), three ask
for the medical term of lay words, and two for plain words. The exact synonyms are accepted, except names that the
question itself contains: repeating it is not an answer. Training uses one half of the terms, validation the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from medix_verl.data.ontology import HALVES, OntologyTerm, half_of, load_ontology
from medix_verl.demo.questions.picture_questions import pick
from medix_verl.demo.questions.picture_rows import DATA_SOURCE, SPLITS, check_request
from medix_verl.judge.rule.judge import RuleJudge
from medix_verl.types import Reference, Sample

__all__ = ["ontology_samples"]

PATTERN = ("which", "name", "which", "plain", "which", "name", "which", "plain", "which", "name")
LONGEST = 40
"""Maximum characters of a name in a question or an answer; limited by the response length."""
WRONG = 3
WHICH_WORDS = ('Which of these is another name of "{}": {}?', 'Which one means the same as "{}": {}?')
NAME_WORDS = ('What is the medical term for "{}"?', 'Give the medical term for "{}".')
PLAIN_WORDS = ('Say "{}" in plain words.', 'What is "{}" in plain words?')


def ontology_samples(split: str, count: int, seed: int = 0) -> Iterator[Sample]:
    """Samples of a split; each depends only on the seed, the split and its index.

    Raises:
        ConfigError: The split is unknown or the count is not positive.
        SetupError: The ontology is not installed.
    """
    check_request(split, count)
    terms = usable(split)
    for number in range(count):
        kind = PATTERN[number % len(PATTERN)]
        rng = np.random.default_rng([seed, len(SPLITS) + SPLITS.index(split), number])
        own = terms[kind]
        yield ontology_sample(f"hpo-{split}-{number:05d}", split, kind, own[int(rng.integers(len(own)))], rng)


@cache
def usable(split: str) -> dict[str, tuple[OntologyTerm, ...]]:
    """The terms of a split that are usable for each kind of question."""
    ontology, half = load_ontology(), HALVES[SPLITS.index(split)]
    named = [term for term in ontology.terms.values() if half_of(term.id) == half and short(term.name) == [term.name]]
    lay = tuple(term for term in named if short(*other_words(term.name, term.lay)))
    renamed = [term for term in named if short(*other_words(term.name, term.exact))]
    which = tuple(term for term in renamed if len(short(*wrong_names(term))) >= WRONG)
    return {"which": which, "name": lay, "plain": lay}


def short(*names: str) -> list[str]:
    """The names that are short enough and have no comma or quote, which would break a list in a sentence."""
    return [name for name in names if len(name) <= LONGEST and "," not in name and '"' not in name]


def other_words(said: str, names: Sequence[str]) -> list[str]:
    """The names that the rule judge does not accept as equal to `said`."""
    judge = RuleJudge()
    return [name for name in names if not judge.follows(said, Reference(name))]


def wrong_names(term: OntologyTerm) -> list[str]:
    """The names of a term's near siblings."""
    return [sibling.name for sibling in load_ontology().siblings(term)]


def ontology_sample(identifier: str, split: str, kind: str, term: OntologyTerm, rng: np.random.Generator) -> Sample:
    """One question about a term."""
    choices: list[str] = []
    if kind == "which":
        names = other_words(term.name, term.exact)
        answer = pick(rng, tuple(short(*names)))
        also = [name for name in names if name != answer]
        others = short(*wrong_names(term))
        choices = [answer, *(others[place] for place in rng.permutation(len(others))[:WRONG])]
        choices = [choices[place] for place in rng.permutation(len(choices))]
        question = pick(rng, WHICH_WORDS).format(term.name, ", ".join(choices[:-1]) + " or " + choices[-1])
    elif kind == "name":
        said = pick(rng, tuple(short(*other_words(term.name, term.lay))))
        answer, also = term.name, [name for name in other_words(said, term.exact) if name not in term.lay]
        question = pick(rng, NAME_WORDS).format(said)
    else:
        names = other_words(term.name, term.lay)
        answer = pick(rng, tuple(short(*names)))
        also = [name for name in names if name != answer]
        question = pick(rng, PLAIN_WORDS).format(term.name)
    meta = {"kind": kind, "source": term.id, "licence": load_ontology().notice, "synonyms": also}
    return Sample(
        id=identifier,
        data_source=DATA_SOURCE,
        question=question,
        answer=answer,
        split=split,
        meta={**meta, "choices": choices} if choices else meta,
    )
