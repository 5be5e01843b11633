# SPDX-License-Identifier: Apache-2.0
"""The commands for training runs: demo, report, export."""

__all__: list[str] = []
