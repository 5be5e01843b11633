# SPDX-License-Identifier: Apache-2.0
"""Access to the evaluated model: a running server, or one that is started for the evaluation."""
