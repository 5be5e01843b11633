# SPDX-License-Identifier: Apache-2.0
"""What one bad row, or one bad request, costs: itself, with its cause; and a judge that thinks has room for it."""

import asyncio
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from medix_verl.errors import DataError
from medix_verl.evaluation.assemble import TaskChoices, load_items
from medix_verl.evaluation.grading.asking import BINARY, write
from medix_verl.evaluation.grading.judge_settings import facts_of_judging, judge_specs
from medix_verl.evaluation.grading.spec import ProtocolSpec, build_voters
from medix_verl.evaluation.tasks.table import find
from medix_verl.judge.prompt import ChatRequest, Turn, chat_body
from medix_verl.openai_client import RequestError
from medix_verl.types import Failure, ImageRef, Reference, Sample


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 12), (shade, 10, 20)).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "corrupt": picture(1)[:60] + b"\x00" * 40,
    "cut off": picture(2)[:-30],
    "no picture": b"<html>not found</html>",
    "empty": b"",
    "a damaged DICOM": b"\x00" * 128 + b"DICM" + b"\xff" * 64,
}


def loader(bad: bytes | None, count: int = 61) -> Any:
    def load(*_: Any) -> Iterator[Sample]:
        for number in range(count):
            ref = ImageRef(path="gone.png") if bad is None else ImageRef(bytes=bad)
            shown = ref if number == 40 or count == 1 else ImageRef(bytes=picture(number))
            yield Sample(f"r{number}", "set", "What is seen?", "yes", "CT_SCAN", images=(shown,))

    return load


@pytest.mark.parametrize("bad", [*BAD.values(), None], ids=[*BAD, "missing"])
def test_a_picture_that_cannot_be_used_loses_its_row_only(
    bad: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refused = Counter[str]()
    with caplog.at_level(logging.WARNING):
        items = load_items(find("rad_vqa"), None, TaskChoices(), tmp_path, loader(bad), refused)
    assert len(items) == 60 and "r40" not in items and refused == {"picture cannot be used": 1}
    assert "rad_vqa: a row is left out: row 'r40'" in caplog.text
    with pytest.raises(DataError, match="the pictures of 1 cannot be used"):
        load_items(find("rad_vqa"), None, TaskChoices(), tmp_path, loader(bad, 1))


def test_the_cause_of_a_request_that_was_retried_is_kept() -> None:
    pytest.importorskip("inspect_ai")
    from tenacity import Future, RetryError

    from medix_verl.evaluation.inspect.tasks import ask, cause_of, one_line
    from medix_verl.evaluation.task_run import Answering
    from medix_verl.runtime.dispatch import Breaker

    own = RequestError("HTTP 500 (out of memory)", Failure.SERVER_ERROR, 500)
    attempt = Future(4)
    attempt.set_exception(own)
    wrapped = RetryError(attempt)
    assert cause_of(wrapped) is own and one_line(wrapped) == "HTTP 500 (out of memory)"
    plain = ValueError("of another kind")
    assert cause_of(plain) is plain

    async def generate(state: Any, **_: Any) -> Any:
        raise wrapped

    run: Any = SimpleNamespace(answering=Answering("m"), answers=None, model_breaker=Breaker(4, what="the model"))
    state: Any = SimpleNamespace(metadata={}, messages=[], epoch=1)
    with pytest.raises(RequestError, match="out of memory") as caught:
        asyncio.run(ask(run, "key", state, generate))
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_a_judge_that_thinks_has_room_for_it() -> None:
    served = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "m"}
    for protocol in (ProtocolSpec("robust", rounds=1), ProtocolSpec("published")):
        budgets = {}
        for given in (None, 2048):
            specs = judge_specs({**served, "max_tokens": given})
            (voter,) = build_voters(protocol, specs)
            pool: Any = voter.judge.judge
            turns = (Turn("user", write(protocol, BINARY, "c", Reference("a")).text),)
            closed = json.loads(pool.writer.body("q"))["max_tokens"]
            talk = json.loads(chat_body(ChatRequest(turns), "m", "choice", pool.spec.max_tokens))["max_tokens"]
            budgets[given] = (closed, talk)
        assert budgets == {None: (4, 512), 2048: (2048, 2048)}
        assert facts_of_judging(specs, protocol)["judge"]["max_tokens"] == 2048
