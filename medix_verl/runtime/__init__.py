# SPDX-License-Identifier: Apache-2.0
"""Helpers of processes and files that no subject owns: atomic writes and locks, signals, micro-batches, Ray actors."""

__all__: list[str] = []
