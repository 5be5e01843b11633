# SPDX-License-Identifier: Apache-2.0
"""A server without a model that plays the evaluated model and any judge, for tests, benchmarks and rehearsals.

    python -m medix_verl.evaluation.mock_model --port 0 --latency-ms 20

It is medix_verl.judge.mock with more to say: a question gets a well-formed answer that depends on the prompt alone
(one of its choices, where it has some), and a request for JSON gets what its schema asks for. It knows nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from medix_verl.errors import ConfigError
from medix_verl.judge.mock import MockJudge, MockSpec, completion, digest, parse, serve, verdict_of

__all__ = ["MockModel", "answer_to", "main"]

CHOICE = re.compile(r"(?:^|\\n|\n| )([A-Z])\. (.+?)(?=\\n|\n|$| [A-Z]\. )")
WORDS = ("yes", "no", "left lung", "liver", "pneumonia", "MRI", "3 cm")


class MockModel(MockJudge):
    """The server."""

    def reply(self, body: dict[str, Any], prompt: str) -> bytes:
        """A verdict where one is asked for, JSON where a schema is, else an answer."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties", {})
        if "verdict" in schema or "structured_outputs" in body:
            return super().reply(body, prompt)
        if schema:
            # The whole conversation decides, so that rounds may differ.
            return completion(self.spec.model, self.filled(schema, json.dumps(body["messages"])))
        return completion(self.spec.model, answer_to(prompt))

    def filled(self, schema: dict[str, Any], prompt: str) -> str:
        """An object that keeps to a schema of one key."""
        name, kind = next(iter(schema.items()))
        yes = verdict_of(prompt, self.spec.verdict)
        if kind.get("type") == "boolean":
            return json.dumps({name: yes})
        top = max(kind.get("enum", [kind.get("maximum", 1)]))
        return json.dumps({name: top if yes else digest(prompt)[1] % int(top + 1) if top > 1 else 0})


def answer_to(prompt: str) -> str:
    """A well-formed response that depends on the prompt alone."""
    choices = [found[2].strip() for found in CHOICE.finditer(prompt)]
    menu = choices or list(WORDS)
    number = digest(prompt)[0]
    return f"<think>{digest(prompt).hex()}</think> <answer>{menu[number % len(menu)]}</answer>"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server as a program."""
    args = vars(parse(argv))
    port = args.pop("port")
    try:
        asyncio.run(serve(MockModel(MockSpec(**args), port)))
    except (ConfigError, OSError) as error:
        print(f"mock model: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
