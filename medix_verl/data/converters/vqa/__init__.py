# SPDX-License-Identifier: Apache-2.0
"""Converters of public visual question answering data sets."""

__all__: list[str] = []
