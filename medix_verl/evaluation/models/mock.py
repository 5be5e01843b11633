# SPDX-License-Identifier: Apache-2.0
"""Mock server for the evaluated model and any judge, for tests, benchmarks and dry runs.

    python -m medix_verl.evaluation.models.mock --port 0 --latency-ms 20

It extends medix_verl.judge.mock: a question gets a well-formed answer, selected by a hash of the prompt (one of its
options, if it has any), and a request with a JSON schema gets an object of that schema. The answers have no meaning.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from medix_verl.judge.mock import MockJudge, completion, digest, verdict_of
from medix_verl.judge.mock import main as serve_mock

__all__ = ["MockModel", "answer_to", "main"]

CHOICE = re.compile(r"(?:^|\\n|\n| )([A-Z])\. (.+?)(?=\\n|\n|$| [A-Z]\. )")
WORDS = ("yes", "no", "left lung", "liver", "pneumonia", "MRI", "3 cm")


class MockModel(MockJudge):
    """The server."""

    def reply(self, body: dict[str, Any], prompt: str) -> bytes:
        """A verdict if one is requested, JSON if there is a schema, else an answer."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties", {})
        if "verdict" in schema or "structured_outputs" in body:
            return super().reply(body, prompt)
        if schema:
            # Hash the whole conversation, so that rounds may differ.
            return completion(self.spec.model, self.filled(schema, json.dumps(body["messages"])), prompt=prompt)
        # The content includes the pictures: other pictures, or another seed when sampling, change the answer.
        drawn = str(body["seed"]) if body.get("temperature") and "seed" in body else ""
        return completion(self.spec.model, answer_to(str(body["messages"][-1]["content"]), drawn), prompt=prompt)

    def filled(self, schema: dict[str, Any], prompt: str) -> str:
        """A JSON object that is valid for a schema with one key."""
        name, kind = next(iter(schema.items()))
        yes = verdict_of(prompt, self.spec.verdict)
        if kind.get("type") == "boolean":
            return json.dumps({name: yes})
        top = max(kind.get("enum", [kind.get("maximum", 1)]))
        return json.dumps({name: top if yes else digest(prompt)[1] % int(top + 1) if top > 1 else 0})


def answer_to(prompt: str, drawn: str = "") -> str:
    """A well-formed response that depends only on the prompt and on `drawn`, the seed when sampling."""
    choices = [found[2].strip() for found in CHOICE.finditer(prompt)]
    menu = choices or list(WORDS)
    number = digest(prompt + drawn)[0]
    return f"<think>{digest(prompt + drawn).hex()}</think> <answer>{menu[number % len(menu)]}</answer>"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server as a program."""
    return serve_mock(argv, MockModel, "mock model")


if __name__ == "__main__":
    sys.exit(main())
