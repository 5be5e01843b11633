# SPDX-License-Identifier: Apache-2.0
"""The watch: so many failures in a row and it is over, with the cause; a success between them forgets."""

import pytest
from medix_verl.evaluation.watch import Watch

from medix_verl.errors import RunStoppedError


def test_it_trips_after_the_limit_with_the_last_cause() -> None:
    watch = Watch("the judge", 3)
    for _ in range(2):
        watch.fail("connection refused")
    watch.check()
    watch.fail("connection refused again")
    with pytest.raises(RunStoppedError, match="the judge failed 3 times in a row, the last: connection refused again"):
        watch.check()


def test_a_success_forgets_the_failures_before_it() -> None:
    watch = Watch("the judge", 2)
    for _ in range(5):
        watch.fail("busy")
        watch.succeed()
    assert not watch.tripped


def test_the_first_certain_cause_stays() -> None:
    watch = Watch("the model", 100)
    watch.stop("its server ended")
    watch.stop("something later")
    assert watch.cause == "its server ended"
