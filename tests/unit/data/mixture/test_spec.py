# SPDX-License-Identifier: Apache-2.0
"""What a mixture file may say: defaults, paths, and every refusal with its message."""

from pathlib import Path
from typing import Any

import pytest

from medix_verl.data.mixture.spec import CurriculumSpec, MixtureSpec, SourceSpec, is_mixture, read_mixture
from medix_verl.errors import ConfigError

ONE = {"path": "a.parquet"}


def spec_of(**keys: Any) -> MixtureSpec:
    return MixtureSpec.from_mapping({"sources": [ONE], **keys})


def test_the_least_that_a_file_may_say() -> None:
    spec = spec_of()
    assert spec == MixtureSpec(sources=(SourceSpec("a.parquet"),))
    assert (spec.seed, spec.rows, spec.balance, spec.curriculum) == (1, None, None, CurriculumSpec())
    assert spec_of(curriculum=None) == spec


def test_everything_that_a_file_may_say(tmp_path: Path) -> None:
    text = """
    seed: 7
    rows: 100
    balance: modality
    sources:
      - {path: a.parquet, weight: 2, cap: 50, repeat: 3, modalities: [X_RAY, TEXT], data_sources: [slake]}
      - {path: /elsewhere/b.parquet}
    curriculum: {order: easy_to_hard, band: [0.1, 0.9], unknown: drop}
    """
    (tmp_path / "mixture.yaml").write_text(text)
    spec = read_mixture(tmp_path / "mixture.yaml")
    first = SourceSpec(str(tmp_path / "a.parquet"), 2, 50, 3, ("X_RAY", "TEXT"), ("slake",))
    assert spec.sources == (first, SourceSpec("/elsewhere/b.parquet"))
    assert (spec.seed, spec.rows, spec.balance) == (7, 100, "modality")
    assert spec.curriculum == CurriculumSpec("easy_to_hard", (0.1, 0.9), "drop")


@pytest.mark.parametrize(("name", "expected"), [("a.yaml", True), ("A.YML", True), ("a.parquet", False)])
def test_a_mixture_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_mixture(name) is expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sources": []}, "sources is empty; name at least one"),
        ({"sources": None}, "no list called sources"),
        ({"sources": [{"weight": 1}]}, r"an item of sources has no path \(its keys: \['weight'\]\)"),
        ({"sources": ["a.parquet"]}, "an item of sources is 'a.parquet'; it must be a mapping"),
        ({"sources": [{**ONE, "wieght": 2}]}, "unknown key 'wieght'; .*did you mean 'weight'"),
        ({"sources": [{**ONE, "weight": 0}]}, "source a.parquet: weight is 0; set it to a finite number above 0"),
        ({"sources": [{**ONE, "weight": -1.0}]}, "weight is -1.0; set it to a finite number above 0"),
        ({"sources": [{**ONE, "weight": "2"}]}, "weight is '2'"),
        ({"sources": [{**ONE, "cap": 0}]}, "source a.parquet: cap is 0; set it to an integer of at least 1"),
        ({"sources": [{**ONE, "repeat": 0}]}, "repeat is 0; set it to an integer of at least 1"),
        ({"sources": [{**ONE, "modalities": ["XRAY"]}]}, "modalities is 'XRAY'; .*did you mean 'X_RAY'"),
        ({"sources": [{**ONE, "modalities": []}]}, r"modalities is \(\); set it to a list"),
        ({"sources": [{**ONE, "data_sources": "slake"}]}, "data_sources is 'slake'; set it to a list"),
        ({"sources": [{"path": ""}]}, "path is ''"),
        ({"sources": [ONE, ONE]}, "source a.parquet is named twice"),
        ({"sedd": 1}, "the mixture has an unknown key 'sedd'; .*did you mean 'seed'"),
        ({"seed": -1}, "seed is -1"),
        ({"rows": 0}, "rows is 0; set it to an integer of at least 1"),
        ({"balance": "modalities"}, "balance is 'modalities'; accepted: modality; did you mean 'modality'"),
        ({"curriculum": {"order": "easy"}}, "curriculum.order is 'easy'; accepted: shuffled"),
        ({"curriculum": {"unknown": "guess"}}, "curriculum.unknown is 'guess'; accepted: keep, drop"),
        ({"curriculum": {"band": 0.5}}, r"curriculum.band is 0.5; set it to \[LOW, HIGH\]"),
        ({"curriculum": {"band": [0.5]}}, r"set it to \[LOW, HIGH\]"),
        ({"curriculum": {"band": [0.1, 1.5]}}, "curriculum.band is 1.5; .*at most 1"),
        ({"curriculum": {"band": [0.9, 0.1]}}, "the first number must not exceed the second"),
        ({"curriculum": {"bnad": [0, 1]}}, "curriculum has an unknown key 'bnad'; .*did you mean 'band'"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        spec_of(**keys)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no mixture file .*none\.yaml; check the path"):
        read_mixture(tmp_path / "none.yaml")


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("sources: [")
    with pytest.raises(ConfigError, match=r"m\.yaml is not YAML \(.*; fix that line"):
        read_mixture(tmp_path / "m.yaml")


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("sources: [{path: a.parquet, weight: 0}]")
    with pytest.raises(ConfigError, match=r"m\.yaml: source a\.parquet: weight is 0"):
        read_mixture(tmp_path / "m.yaml")


def test_two_spellings_of_one_file_are_one_source(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("sources: [{path: a.parquet}, {path: ./x/../a.parquet}]")
    with pytest.raises(ConfigError, match=r"a\.parquet is named twice"):
        read_mixture(tmp_path / "m.yaml")
