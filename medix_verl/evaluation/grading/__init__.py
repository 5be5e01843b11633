# SPDX-License-Identifier: Apache-2.0
"""Grading of answers: protocols, judges and text metrics."""
