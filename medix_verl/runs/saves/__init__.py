# SPDX-License-Identifier: Apache-2.0
"""`medix.on_save`: work on each checkpoint while the training continues."""

__all__: list[str] = []
