# SPDX-License-Identifier: Apache-2.0
"""`python two_nodes.py OVERRIDE...`: verl's main program on a Ray cluster of two nodes, both on this machine.

Each node has one logical GPU, so that verl has to place a rank and a vLLM replica on either. The training joins the
cluster as it would join a real one (RAY_ADDRESS) and inherits nothing from the process that started it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 16, "num_gpus": 1, "object_store_memory": 10**9, "include_dashboard": False}
# A cluster that is there already says itself what it has.
JOIN = (
    "ray_kwargs.ray_init.num_cpus=null",
    "ray_kwargs.ray_init.num_gpus=null",
    "~ray_kwargs.ray_init._node_ip_address",
)


def main(words: list[str]) -> int:
    """Train, and take the cluster down; returns verl's exit status."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        cluster.wait_for_nodes()
        command = [sys.executable, "-m", "verl.trainer.main_ppo", *words, *JOIN]
        return subprocess.run(command, env={**os.environ, "RAY_ADDRESS": cluster.address}, check=False).returncode
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
