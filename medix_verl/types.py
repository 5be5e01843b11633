# SPDX-License-Identifier: Apache-2.0
"""The frozen dataclasses shared by all packages.

`Sample` is a question with its reference, `Response` the parsed text of the model, `Reference` what a scorer may know
of the right answer, `Verdict` and `Similarity` the result of a judge and of an encoder for one answer, or why there is
none, and `RewardBreakdown` the score with its terms. This module has no logic and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = [
    "MODALITIES",
    "Failed",
    "Failure",
    "ImageRef",
    "Reference",
    "Response",
    "RewardBreakdown",
    "Sample",
    "Similarity",
    "TermKeys",
    "Verdict",
]

MODALITIES = (
    "X_RAY",
    "MICROSCOPY",
    "CLINICAL_PHOTOGRAPHY",
    "CT_SCAN",
    "GRAPHICS",
    "ANGIOGRAPHY",
    "PET_SCAN",
    "ULTRASOUND",
    "MRI_SCAN",
    "FUNDUS_PHOTOGRAPHY",
    "OCT_SCAN",
    "ENDOSCOPY",
    "MAMMOGRAPHY",
    "FLUOROSCOPY",
    "OTHER",
    "SPECT",
)
"""The closed vocabulary of imaging modality tags, written `<X_RAY>` by the policy (MediX-R1, medical_format.jinja)."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture, by value or by path: exactly one of the two fields is set."""

    bytes: bytes | None = None
    """An encoded picture (PNG, JPEG, ...)."""
    path: str | None = None
    """A file path; relative paths are relative to the folder of the parquet file."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One question, its pictures and its reference answer: one row of the parquet schema (medix_verl.data.schema)."""

    id: str
    data_source: str
    question: str
    answer: str
    modality: str | None = None
    """One of MODALITIES, or None for a text-only question."""
    images: tuple[ImageRef, ...] = ()
    options: tuple[str, ...] | None = None
    """The options of a multiple-choice question, in order."""
    split: str = "train"
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Other data; the rule judge reads `synonyms` (list of str), `tolerance` (relative, float) and `label` (the right
    option's letter)."""


@dataclass(frozen=True, slots=True)
class Response:
    """A model's text, parsed once by medix_verl.response.parse_response."""

    modality: str | None
    """The upper-case tag at the beginning of the text, or directly after the thinking if the prompt opened it; without
    its brackets; None if there is none, or more than one."""
    thinking: str | None
    answer: str | None
    """The content of the last top-level answer block, stripped; None if there is none."""
    well_formed: bool
    """True for: at most one modality tag, one thinking block, one answer block, in that order, and nothing else. The
    rule differs if the prompt opened or closed the thinking (medix_verl/rewards/README.md)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a scorer may know of the right answer to one question."""

    answer: str
    modality: str | None = None
    question: str | None = None
    synonyms: tuple[str, ...] = ()
    """Other texts that are equally right."""
    options: tuple[str, ...] | None = None
    label: str | None = None
    """The letter of the right option, if the row has it: options may have equal texts."""
    tolerance: float | None = None
    """Accepted relative error of a measured quantity; None means the judge's own setting."""
    credentialed_row: str | None = None
    """The row's name in a refusal (`row 'q7' of mimic-cxr`) if no third party may see it; None for other rows."""
    images: tuple[ImageRef, ...] = ()
    """The question's pictures, for a judge that sees them (`judge.images`); paths are relative to the working folder.
    They may be left out if no judge sees pictures."""


class Failure(str, Enum):
    """Why a server, a model or a term gave no result: a closed set, so that no message text is matched."""

    UNREACHABLE = "unreachable"
    """The connection failed, or every endpoint is down."""
    TIMEOUT = "timeout"
    """No answer in time."""
    SERVER_ERROR = "server_error"
    """An HTTP status for a failure of the server itself (5xx, 408, 409, 425)."""
    RATE_LIMITED = "rate_limited"
    """Only HTTP 429, for longer than the retries last."""
    MALFORMED = "malformed"
    """The reply does not follow the protocol: an incomplete body, no JSON, no message, too large."""
    REFUSED = "refused"
    """The server will not answer this request (400, 413, 422, a content filter), or may not be sent this row."""
    MISCONFIGURED = "misconfigured"
    """Every request would fail: wrong address, key, model or setting, a spent quota (401, 404, a redirect)."""
    UNREADABLE = "unreadable"
    """Something cannot be read: a model's reply that is not what was asked for, such as neither YES nor NO, or a
    picture of the row that the judge should see."""
    TRUNCATED = "truncated"
    """The model's reply was cut at its length limit, and the part received cannot be read."""
    DISAGREEMENT = "disagreement"
    """The judges of a panel answered, but neither YES nor NO has a majority."""
    INTERNAL = "internal"
    """A term, an encoder or a worker of this run failed."""

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self in _TEMPORARY

    @property
    def is_of_the_server(self) -> bool:
        """Whether the failure is of the server, not of a single request or reply."""
        return self in _TEMPORARY or self is Failure.MISCONFIGURED


_TEMPORARY = frozenset(
    {Failure.UNREACHABLE, Failure.TIMEOUT, Failure.SERVER_ERROR, Failure.RATE_LIMITED, Failure.MALFORMED}
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's result for one answer: right, wrong, or (`correct` None) why there is no verdict."""

    correct: bool | None
    source: str
    """What decided: `equality`, `guard`, `rule`, or the name of the judge model."""
    reason: str = ""
    """Why there is no verdict; with a verdict, which guard said NO, or `swap` if the two passes disagreed."""
    probability: float | None = None
    """The judge model's P(YES), if the recipe asks for it and the server returns it; `correct` stays the verdict."""
    failure: Failure | None = None
    """The kind of the failure, if there is no verdict."""

    @property
    def ok(self) -> bool:
        """Whether there is a verdict."""
        return self.correct is not None


@dataclass(frozen=True, slots=True)
class Similarity:
    """Cosine similarity of two texts in [-1, 1], or (`value` None) why there is none."""

    value: float | None
    reason: str = ""
    failure: Failure | None = None
    """The kind of the failure, if there is no value."""

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a term has no value; the recipe decides whether the answer is unscored or scored with the other terms."""

    failure: Failure
    reason: str


@dataclass(frozen=True, slots=True)
class TermKeys:
    """The keys of a term in a flat row of numbers, such as verl's `reward_extra_info`."""

    name: str
    """The key of its value; 0.0 if it has none."""
    can_fail: bool = True
    """Whether there is a key NAME_ok: 1.0 if the term has a value."""
    can_be_absent: bool = True
    """Whether there is a key NAME_applies: 1.0 if the term applies, whether or not it has a value."""

    @property
    def ok(self) -> str:
        """The key that says whether the term has a value."""
        return f"{self.name}_ok"

    @property
    def applies(self) -> str:
        """The key that says whether the term applies."""
        return f"{self.name}_applies"

    @property
    def flag(self) -> str | None:
        """The key that says whether the number under `name` is a value; None if it always is."""
        return self.ok if self.can_fail else self.applies if self.can_be_absent else None


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """The score of one answer with its terms, each in [0, 1]; `score` is None when the answer is unscored.

    `breakdown.NAME`, `breakdown.NAME_ok` and `breakdown.NAME_applies` read `terms` for any term NAME.
    """

    score: float | None
    acc: float | None
    """The hard verdict of the term that decides right and wrong, 0 or 1; None if that term failed."""
    terms: Mapping[str, float | None]
    """Term -> value; None if the term does not apply, or failed and is in `failures`."""
    answer: str | None = None
    """The content of the answer block; None if there is none."""
    failures: Mapping[str, Failed] = field(default_factory=dict)
    keys: tuple[TermKeys, ...] = ()
    """One for each of `terms`, in the same order."""

    @property
    def reason(self) -> str:
        """The failures, as `NAME: reason; NAME: reason`; empty if no term failed."""
        return "; ".join(f"{name}: {failed.reason}" for name, failed in self.failures.items())

    def ok(self, name: str) -> bool:
        """Whether a term has a value."""
        return self.terms[name] is not None

    def applies(self, name: str) -> bool:
        """Whether a term applies to the answer, whether or not it has a value."""
        return self.terms[name] is not None or name in self.failures

    def __getattr__(self, key: str) -> Any:
        # Called only for names that are not fields; "terms" is missing while an instance is unpickled.
        if not key.startswith("_") and key != "terms":
            name, _, flag = key.rpartition("_")
            if key in self.terms:
                return self.terms[key]
            if name in self.terms and flag in ("ok", "applies"):
                return self.ok(name) if flag == "ok" else self.applies(name)
        raise AttributeError(f"'RewardBreakdown' has no attribute or term {key!r}")
