# SPDX-License-Identifier: Apache-2.0
"""Hydra's group `recipe`: one YAML file for each recipe; see recipes/README.md."""
