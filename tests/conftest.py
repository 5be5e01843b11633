# SPDX-License-Identifier: Apache-2.0
"""What every test gets: a ring chosen by its folder, our own warnings as errors, and a list of what was not run."""

import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no fault of the code: what must be fast has a test that says so.
settings.register_profile("medix", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medix")

# A shell starts what it puts in the background deaf to Ctrl-C, and children inherit that: the tests send it to some.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same for what nohup ignores, and a command that ignores it by right would not end.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

RINGS = ("integration", "gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the ring that its folder names, and skip the GPU ring where there is no GPU."""
    root = Path(__file__).parent
    for item in items:
        ring = item.path.relative_to(root).parts[0] if item.path.is_relative_to(root) else ""
        if ring in RINGS:
            item.add_marker(ring)
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests and (reason := missing_gpu()):
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason=reason))


def missing_gpu() -> str:
    """Why GPU tests cannot run here; empty when they can. Asked only when there are some, as torch takes seconds."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "torch.cuda sees no accelerator"


@pytest.fixture(autouse=True)
def own_warnings_are_errors() -> Iterator[None]:
    """A warning that our own code causes fails the test; other people's are theirs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module=r"medix_verl(\.|$)")
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run and why, so that a green line is not taken for more than it is."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if left_out := len(terminalreporter.stats.get("deselected", [])):
        reasons["left out on the command line (-m, -k); `make long` runs the long ones"] = left_out
    if reasons:
        terminalreporter.section("not run on this machine")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:4d}  {reason}")
