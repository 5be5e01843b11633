# SPDX-License-Identifier: Apache-2.0
"""The frozen shapes that travel between the rooms.

`Sample` is one question with its reference, `Response` what the model said (parsed once), `Reference` what a scorer
may know of the right answer, `Verdict` and `Similarity` what a judge and an encoder said of one answer, or why they
could not, and `RewardBreakdown` the itemised score. Nothing here does any work, and nothing heavy is imported.
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
    """A picture, by value or by place: exactly one of the two fields is set."""

    bytes: bytes | None = None
    """An encoded picture (PNG, JPEG, ...)."""
    path: str | None = None
    """A file; a relative path is relative to the folder of the parquet file that names it."""


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
    """The choices, in order, of a multiple-choice question."""
    split: str = "train"
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Anything else; `synonyms` (list of str) and `tolerance` (relative, float) are read by the rule judge."""


@dataclass(frozen=True, slots=True)
class Response:
    """A model's text, parsed once by medix_verl.response.parse_response."""

    modality: str | None
    """The upper-case tag that opens the text, without its brackets, or None."""
    thinking: str | None
    answer: str | None
    """The content of the last top-level answer block, stripped, or None when there is none."""
    well_formed: bool
    """True for: at most one modality tag, one thinking block, one answer block, in that order, and nothing else."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a scorer may know of the right answer to one question."""

    answer: str
    modality: str | None = None
    question: str | None = None
    synonyms: tuple[str, ...] = ()
    """Other texts that are as right as `answer`."""
    options: tuple[str, ...] | None = None
    tolerance: float | None = None
    """Accepted relative error of a measured quantity; None leaves it to the judge's own setting."""
    credentialed_row: str | None = None
    """Of a row that no third party may see: what to call it in a refusal (`row 'q7' of mimic-cxr`); None of others."""


class Failure(str, Enum):
    """Why something could not be had from a server, a model or a term: a closed set, so that no text is matched."""

    UNREACHABLE = "unreachable"
    """The connection failed, or every endpoint is down."""
    TIMEOUT = "timeout"
    """No answer in time."""
    SERVER_ERROR = "server_error"
    """An HTTP status that says that the server itself failed (5xx, 408, 409, 425)."""
    RATE_LIMITED = "rate_limited"
    """HTTP 429."""
    MALFORMED = "malformed"
    """The server's answer is no answer of this protocol: half a body, no JSON, no message, too large."""
    REFUSED = "refused"
    """The server will not answer this request (400, 413, 422), or may not be sent this row."""
    MISCONFIGURED = "misconfigured"
    """Every request would fail alike: wrong address, key, model or setting (401, 403, 404, a redirect)."""
    UNREADABLE = "unreadable"
    """The model's reply is not what was asked for, such as neither YES nor NO."""
    TRUNCATED = "truncated"
    """The model's reply was cut at its length limit, and what there is cannot be read."""
    INTERNAL = "internal"
    """A term, an encoder or a worker of this run failed."""

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self in _TEMPORARY

    @property
    def is_of_the_server(self) -> bool:
        """Whether it speaks of the server and not of one request or of one reply."""
        return self in _TEMPORARY or self is Failure.MISCONFIGURED


_TEMPORARY = frozenset(
    {Failure.UNREACHABLE, Failure.TIMEOUT, Failure.SERVER_ERROR, Failure.RATE_LIMITED, Failure.MALFORMED}
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said of one answer: right, wrong, or (`correct` None) why it could not be said."""

    correct: bool | None
    source: str
    """Who decided: `equality`, `guard`, `rule`, or the name of the judge model."""
    reason: str = ""
    """Why there is no verdict; beside one, which guard said NO, or `swap` where the two passes disagreed."""
    probability: float | None = None
    """The judge model's P(YES), where the recipe asks for it and the server gives it; `correct` stays the verdict."""
    failure: Failure | None = None
    """Of what kind the failure is, where there is no verdict."""

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
    """Of what kind the failure is, where there is no value."""

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.value is not None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a term has no value; the answer is then unscored, or scored over the other terms, as the recipe says."""

    failure: Failure
    reason: str


@dataclass(frozen=True, slots=True)
class TermKeys:
    """Under which keys a term stands in a flat row of numbers, such as verl's `reward_extra_info`."""

    name: str
    """Its value is under this key; 0.0 where it has none."""
    can_fail: bool = True
    """There is a key NAME_ok: 1.0 where the term has a value."""
    can_be_absent: bool = True
    """There is a key NAME_applies: 1.0 where the term applies, whether it could be had or not."""

    @property
    def ok(self) -> str:
        """The key that says whether the term could be had."""
        return f"{self.name}_ok"

    @property
    def applies(self) -> str:
        """The key that says whether the term applies."""
        return f"{self.name}_applies"

    @property
    def flag(self) -> str | None:
        """The key that says whether the number under `name` is a value; None where it always is."""
        return self.ok if self.can_fail else self.applies if self.can_be_absent else None


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """The score of one answer with its terms, each in [0, 1]; `score` is None when the answer is unscored.

    `breakdown.NAME`, `breakdown.NAME_ok` and `breakdown.NAME_applies` read `terms` for any term NAME.
    """

    score: float | None
    acc: float | None
    """The hard verdict of the term that decides right and wrong, 0 or 1; None where that term failed."""
    terms: Mapping[str, float | None]
    """Term -> value; None where the term does not apply, or failed and is in `failures`."""
    answer: str | None = None
    """The content of the answer block; None where there is none."""
    failures: Mapping[str, Failed] = field(default_factory=dict)
    keys: tuple[TermKeys, ...] = ()
    """One for each of `terms`, in the same order."""

    @property
    def reason(self) -> str:
        """What failed, as `NAME: reason; NAME: reason`; empty when every term that applies could be had."""
        return "; ".join(f"{name}: {failed.reason}" for name, failed in self.failures.items())

    def ok(self, name: str) -> bool:
        """Whether a term has a value."""
        return self.terms[name] is not None

    def applies(self, name: str) -> bool:
        """Whether a term applies to the answer, whether it could be had or not."""
        return self.terms[name] is not None or name in self.failures

    def __getattr__(self, key: str) -> Any:
        # Only called for what is no field; "terms" itself is missing while an instance is being unpickled.
        if not key.startswith("_") and key != "terms":
            name, _, flag = key.rpartition("_")
            if key in self.terms:
                return self.terms[key]
            if name in self.terms and flag in ("ok", "applies"):
                return self.ok(name) if flag == "ok" else self.applies(name)
        raise AttributeError(f"'RewardBreakdown' has no attribute or term {key!r}")
