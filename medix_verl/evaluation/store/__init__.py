# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation on disk: records and manifest, written and read."""
