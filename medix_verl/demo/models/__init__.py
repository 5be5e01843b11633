# SPDX-License-Identifier: Apache-2.0
"""The demo's models: the table of policies, how each is created and warmed up, and the judge of each."""

__all__: list[str] = []
