# SPDX-License-Identifier: Apache-2.0
"""Integration with inspect_ai; only this package imports it."""
