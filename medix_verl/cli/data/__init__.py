# SPDX-License-Identifier: Apache-2.0
"""The commands that create and inspect data files."""

__all__: list[str] = []
