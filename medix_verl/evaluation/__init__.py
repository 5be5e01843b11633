# SPDX-License-Identifier: Apache-2.0
"""The room that measures: what a model is worth, how far that number can be trusted, and how far a judge can.

- What is asked: `tasks` and `tasks.json` are the table, `loading` reads a task's questions, `subjects` says what
  judging needs of them.
- How it is judged: `protocol` and `protocol_spec` are the two ways, `judge_facts` refuses what would do nothing there,
  `asking` talks to judge models with the files in `prompts`, `votes` reads what they say.
- What is left: `records`, one line a question; nothing above the run reads anything else.
- What it amounts to: `intervals`, `statistics`, `paired`, `permutation`, `agreement`, `kappa`; `pairs` and `audit`
  measure a judge, `simulation` measures the intervals.

Only the `inspect_*` files know the evaluation framework. "Could not be judged" is counted beside the numbers, never
inside them.
"""

__all__: list[str] = []
