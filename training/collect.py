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
Collect demonstrations from the scripted expert: `rlrc collect --episodes 3000 --out runs/demos`.

Only successes are kept. The action that is executed carries noise, and now and then a burst of
random steps, while the clean action is recorded: the clone then knows the way back. Idle frames
are dropped, but for those in which the fingers are still moving. Writes one file an episode (see
data.py) and collection.json; a run that was interrupted goes on where it stopped.

With `--policy CHECKPOINT` that policy acts at first and the expert takes over, while the expert's
answer is what is recorded in every frame (DAgger, Ross et al. 2011): frames from where the policy
really gets to.

With `--scatter FRAMES` nothing is played: an episode file holds that many states of its own, arm,
things and table scattered anew for each (rlrc_sim.scatter), with the expert's answers.
"""

from collections.abc import Iterator
from concurrent.futures import as_completed, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
import json
import logging
import multiprocessing
import os
from pathlib import Path

import numpy as np
from rlrc_ros.types import Action
from rlrc_ros.vla.checkpoint import inspect
from rlrc_ros.vla.policy import Policy
from rlrc_sim.expert import expert_action, hand_rad
from rlrc_sim.rollout import MAX_CRASHES_IN_SUCCESSION, prepare_process, WorldProcessEndedError
from rlrc_sim.scatter import check_can_scatter, scattered
from rlrc_sim.suites import EPISODE_SETS, TRAIN_SEEDS
from rlrc_sim.world import Truth, World
from rlrc_training.command_line import run_verb
from rlrc_training.data import Episode, episode_path, OtherSentence, save_episode
from rlrc_training.provenance import package_versions, source_commit
from tqdm import tqdm

log = logging.getLogger('rlrc.collect')
MAY_CHANGE = ('episodes', 'processes', 'out')
"""Options with which a folder may go on that others have begun to fill."""


@dataclass(frozen=True)
class CollectConfig:
    """What to collect and how."""

    out: Path = Path('runs/demos')
    """Folder for the episodes; made if missing."""
    episodes: int = 3000
    """How many successful episodes the folder shall hold in the end."""
    episode_set: str = 'ind'
    """Which family of worlds (see rlrc_sim.suites)."""
    first_seed: int = TRAIN_SEEDS.start
    """Seeds count up from here; held-out evaluation seeds lie below 100000."""
    image_size_px: int = 128
    """Height and width of the images."""
    processes: int = 0
    """Worlds at once; 0 means one for each core."""
    noise_m: float = 0.006
    """Standard deviation of the noise on each executed translation, metres."""
    noise_rad: float = 0.04
    """Standard deviation of the noise on the executed turn about the vertical, radians."""
    burst_probability: float = 0.06
    """Chance per step that a burst of random steps begins."""
    burst_steps: int = 3
    """Length of a burst."""
    policy: Path | None = None
    """Checkpoint that acts for the first steps of each episode; none: the expert alone."""
    policy_steps: int = 45
    """With --policy: it acts for a number of steps drawn from 0 to this."""
    frames_after_success: int = 5
    """Frames kept after the object lies on the plate: let go, retreat, rest."""
    max_steps: int = 80
    """Steps after which a try counts as a failure."""
    idle_m: float = 0.002
    """A frame whose action moves less than this is idle (and turns less than idle_rad)."""
    idle_rad: float = 0.02
    """See idle_m."""
    scatter: int = 0
    """Scattered states in an episode file, in the place of a played episode; 0 plays."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f'episodes must be at least 1, got {self.episodes}')
        if self.episode_set not in EPISODE_SETS:
            raise ValueError(f'episode_set {self.episode_set!r} is not known; '
                             f'there are: {", ".join(EPISODE_SETS)}')
        if self.first_seed not in TRAIN_SEEDS:
            raise ValueError(f'first_seed {self.first_seed} is not a training seed; use '
                             f'{TRAIN_SEEDS.start} or more, so that evaluation stays unseen')
        if self.scatter < 0:
            raise ValueError(f'scatter must be 0 or more, got {self.scatter}')
        if self.scatter and self.policy is not None:
            raise ValueError(f'scatter {self.scatter} plays nothing, so policy {self.policy} has '
                             'nothing to do; leave one of the two away')
        if self.scatter:
            check_can_scatter(self.episode_set)
        if not 32 <= self.image_size_px <= 1024:
            raise ValueError(f'image_size_px must be 32 ... 1024, got {self.image_size_px}')


