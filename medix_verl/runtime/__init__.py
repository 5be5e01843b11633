# SPDX-License-Identifier: Apache-2.0
"""Process and file helpers shared by all packages: atomic writes, locks, signals, micro-batches, Ray actors."""

__all__: list[str] = []
