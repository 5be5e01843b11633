# SPDX-License-Identifier: Apache-2.0
"""The recipes: `recipe/NAME.yaml` is what `+recipe=NAME` adds to verl's `ppo_trainer`.

Installed as medix_verl.recipes. This file must exist: without it an editable install leaves Hydra
no package to find the folder in.
"""
