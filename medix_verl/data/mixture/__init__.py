# SPDX-License-Identifier: Apache-2.0
"""Mixtures: turn a file of sources and shares into the rows of an epoch."""

__all__: list[str] = []
