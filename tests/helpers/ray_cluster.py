# SPDX-License-Identifier: Apache-2.0
"""A Ray of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def two_cpus(*modules: ModuleType) -> Iterator[None]:
    """A Ray with two CPUs. Classes of `modules`, which are not installed packages, are sent to its processes whole."""
    import ray

    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
