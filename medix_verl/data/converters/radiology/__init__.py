# SPDX-License-Identifier: Apache-2.0
"""Converters of public radiology report data sets."""

__all__: list[str] = []
