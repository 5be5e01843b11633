# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning before reinforcement learning: rationales, in the reward's format, as verl's messages."""

__all__: list[str] = []
