# SPDX-License-Identifier: Apache-2.0
"""Public data sets to the sample schema, one file a set. A converter reads local files only and keeps every row."""

__all__: list[str] = []
