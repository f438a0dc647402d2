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
Learning curves of `rlrc rl` from its logs: `rlrc report ablations runs/ablations --out OUT`.

The folder holds one run of `rlrc rl` per arm and seed, `full-0`, `full-1`, `no_warmup-0` ...; an
arm's runs may differ in seed and --out alone. recipes/ablations.sh makes it. Three questions, as
in RLRC's figure: critic warm-up or not, imitation or not, SFT before RL or not. Lines are means
over the seeds, bands reach from the lowest seed to the highest. Writes

    ablations.png   the curves        ablations.csv   their numbers        ablations.md   the ends

What is drawn is the share of environments whose first episode of a rollout succeeds within it,
averaged over WINDOW updates: an update sees as many as there are environments. Evaluations (fixed
validation seeds) are told apart from it in the table.
"""

import csv
from dataclasses import dataclass
import json
from pathlib import Path

import numpy as np
from rlrc_training.intervals import rate_with_interval

WINDOW = 3
FREE = ('seed', 'out', 'processes', 'threads', 'device', 'save_every', 'microbatch_size')
ARMS = {'full': 'SFT, then RL: warm-up and imitation', 'no_warmup': 'no critic warm-up',
        'no_bc': 'no imitation', 'scratch': 'RL from scratch (pruned, no SFT)'}
PANELS = {'a': ('Critic warm-up', ('full', 'no_warmup')), 'b': ('Imitation', ('full', 'no_bc')),
          'c': ('SFT before RL', ('full', 'scratch'))}
METRIC = 'charts/first_success'
"""Of the episodes that ended, a rollout shorter than an episode sees the successes alone."""


@dataclass(frozen=True)
class Run:
    """One run's log."""

    name: str
    arm: str
    config: dict
    env_steps: np.ndarray
    """(K,) of its updates."""
    success: np.ndarray
    """(K,) share of the episodes begun with each rollout; NaN where the log has none."""
    evaluations: tuple[tuple[int, dict[str, float]], ...]
    """(env steps, success_once, success_at_end and return on the validation seeds)."""


def read_run(folder: Path) -> Run:
    """
    Read a run's folder.

    :raises ValueError: not named ARM-SEED with a known arm, or no update in it yet
    """
    arm, _, seed = folder.name.rpartition('-')
    if arm not in ARMS or not seed.isdigit():
        raise ValueError(f'{folder} is not named ARM-SEED; arms are: {", ".join(ARMS)}')
    config = json.loads((folder / 'config.json').read_text())
    updates, evaluations = {}, {}
    path = folder / 'metrics.jsonl'
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # a line that is being written, or that a kill cut short
        if 'eval' in entry:
            evaluations[entry['env_steps']] = entry['eval']
        else:
            updates[entry['env_steps']] = entry.get(METRIC)
    if not updates:
        raise ValueError(f'{folder} has no update yet; let `rlrc rl --out {folder}` go on')
    steps = sorted(updates)
    return Run(folder.name, arm, config, np.array(steps),
               np.array([updates[step] for step in steps], dtype=float),
               tuple(sorted(evaluations.items())))


def read_runs(folder: Path) -> list[Run]:
    """
    Read every run of a folder.

    :raises ValueError: none there, or an arm's runs differ in more than their seed
    """
    folders = sorted(path.parent for path in Path(folder).glob('*/config.json')
                     if path.parent.name.rpartition('-')[0] in ARMS)
    if not folders:
        raise ValueError(f'no run named {" or ".join(f"{arm}-SEED" for arm in ARMS)} in {folder}; '
                         'make them with recipes/ablations.sh')
    runs = [read_run(each) for each in folders]
    first: dict[str, Run] = {}
    for run in runs:
        other = first.setdefault(run.arm, run)
        differing = [f'{name} {other.config.get(name)!r} and {value!r}'
                     for name, value in run.config.items()
                     if name not in FREE and other.config.get(name) != value]
        if differing:
            raise ValueError(f'{other.name} and {run.name} are one arm but differ in '
                             f'{", ".join(differing)}; only the seed may')
    return runs


