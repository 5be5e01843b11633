# SPDX-License-Identifier: Apache-2.0
"""Sharing recipes: `medix-verl recipe publish` and `install`. Shared code is never executed here."""

__all__: list[str] = []
