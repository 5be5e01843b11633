# SPDX-License-Identifier: Apache-2.0
"""Measures the throughput (answers per second) of a recipe's judge, encoder and rollouts."""

__all__: list[str] = []
