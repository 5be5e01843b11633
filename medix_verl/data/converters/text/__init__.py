# SPDX-License-Identifier: Apache-2.0
"""Converters of public text-only question sets."""

__all__: list[str] = []
