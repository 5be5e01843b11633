# SPDX-License-Identifier: Apache-2.0
"""Figures, their intervals, and differences between two evaluations."""
