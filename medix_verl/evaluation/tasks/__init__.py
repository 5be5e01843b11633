# SPDX-License-Identifier: Apache-2.0
"""Evaluation tasks and their questions."""
