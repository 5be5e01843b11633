# SPDX-License-Identifier: Apache-2.0
"""The command `score`, its input and its reward."""

__all__: list[str] = []
