# SPDX-License-Identifier: Apache-2.0
"""Duplicate rows: fingerprints of rows and pictures, and collisions within a file and between files."""

__all__: list[str] = []
