# SPDX-License-Identifier: Apache-2.0
"""The commands about the judge and the encoder, and the flags that select them."""

__all__: list[str] = []
