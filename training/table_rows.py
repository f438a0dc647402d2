# Copyright 2026 The rlrc_ros Authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
The rows of the result table: which checkpoint, run how, and what the RLRC paper says of its like.

A row is made of the stages of `rlrc pipeline` (training/stages/plan.py) and is measured by
`rlrc evaluate` and `rlrc timing`. Published figures are those of arXiv 2506.17639 v1, Table of
ManiSkill3 (success in %, 64 episodes; GB as printed; ms an action on an RTX 5880 Ada), None where
the paper has none; they are another policy's on another machine, and stand there for orientation.
"""

from dataclasses import dataclass

MIN_EPISODES = 500
"""Episodes below which a cell is marked: Wilson's 95 % interval at 90 % is then wider than 5.3
points."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    words: str
    stage: str
    """Whose checkpoint is measured."""
    group: str
    """`dense`, `rival`, `stage` (on the way to RLRC), `rlrc` or `own`."""
    runtime: str = 'eager'
    """Of `rlrc evaluate`."""
    paper: tuple[float | None, ...] | None = None
    """Published success in and out of distribution in %, memory in GB, ms an action."""


def _rivals() -> tuple[Row, ...]:
    words = {'magnitude': 'Magnitude 20 %', 'wanda': 'Wanda 20 %',
             'llm-pruner': 'LLM-Pruner 20 %', 'flap': 'FLAP 20 %'}
    rows = []
    for name, title in words.items():
        paper = (21.86, 14.06, 12.433, 139.39) if name == 'llm-pruner' else None
        rows += [Row(f'{name}-20', title, f'{name}-20', 'rival', paper=paper),
                 Row(f'{name}-20-sft', f'{title} + SFT', f'{name}-20-sft', 'rival')]
    return tuple(rows)


ROWS: dict[str, Row] = {row.name: row for row in (
    Row('dense', 'dense', 'dense', 'dense', paper=(89.06, 57.81, 14.858, 169.0)),
    Row('int8', 'dense, 8-bit', 'int8', 'rival'),
    Row('nf4', 'dense, 4-bit (nf4)', 'nf4', 'rival', paper=(85.93, 56.25, 4.971, 134.1)),
    Row('int4', 'dense, 4-bit (int4)', 'int4', 'rival'),
    *_rivals(),
    Row('vla-cache', 'VLA-Cache', 'dense', 'rival', runtime='vla-cache',
        paper=(87.5, 59.38, 14.794, 125.18)),
    Row('pruned', 'LLM-Pruner 90 %', 'prune', 'stage', paper=(0.0, 0.0, None, None)),
    Row('pruned-sft', 'LLM-Pruner 90 % + SFT', 'recover', 'stage',
        paper=(84.4, 48.4, None, None)),
    Row('pruned-sft-int8', 'LLM-Pruner 90 % + SFT + 8-bit', 'recover-int8', 'stage'),
    Row('pruned-sft-int4', 'LLM-Pruner 90 % + SFT + 4-bit', 'recover-int4', 'stage',
        paper=(79.7, 43.9, None, None)),
    Row('rlrc', 'RLRC', 'rl', 'rlrc', paper=(90.62, 62.5, 3.856, 74.07)),
    Row('rlrc-4bit', 'RLRC-4bit', 'quantize', 'rlrc', paper=(85.93, 54.68, 1.772, 100.77)),
    Row('fewer-wider', 'own: fewer, wider layers + SFT', 'fewer-wider-sft', 'own'),
    Row('robot-loss', "own: robot's loss, 90 % + SFT", 'robot-loss-sft', 'own'),
)}
"""All rows in the order of the table."""
CHAIN = ('dense', 'pruned', 'pruned-sft', 'pruned-sft-int4', 'rlrc', 'rlrc-4bit')
"""Rows of RLRC's own stages; `--rows chain`."""


def choose_rows(names: tuple[str, ...]) -> tuple[Row, ...]:
    """
    Return the rows that the names mean, in the table's order; the dense one is always there.

    :param names: of rows, or `all`, or `chain`
    :raises ValueError: a name that is none of these
    """
    wanted = {'dense'}
    for name in names:
        if name not in (*ROWS, 'all', 'chain'):
            raise ValueError(f'row {name!r} is not known; there are: all, chain, '
                             f'{", ".join(ROWS)}')
        wanted |= set(ROWS if name == 'all' else CHAIN if name == 'chain' else (name,))
    return tuple(row for row in ROWS.values() if row.name in wanted)
