# SPDX-License-Identifier: Apache-2.0
"""Pictures: decoding, storage, chat messages, metadata removal and token counts."""

__all__: list[str] = []
