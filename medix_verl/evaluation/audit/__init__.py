# SPDX-License-Identifier: Apache-2.0
"""Audits of judges, test sets and figures."""
