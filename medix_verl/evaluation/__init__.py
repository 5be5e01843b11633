# SPDX-License-Identifier: Apache-2.0
"""The room that measures: how far numbers can be trusted, and how far a judge can.

`agreement` is the arithmetic of shares and of agreement, with confidence intervals. `pairs` reads labelled pairs and
attacks, `audit` runs a judge over them. Nothing here scores training answers, and "could not be judged" is counted
beside the numbers, never inside them.
"""

__all__: list[str] = []
