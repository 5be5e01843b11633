# SPDX-License-Identifier: Apache-2.0
"""Evaluates models on medical tasks, and measures the reliability of the figures and of the judges.

- `tasks`: the table of tasks, the user's own tasks, their questions, pictures and solved examples.
- `grading`: the two protocols, the judges' settings, the prompts of judge models and the parsing of their replies.
- `models`: the server of the evaluated model.
- `inspect`: tasks, provider and scorer of inspect_ai; no other folder imports the framework.
- `store`: records (one line per answer, from inspect_ai's logs) and the manifest; all figures are computed from these.
- `stats`: figures, intervals, differences of two evaluations.
- `reports`: tables and files of a finished evaluation.
- `audit`: measures judges, test sets and intervals.

`front_door` contains medix_verl.evaluate, `suite` runs tasks, `rejudge` judges answers again, `results` writes the
output of both, `settings` has the names of settings in messages. Unscored answers are excluded from figures and
counted.
"""

__all__: list[str] = []
