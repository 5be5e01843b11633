# SPDX-License-Identifier: Apache-2.0
"""Optional text metrics that compare a report with its reference without a judge; they are in no average.

`rouge_l` (Lin 2004) and `bertscore` (Zhang et al. 2020) come from torchmetrics, which the extra `eval` installs; the
encoder of `bertscore` is any locally available model, by default that of the reward's semantic term. `ratescore`,
`radgraph`, `chexbert` and `green` come from radeval (Xu et al. 2025), which downloads its own radiology models. All of
them run locally, so that credentialed reports do not leave the machine.

A response without an answer scores 0. A reference that a metric cannot process (no word of Latin letters or digits for
`rouge_l`) has no value. CheXbert's values are shares of labels on which report and reference agree (five, and all
fourteen): the F1 of a label is defined for a whole set, not for one report.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from medix_verl.embedding.model import is_cached, locate, no_progress_bar
from medix_verl.embedding.spec import SemanticSpec
from medix_verl.errors import ConfigError, SetupError
from medix_verl.evaluation.settings import setting
from medix_verl.evaluation.store.records import Record

__all__ = ["TEXT_METRICS", "TextMetrics", "check_installed", "with_text_metrics"]

BATCH = 64
WORD = re.compile(r"[a-z0-9]")
"""A character of ROUGE's tokens, in lower case."""
Pairs = Sequence[tuple[str, str]]
"""Candidate and reference."""
Scores = Mapping[str, Sequence[float | None]]
"""Name of a metric's value -> one value for each pair."""


@dataclass(frozen=True, slots=True)
class TextMetrics:
    """The selected text metrics."""

    names: tuple[str, ...] = ("rouge_l",)
    encoder: str = SemanticSpec().model
    """Encoder of bertscore: a hub id, a folder, or `package:NAME` (medix_verl.embedding.model)."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in TEXT_METRICS:
                near = get_close_matches(name.lower().replace("-", "_"), TEXT_METRICS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"accepted: {', '.join(TEXT_METRICS)}"
                raise ConfigError(f"there is no report metric {name!r}; {hint}")


@dataclass(frozen=True, slots=True)
class TextMetric:
    """One text metric."""

    package: str
    """The module that computes it."""
    install: str
    """The argument of `pip install` that installs it."""
    figures: tuple[str, ...]
    """Its keys in a record's metrics."""
    measure: Callable[[Pairs, str], Scores]
    """Computes it from pairs and the encoder's name."""


def check_installed(wanted: TextMetrics) -> None:
    """Reject metrics that cannot be computed on this machine, before any model is asked.

    Raises:
        SetupError: A package or the encoder is missing.
    """
    for name in wanted.names:
        metric = TEXT_METRICS[name]
        if find_spec(metric.package) is None:
            raise SetupError(
                f"the report metric {name} needs {metric.package}; type: pip install {metric.install}, or choose "
                f"others with {setting('text_metrics.names')}"
            )
    if "bertscore" in wanted.names and not is_cached(locate(wanted.encoder)):
        raise SetupError(
            f"the report metric bertscore needs the model {wanted.encoder!r}, which is not on this machine; type: "
            f"huggingface-cli download {wanted.encoder}, or name another with {setting('text_metrics.encoder')}"
        )


def with_text_metrics(records: Sequence[Record], wanted: TextMetrics) -> list[Record]:
    """Add the wanted metrics to reports; existing values are kept, and other records are unchanged."""
    found = {record.key: dict(record.metrics) for record in records}
    for metric in (TEXT_METRICS[name] for name in wanted.names):
        left = [it for it in records if is_measurable(it) and not it.metrics.keys() & set(metric.figures)]
        found |= {it.key: {**found[it.key], **dict.fromkeys(metric.figures, 0.0)} for it in left if it.answer is None}
        pairs = {it.key: (it.answer, it.reference) for it in left if it.answer is not None}
        scores = measured(metric, list(pairs.values()), wanted.encoder) if pairs else {}
        for figure, values in scores.items():
            for key, value in zip(pairs, values, strict=True):
                if value is not None and math.isfinite(value):
                    found[key][figure] = min(1.0, float(value))
    return [replace(record, metrics=found[record.key]) if found[record.key] else record for record in records]


def measured(metric: TextMetric, pairs: Pairs, encoder: str) -> Scores:
    """Compute a metric.

    Raises:
        SetupError: The computation failed.
    """
    try:
        return metric.measure(pairs, encoder)
    except Exception as error:
        cause = " ".join(str(error).split())[:200]
        raise SetupError(
            f"the report metric {metric.figures[0]} failed ({type(error).__name__}: {cause}); fix it and add "
            f"{setting('resume', True)}, or choose others with {setting('text_metrics.names')}: what was done is kept"
        ) from error


def is_measurable(record: Record) -> bool:
    """Whether the record is a report with a response of the model and a reference."""
    return record.answer_type == "report" and record.status != "error" and bool(record.reference.strip())


def rouge_l(pairs: Pairs, encoder: str) -> Scores:
    """F1 of the longest common subsequence of words; lower case, no stemming."""
    from torchmetrics.functional.text.rouge import rouge_score

    def one(candidate: str, reference: str) -> float | None:
        if not WORD.search(reference.lower()):
            return None
        return float(rouge_score(candidate, reference, rouge_keys="rougeL")["rougeL_fmeasure"])

    return {"rouge_l": [one(*pair) for pair in pairs]}


def bertscore(pairs: Pairs, encoder: str) -> Scores:
    """F1 of greedily matched token embeddings of the encoder's last layer; no token weights, no rescaling."""
    from torchmetrics.functional.text.bert import bert_score

    values: list[float | None] = []
    with no_progress_bar():
        for start in range(0, len(pairs), BATCH * 8):
            part = pairs[start : start + BATCH * 8]
            candidates, wanted = [pair[0] for pair in part], [pair[1] for pair in part]
            found: Any = bert_score(
                candidates, wanted, model_name_or_path=locate(encoder), batch_size=BATCH, truncation=True, verbose=False
            )
            # For a single pair, the result is a scalar.
            values += found["f1"].reshape(-1).tolist()
    return {"bertscore": values}


def by_radeval(name: str, figures: Mapping[str, str]) -> TextMetric:
    """A metric of radeval.

    Args:
        name: Radeval's name of the metric.
        figures: Radeval's name of a value for each report -> our name.
    """

    def measure(pairs: Pairs, encoder: str) -> Scores:
        from radeval import RadEval

        evaluator = RadEval(metrics=[name], per_sample=True, show_progress=False)
        found = evaluator(refs=[wanted for _, wanted in pairs], hyps=[candidate for candidate, _ in pairs])
        return {ours: list(found[theirs]) for theirs, ours in figures.items()}

    return TextMetric("radeval", "radeval", tuple(figures.values()), measure)


EVAL = "'medix-verl[eval]'"
CHEXBERT = {"f1chexbert_sample_acc_5": "chexbert_acc_5", "f1chexbert_sample_acc_all": "chexbert_acc_14"}
TEXT_METRICS: Mapping[str, TextMetric] = {
    "rouge_l": TextMetric("torchmetrics", EVAL, ("rouge_l",), rouge_l),
    "bertscore": TextMetric("torchmetrics", EVAL, ("bertscore",), bertscore),
    "ratescore": by_radeval("ratescore", {"ratescore": "ratescore"}),
    "radgraph": by_radeval("radgraph", {"radgraph_partial": "radgraph_partial"}),
    "chexbert": by_radeval("f1chexbert", CHEXBERT),
    "green": by_radeval("green", {"green": "green"}),
}
"""Name for --report-metrics -> metric."""
