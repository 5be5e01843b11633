# SPDX-License-Identifier: Apache-2.0
"""The recipes: `+recipe=NAME` adds `recipe/NAME.yaml` to verl's `ppo_trainer`.

Installed as medix_verl.recipes. Without this file, Hydra would not find the folder in an editable install.
"""
