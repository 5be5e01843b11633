#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Start a MediX-R1 run on a running Ray cluster, and follow its log (`pip install "ray[default]" medix-verl`).
#   export RAY_ADDRESS=http://HEAD:8265 SHARED=/shared
#   examples/cluster/ray.sh +recipe=medix trainer.nnodes=2 reward.medix.judge.url=http://HOST:8085/v1
# Every node needs the same environment (verl, medix-verl) and access to the data and SHARED, the folder of checkpoints.
# The same command with the same NAME resumes from the last checkpoint. Keys in this shell's environment, also the one
# named by api_key_env, are passed in a file, so process lists do not show them; users of Ray's dashboard can see them.
# For a cluster with a token (the default since Ray 2.59), set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN[_PATH].
set -euo pipefail
: "${RAY_ADDRESS:?set it to the address of the dashboard, as http://HEAD:8265}"
: "${SHARED:?set it to a folder that every node sees}"
[ $# -gt 0 ] || { echo "give a recipe, as +recipe=medix" >&2; exit 2; }

NAME="${NAME:-medix-$(date +%Y%m%d-%H%M%S)}"
environment="$(mktemp --suffix .json)" # only this user can read it
trap 'rm -f "$environment"' EXIT
python3 - "$@" >"$environment" <<'END'
import json, os, re, sys
from medix_verl.recipe.heads import lineage
from medix_verl.recipe.index import recipe_files, recipe_heads
heads, files, words = recipe_heads(), recipe_files(), " ".join(sys.argv[1:])
typed = [name for group in re.findall(r"\+recipe\S*?=\[?([\w,-]+)", words) for name in group.split(",") if name in heads]
texts = [words, *(files[above].read_text() for name in typed for above in lineage(name, heads))]
names = {"MEDIX_RECIPES", "OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY"}
names.update(name for text in texts for name in re.findall(r"\bapi_key_env *[=:] *(\w+)", text))
json.dump({"env_vars": {name: os.environ[name] for name in sorted(names) if name in os.environ}}, sys.stdout)
END

ray job submit --address "$RAY_ADDRESS" --runtime-env "$environment" -- \
  python3 -m verl.trainer.main_ppo "$@" \
  trainer.default_local_dir="$SHARED/runs/$NAME" trainer.resume_mode=auto