def smoothed(values: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Return the mean of each value (K,) and those before it, NaN counted as absent."""
    parts = [values[max(0, index + 1 - window):index + 1] for index in range(len(values))]
    return np.array([np.nanmean(part) if np.isfinite(part).any() else np.nan for part in parts])


def curve(runs: list[Run]) -> dict[str, np.ndarray]:
    """Return an arm's mean, lowest and highest success (K,) at the steps that all runs reached."""
    steps = sorted(set.intersection(*(set(run.env_steps.tolist()) for run in runs)))
    values = np.array([smoothed(run.success)[np.isin(run.env_steps, steps)] for run in runs])
    known = np.isfinite(values).all(0)
    values = values[:, known]
    return {'env_steps': np.array(steps)[known], 'mean': values.mean(0), 'low': values.min(0),
            'high': values.max(0)}


def _rate(runs: list[Run], ended: bool, name: str) -> str:
    """Return a success of an arm's runs together: where they began, or where they all ended."""
    told = []
    for run in runs:
        scores = dict(run.evaluations).get(int(run.env_steps[-1]) if ended else 0, {})
        # Not there: still running, or killed (another evaluation is not its end), or one that
        # stops on success and so sees no episode's end.
        if name not in scores:
            return 'not evaluated'
        told.append((scores[name], run.config['eval_episodes']))
    solved = sum(round(share * episodes) for share, episodes in told)
    return rate_with_interval(solved, sum(episodes for _, episodes in told))


def table(runs: list[Run]) -> str:
    """Return the arms' ends as a Markdown table, with what they started from (SFT alone)."""
    lines = ['| arm | seeds | env steps | success in the last rollouts, mean (lowest-highest) '
             '| success once, evaluated at the end | at the end of the episode |',
             '|---|---|---|---|---|---|']
    for arm, label in ARMS.items():
        own = [run for run in runs if run.arm == arm]
        if not own:
            continue
        ends = curve(own)
        last = (f'{ends["mean"][-1]:.2f} ({ends["low"][-1]:.2f}-{ends["high"][-1]:.2f})'
                if len(ends['mean']) else 'not logged')
        lines.append(f'| {label} | {len(own)} | {min(run.env_steps[-1] for run in own)} | {last} '
                     f'| {_rate(own, True, "success_once")} '
                     f'| {_rate(own, True, "success_at_end")} |')
    started = [run for run in runs if run.arm == 'full'][:1]
    if started and started[0].evaluations:
        lines.append(f'| SFT alone | 1 | 0 | | {_rate(started, False, "success_once")} '
                     f'| {_rate(started, False, "success_at_end")} |')
    return '\n'.join(lines) + '\n'


def draw(runs: list[Run], path: Path) -> None:
    """Draw the three panels."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 4), sharey=True)
    for axis, (letter, (title, arms)) in zip(axes, PANELS.items()):
        for arm in arms:
            own = [run for run in runs if run.arm == arm]
            if not own:
                continue
            line = curve(own)
            drawn, = axis.plot(line['env_steps'], line['mean'],
                               label=f'{ARMS[arm]} (n={len(own)})')
            axis.fill_between(line['env_steps'], line['low'], line['high'], alpha=0.2,
                              color=drawn.get_color())
        if letter == 'c':
            alone = [share for run in runs if run.arm == 'full' and run.evaluations
                     for share in [run.evaluations[0][1]['success_once']]]
            if alone:
                axis.axhline(alone[0], linestyle='--', color='grey',
                             label='SFT alone (validation seeds, greedy)')
        axis.set(title=f'({letter}) {title}', xlabel='environment steps', ylim=(-0.02, 1.02))
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f'success within a rollout, mean of {WINDOW} updates')
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def ablations(folder: Path, out: Path) -> Path:
    """
    Draw the curves of a folder of runs; return the picture's path.

    :raises ValueError: no runs, or runs that do not belong together
    """
    runs = read_runs(folder)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / 'ablations.csv', 'w', newline='') as file:
        rows = csv.writer(file)
        rows.writerow(['arm', 'seeds', 'env_steps', 'mean', 'low', 'high'])
        for arm in ARMS:
            own = [run for run in runs if run.arm == arm]
            line = curve(own) if own else {}
            rows.writerows([arm, len(own), *values] for values in zip(*line.values()))
    (out / 'ablations.md').write_text(table(runs))
    draw(runs, out / 'ablations.png')
    print(table(runs), end='')
    return out / 'ablations.png'