def scatter(world: World, seed: int, config: CollectConfig) -> Episode:
    """Return scattered states of the seed's things, with the expert's answers."""
    states = list(scattered(world, seed, config.episode_set, config.scatter))
    return Episode(
        seed, config.episode_set, world.instruction,
        np.stack([each.observation.image for each in states]),
        np.stack([expert_action(each.truth).to_vector() for each in states]),
        np.stack([_positions(each.truth) for each in states]), tuple(states[0].things_m),
        np.stack([list(each.things_m.values()) for each in states]),
        np.array([list(each.things_rad.values()) for each in states]),
        np.stack([_hand(each.truth) for each in states]), scattered=True,
        others=_answers([each.others for each in states]))


def _answers(told: list[dict[str, Truth]]) -> tuple[OtherSentence, ...]:
    """Return the expert's answers to sentences of which each is asked in some frames."""
    answered = []
    for sentence in dict.fromkeys(name for frame in told for name in frame):
        actions = np.full((len(told), 7), np.nan, np.float32)
        positions = np.full((len(told), 9), np.nan, np.float32)
        for index, frame in enumerate(told):
            if sentence in frame:
                actions[index] = expert_action(frame[sentence]).to_vector()
                positions[index] = _positions(frame[sentence])
        answered.append(OtherSentence(sentence, actions, positions))
    return tuple(answered)


def _positions(truth: Truth) -> np.ndarray:
    return np.concatenate([truth.object_position_m, truth.plate_position_m,
                           truth.ee_position_m]).astype(np.float32)


def _hand(truth: Truth) -> np.ndarray:
    return np.array([hand_rad(truth), 2 * truth.finger_m, truth.is_grasped], np.float32)


def demonstrate(world: World, seed: int, config: CollectConfig,
                policy: Policy | None = None) -> Episode | None:
    """Play the expert once with noise; return its frames, or None if it failed."""
    rng = np.random.default_rng([seed, 7])
    observation = world.reset(seed, config.episode_set, rebuild=False)
    frames, actions, positions, places, turned, hand, others = [], [], [], [], [], [], []
    burst_left, burst = 0, np.zeros(4)
    gripper_before, after_success = 1.0, 0
    policy_steps = rng.integers(config.policy_steps + 1) if policy else 0
    for tick in range(config.max_steps):
        truth = world.truth()
        action = expert_action(truth)
        idle = (np.linalg.norm(action.delta_xyz_m) < config.idle_m
                and np.linalg.norm(action.delta_rpy_rad) < config.idle_rad
                and action.gripper == gripper_before
                and not truth.fingers_move(action.gripper))
        if not idle or after_success:
            frames.append(observation.image)
            actions.append(action.to_vector())
            positions.append(_positions(truth))
            places.append(world.things_m(truth))
            turned.append(world.things_rad(truth))
            hand.append(_hand(truth))
            others.append(dict(world.truth_of_others()))
        gripper_before = action.gripper

        executed = action
        if tick < policy_steps and not after_success:
            executed = policy.act(observation).actions[0]
        if burst_left == 0 and rng.random() < config.burst_probability:
            burst_left = config.burst_steps
            burst = np.append(rng.normal(0, 0.018, 3), rng.normal(0, 0.12))
        noise = np.append(rng.normal(0, config.noise_m, 3), rng.normal(0, config.noise_rad))
        if burst_left:
            burst_left -= 1
            noise = noise + burst
        if truth.ee_position_m[2] < 0.03:
            noise[2] = abs(noise[2])  # never press the fingers into the table
        step = world.step(Action(
            executed.delta_xyz_m + noise[:3],
            executed.delta_rpy_rad + np.array([0.0, 0.0, noise[3]]), executed.gripper))
        observation = step.observation
        after_success = after_success + 1 if step.success_once else 0
        if after_success > config.frames_after_success:
            break
    if not step.success:
        return None
    return Episode(seed, config.episode_set, world.instruction, np.stack(frames),
                   np.stack(actions), np.stack(positions), tuple(places[0]),
                   np.stack([list(each.values()) for each in places]),
                   np.array([list(each.values()) for each in turned]), np.stack(hand),
                   others=_answers(others))


_world: World | None = None
_policy: Policy | None = None


def _collect_one(seed: int, config: CollectConfig) -> tuple[int, int]:
    """Collect one seed in a worker process; return (seed, frames kept; 0 for a failure)."""
    global _world, _policy
    if _world is None:
        prepare_process()
        _world = World((config.image_size_px, config.image_size_px))
        _policy = Policy.open(config.policy, 'cpu', runtime='fast') if config.policy else None
    episode = (scatter(_world, seed, config) if config.scatter
               else demonstrate(_world, seed, config, _policy))
    if episode is None:
        return seed, 0
    save_episode(config.out, episode)
    return seed, len(episode.actions)


def _as_json(config: CollectConfig) -> dict:
    return json.loads(json.dumps(asdict(config), default=str))


