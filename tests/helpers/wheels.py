# SPDX-License-Identifier: Apache-2.0
"""Packages that tests take pictures from; a test is skipped where its package is not installed."""

from __future__ import annotations

from typing import Any

import pytest


def scikit_image() -> Any:
    """`skimage.data`, with its pictures."""
    return pytest.importorskip("skimage.data", reason="the pictures come with scikit-image, which is not installed")
