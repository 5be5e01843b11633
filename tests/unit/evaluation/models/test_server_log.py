# SPDX-License-Identifier: Apache-2.0
"""What the log of a server says of its end: shortened logs of vLLM, as it left them."""

import pytest

from medix_verl.evaluation.models.server_log import read_lines

ENGINE = """\
(APIServer pid=1) INFO 11-30 09:02:25 [api_server.py:299] non-default args: {'port': 5}
(Worker pid=3) ERROR 11-30 09:03:52 [multiproc_executor.py:912] Traceback (most recent call last):
(Worker pid=3) ERROR 11-30 09:03:52 [multiproc_executor.py:912]   File "worker.py", line 1, in run
(Worker pid=3) ERROR 11-30 09:03:52 [multiproc_executor.py:912]     load()
(Worker pid=3) ERROR 11-30 09:03:52 [multiproc_executor.py:912] RuntimeError: start (0) + length (768) exceeds (384).
(EngineCore pid=2) ERROR 11-30 09:03:57 [core.py:1349] EngineCore failed to start.
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "serve.py", line 33, in <module>
(APIServer pid=1)     raise RuntimeError(
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above."""
TOO_LONG = """\
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "arg_utils.py", line 1686, in create_model_config
(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=1)   Value error, max_model_len (100000000) is greater than the derived one (2048)
(APIServer pid=1)     For further information visit https://errors.pydantic.dev"""
GOES_ON = f"{ENGINE}\n(EngineCore pid=2) INFO 11-30 09:04:00 [loader.py:1] Loading weights took 3 s"
WARNED = f"{ENGINE}\n/usr/lib/resource_tracker.py:254: UserWarning: There appear to be 1 leaked objects"


@pytest.mark.parametrize(
    ("log", "begins", "ended"),
    [
        (ENGINE, "RuntimeError: start (0) + length (768) exceeds (384). | RuntimeError: Engine core init", True),
        (
            TOO_LONG,
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig Value error,",
            True,
        ),
        (WARNED, "RuntimeError: start (0)", True),  # what Python says of a death is no sign of life
        (GOES_ON, "RuntimeError: start (0)", False),  # an exception that was caught
        ("loading\nValueError: the weights are broken", "ValueError: the weights are broken | loading", True),
        ("INFO 11-30 09:02:25 [a.py:1] loading", "loading", False),
        ("", "", False),
    ],
)
def test_what_is_told(log: str, begins: str, ended: bool) -> None:
    found = read_lines(log.splitlines())
    assert found.message.startswith(begins) and "File" not in found.message and found.ends_with_exception is ended