def _record(config: CollectConfig, tried: set[int], failed: set[int]) -> None:
    path = config.out / 'collection.json'
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps({
        'config': _as_json(config),
        'tried': len(tried), 'failed_seeds': sorted(failed), 'commit': source_commit(),
        'packages': package_versions()}, indent=1))
    os.replace(partial, path)


def _refuse_other(config: CollectConfig, record: dict) -> None:
    """Raise ValueError, naming what differs, for a folder that other options have filled."""
    now = _as_json(config)
    differs = [f'{name} {was!r} → {now[name]!r}' for name, was in record['config'].items()
               if name in now and name not in MAY_CHANGE and now[name] != was]
    if differs:
        raise ValueError(f'{config.out} was collected otherwise: {", ".join(differs)}. Choose '
                         'another --out, or remove that folder')


def _pending_seeds(config: CollectConfig, failed: set[int]) -> Iterator[int]:
    seed = config.first_seed
    while seed < TRAIN_SEEDS.stop:
        if seed not in failed and not episode_path(config.out, seed).exists():
            yield seed
        seed += 1


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context('spawn'))


def _submitted(pool: ProcessPoolExecutor, seed: int, config: CollectConfig) -> Future:
    """Hand out a seed; BrokenProcessPool also where the pool breaks while a process starts."""
    try:
        return pool.submit(_collect_one, seed, config)
    except (OSError, ValueError) as error:  # its pipes were closed under the new process
        raise BrokenProcessPool('a process ended while another one started') from error


def _until_a_death(config: CollectConfig, missing: int,
                   failed: set[int]) -> Iterator[tuple[int, int | None]]:
    """
    Yield (seed, frames kept) of tries until so many are kept, or until a process has ended.

    PhysX crashes on some contacts, always on the same. What the processes were at is then tried
    again, each by itself; who ends its process once more has failed, and None is yielded of it.

    :param failed: seeds not to try; the caller adds to it
    """
    processes = config.processes or os.cpu_count() or 1
    seeds = _pending_seeds(config, failed)
    running: dict[Future, int] = {}
    with _pool(processes) as pool:
        try:
            while missing:
                while len(running) < min(2 * processes, missing):
                    seed = next(seeds)
                    running[_submitted(pool, seed, config)] = seed
                done = next(as_completed(running))
                answer = done.result()
                del running[done]
                missing -= bool(answer[1])
                yield answer
            return
        except BrokenProcessPool:
            log.warning('a process ended; tried again one by one: seeds=%s',
                        ','.join(map(str, running.values())))
    for seed in running.values():
        try:
            with _pool(1) as pool:
                answer = pool.submit(_collect_one, seed, config).result()
        except BrokenProcessPool:
            log.warning('a process ended again, its seed counts as failed: seed=%d', seed)
            answer = seed, None
        yield answer


def collect(config: CollectConfig) -> int:
    """
    Fill the folder; return the number of episodes in it.

    :raises WorldProcessEndedError: MAX_CRASHES_IN_SUCCESSION seeds ended their processes, one
        after the other
    """
    if config.policy is not None:
        inspect(config.policy)  # refused here, not in a worker
    config.out.mkdir(parents=True, exist_ok=True)
    kept = len(list(config.out.glob('episode_*.safetensors')))
    failed: set[int] = set()
    record = config.out / 'collection.json'
    if record.exists():
        found = json.loads(record.read_text())
        _refuse_other(config, found)
        failed = set(found['failed_seeds'])
    tried = set(failed)
    _record(config, tried, failed)  # what is here is of these options, also if this is cut short
    frames = crashes = 0
    bar = tqdm(total=config.episodes, initial=kept, desc='collect', unit='episode')
    while kept < config.episodes:
        for seed, count in _until_a_death(config, config.episodes - kept, failed):
            crashes = crashes + 1 if count is None else 0
            if crashes == MAX_CRASHES_IN_SUCCESSION:
                raise WorldProcessEndedError(
                    f'{crashes} processes ended one after the other, the last at seed {seed}; run '
                    '`rlrc doctor` to check rendering and free memory, and the same command '
                    'again: it goes on')
            tried.add(seed)
            if count:
                kept += 1
                frames += count
                bar.update()
            else:
                failed.add(seed)
            bar.set_postfix(success=f'{1 - len(failed) / len(tried):.3f}',
                            frames=frames, refresh=False)
            if len(tried) % 50 == 0:
                _record(config, tried, failed)
    bar.close()
    _record(config, tried, failed)
    log.info('collected episodes=%d frames=%d failed=%d out=%s',
             kept, frames, len(failed), config.out)
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc collect`."""
    return run_verb('collect', CollectConfig, collect, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
