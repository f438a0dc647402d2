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
Let the shipped policy move the simulated arm over ROS 2, and film it: `rlrc demo`.

Starts `sim_bridge` and `vla_node` as two processes that meet over DDS, with the parameter files
that launch/vla.launch.py uses; configures and activates vla_node; runs episodes with different
instructions on held-out seeds; prints what they came to. Writes to `--out`: demo.mp4 and demo.gif
(what the arm's camera saw), demo.json (the numbers, the config, where they come from) and both
nodes' logs. The two nodes get a ROS domain of their own, visible on this machine alone, so that a
demo never moves a real arm that happens to listen.

Where the dense policy that the shipped one was compressed from is shipped too, or with --compare,
a second policy then plays the same episodes, and the table has both side by side: success, MB, ms.
Its files lie in OUT/compare.

Lockstep is the default mode: the simulation waits for each answer, so the result does not depend
on how busy the machine is. `--mode real_time` lets time pass as it does for a real arm.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
import json
import os
from pathlib import Path
import signal
import time
from typing import Literal

from rich.console import Console
from rlrc_ros.paths import config_file, DENSE_CHECKPOINT, shipped_checkpoint
from rlrc_ros.vla.checkpoint import CheckpointError, CheckpointSummary, inspect
from rlrc_sim.bridge_node import Conductor, TransitionFailed
from rlrc_training.demo_report import episode_line, report, write_outcome
from rlrc_training.node_process import NodeDied, NodeProcess
import tyro

HELD_OUT_SEEDS = 100_000
"""Seeds below belong to evaluation (rlrc_sim.suites.HELD_OUT_SEEDS, not imported here: it would
load the simulator into a process that only listens)."""
BRING_UP_S = 180.0
EPISODE_S = 120.0
FILM_S = 120.0
PATIENCE_S = 30.0
"""How long lockstep waits for one answer; a machine under load is slow, not broken."""
EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 130, 143


@dataclass(frozen=True)
class DemoConfig:
    """What to show."""

    checkpoint: Path | None = None
    """Folder of the checkpoint that drives the arm; none: the one that is shipped."""
    compare: Path | None = None
    """A second checkpoint for the same episodes; none: the dense one that is shipped, where there
    is one and --checkpoint is not given."""
    single: bool = False
    """Run the first checkpoint alone."""
    episodes: int = 5
    """How many episodes."""
    seed: int = 0
    """Held-out seed of the first episode; the next ones count up."""
    mode: Literal['lockstep', 'real_time'] = 'lockstep'
    """Whether the simulation waits for each answer or time passes as it does for a real arm."""
    episode_set: str | None = None
    """Family of worlds (docs/suite.md lists them); none: the one that the first checkpoint was
    trained on."""
    instruction: str | None = None
    """Your own sentence, given in every episode instead of the task's; success is still judged by
    the task of the seed."""
    distinct: bool = True
    """Skip seeds whose instruction was given already; no-distinct takes them as they come."""
    max_steps: int = 80
    """Control steps (0.2 s each) after which an episode counts as a failure."""
    out: Path = Path('out/demo')
    """Folder for film, numbers and logs."""
    domain_id: int | None = None
    """ROS domain of the two nodes, 0 ... 101; none: one of our own, by process id."""

    def __post_init__(self) -> None:
        if not 1 <= self.episodes <= 200:
            raise ValueError(f'episodes must be 1 ... 200, got {self.episodes}')
        if not 0 <= self.seed < HELD_OUT_SEEDS:
            raise ValueError(f'seed must be 0 ... {HELD_OUT_SEEDS - 1}, got {self.seed}')
        if not 1 <= self.max_steps <= 1000:
            raise ValueError(f'max_steps must be 1 ... 1000, got {self.max_steps}')
        if self.instruction is not None and not self.instruction.strip():
            raise ValueError('instruction is empty; leave it out for the one of the task')
        if self.single and self.compare is not None:
            raise ValueError(f'compare {self.compare} is a second policy, single runs one; '
                             'leave one of the two away')
        if self.domain_id is not None and not 0 <= self.domain_id <= 101:
            raise ValueError(f'domain_id must be 0 ... 101, got {self.domain_id}')

    @property
    def domain(self) -> int:
        """Return the ROS domain, our own where none is given."""
        return 1 + os.getpid() % 100 if self.domain_id is None else self.domain_id


class DemoFailed(Exception):
    """The demo cannot go on or has nothing to show; the text says why."""


# ------------------------------------------------------------------------ processes


def start_nodes(config: DemoConfig, checkpoint: CheckpointSummary) -> list[NodeProcess]:
    """Start vla_node and sim_bridge (in this order) in the demo's own ROS domain."""
    # One core is left to the simulation. OpenMP's threads wait for each other by spinning: with
    # as many of them as cores, a core that is busy elsewhere made one answer of the shipped
    # architecture take 1.2 s in place of 0.06 s (2 cores, load 6).
    threads = os.environ.get('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 2) - 1)))
    environment = {'ROS_DOMAIN_ID': str(config.domain),
                   'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'OMP_NUM_THREADS': threads}
    lockstep = config.mode == 'lockstep'
    policy = {'checkpoint': str(checkpoint.folder), 'use_sim_time': True, 'lockstep': lockstep}
    if lockstep:
        policy['max_inference_s'] = PATIENCE_S
    return [
        NodeProcess('vla_node', 'rlrc_ros.nodes.vla_node',
                    [*arguments('vla.yaml', {}), *arguments('vla_sim.yaml', policy)],
                    config.out / 'vla_node.log', environment),
        NodeProcess('sim_bridge', 'rlrc_sim.bridge_node',
                    arguments('sim.yaml', arm_parameters(config, checkpoint)),
                    config.out / 'sim_bridge.log', environment)]


def arm_parameters(config: DemoConfig, checkpoint: CheckpointSummary) -> dict[str, object]:
    """Return what sim_bridge is told beside its shipped parameters."""
    height_px, width_px = checkpoint.image_size_px
    return {
        'mode': config.mode, 'episode_set': config.episode_set or checkpoint.episode_set,
        'first_seed': config.seed, 'episodes': config.episodes,
        'distinct_instructions': config.distinct and config.instruction is None,
        'instruction': config.instruction or '', 'max_steps': config.max_steps,
        'image_height_px': height_px, 'image_width_px': width_px,
        'autostart': False, 'start_timeout_s': BRING_UP_S + EPISODE_S,
        'step_timeout_s': PATIENCE_S, 'max_timeouts': 2, 'exit_when_done': True,
        'record': True, 'record_path': str(config.out / 'demo')}


def arguments(parameter_file: str, parameters: dict[str, object]) -> list[str]:
    """Return the ROS arguments for a shipped parameter file and what overrides it."""
    listed = ['--params-file', str(config_file(parameter_file))]
    for name, value in parameters.items():
        # JSON is YAML, and quotes every text, so that `1` stays a text and `yes` too.
        listed += ['-p', f'{name}:={json.dumps(value)}']
    return listed


# ------------------------------------------------------------------------- the demo


def run_demo(config: DemoConfig, checkpoint: CheckpointSummary, console: Console) -> dict:
    """
    Run the episodes and return what demo.json holds.

    :raises DemoFailed: a node did not come up or went silent
    :raises NodeDied: a node ended early
    """
    config.out.mkdir(parents=True, exist_ok=True)
    for name in ('demo.mp4', 'demo.gif', 'demo.json'):
        (config.out / name).unlink(missing_ok=True)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ.pop('ROS_LOCALHOST_ONLY', None)  # its deprecated forerunner, which would override
    began_s = time.monotonic()
    nodes = start_nodes(config, checkpoint)
    vla_node, sim_bridge = nodes

    def check() -> None:
        for node in nodes:
            node.check()
        if vla_node.exit_code is not None:
            raise NodeDied('vla_node ended before the demo was over')

    try:
        with Conductor(config.domain) as conductor:
            with console.status('loading the policy and the simulator ...'):
                conductor.bring_up(BRING_UP_S, check)
                conductor.begin_episodes(BRING_UP_S, check)
            up_s = time.monotonic() - began_s
            console.print(f'both nodes are up after {up_s:.1f} s')
            _follow(conductor, config, sim_bridge, check, console)
            conductor.listen(1.2)  # diagnostics come once a second
            rates = {**conductor.diagnostics}
        with console.status('finishing the film ...'):
            if not sim_bridge.wait(FILM_S):
                raise DemoFailed(f'sim_bridge has not finished the film within {FILM_S:g} s; '
                                 f'see {sim_bridge.log}')
            sim_bridge.check()
    finally:
        # Another Ctrl-C must not leave a node behind.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for node in reversed(nodes):
            node.stop()
        signal.signal(signal.SIGINT, before)
    return {'episodes': conductor.results, 'summary': conductor.summary, 'vla_node': rates,
            'seconds': {'until_up': round(up_s, 1),
                        'total': round(time.monotonic() - began_s, 1)}}


def _follow(conductor: Conductor, config: DemoConfig, sim_bridge: NodeProcess,
            check: Callable[[], None], console: Console) -> None:
    """Print each episode as it ends, until the summary comes."""
    printed, deadline_s = 0, time.monotonic() + EPISODE_S
    while conductor.summary is None or printed < len(conductor.results):
        for result in conductor.results[printed:]:
            printed, deadline_s = printed + 1, time.monotonic() + EPISODE_S
            console.print(episode_line(result, config.episodes), highlight=False)
        check()
        if conductor.summary is None and sim_bridge.exit_code is not None:
            conductor.listen(1.0)
            if conductor.summary is None:
                raise DemoFailed(f'sim_bridge ended before the last episode; '
                                 f'see {sim_bridge.log}')
        if time.monotonic() > deadline_s:
            raise DemoFailed(
                f'no episode has ended for {EPISODE_S:g} s; vla_node says: '
                f'{conductor.status or "nothing"}; see {config.out}/vla_node.log')
        conductor.listen(0.2)


def second_checkpoint(config: DemoConfig) -> Path | None:
    """Return the checkpoint that the first is compared with, or None."""
    if config.compare is not None or config.single or config.checkpoint is not None:
        return config.compare
    try:
        return shipped_checkpoint(DENSE_CHECKPOINT)
    except FileNotFoundError:
        return None


def _terminated(*_) -> None:
    raise SystemExit(EXIT_TERMINATED)  # so that `finally` ends the nodes


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return 0 when at least one episode succeeded, else 1 and say why."""
    console = Console()
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        config = tyro.cli(DemoConfig, args=argv, prog='rlrc demo', description=__doc__)
        first = inspect(config.checkpoint or shipped_checkpoint())
        config = replace(config, episode_set=config.episode_set or first.episode_set)
        chosen = [(config, first)]
        if (second := second_checkpoint(config)) is not None:
            chosen.append((replace(config, out=config.out / 'compare'), inspect(second)))
        runs = []
        for each, checkpoint in chosen:
            console.print(
                f'[bold]rlrc demo[/bold]  {each.mode}, ROS domain {each.domain}, checkpoint '
                f'{checkpoint.folder} ({checkpoint.parameters / 1e6:.1f} M parameters)',
                highlight=False, soft_wrap=True)
            outcome = run_demo(each, checkpoint, console)
            write_outcome(each.out, asdict(each), checkpoint, outcome)
            runs.append((each.out, each.mode, checkpoint, outcome))
        report(runs, console)
        if not any(result['success_once'] for result in runs[0][3]['episodes']):
            raise DemoFailed(f'none of {len(runs[0][3]["episodes"])} episodes succeeded; see '
                             f'{config.out}/vla_node.log')
    except (CheckpointError, DemoFailed, NodeDied, OSError, TransitionFailed,
            ValueError) as error:
        console.print('[bold red]rlrc demo failed:[/bold red]', end=' ')
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_FAILED
    except KeyboardInterrupt:
        console.print('rlrc demo: interrupted, both nodes have ended')
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
