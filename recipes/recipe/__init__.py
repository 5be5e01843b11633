# SPDX-License-Identifier: Apache-2.0
"""Hydra's group `recipe`: one YAML file a recipe; see recipes/README.md."""
