# SPDX-License-Identifier: Apache-2.0
"""Folders of this repository, and the golden cases, so that a test can move without its paths changing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "medix_verl"
TESTS = ROOT / "tests"
GOLDEN = TESTS / "golden"


def golden(name: str) -> Any:
    """The cases of tests/golden/NAME.json."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
