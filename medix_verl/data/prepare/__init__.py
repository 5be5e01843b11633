# SPDX-License-Identifier: Apache-2.0
"""Data preparation: checks rows, stores them in parts, then writes the deduplicated file, its report and its card."""

__all__: list[str] = []
