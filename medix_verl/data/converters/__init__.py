# SPDX-License-Identifier: Apache-2.0
"""Convert data sets to the sample schema, one module per data set. Every row becomes a Sample or a Refused."""

__all__: list[str] = []
