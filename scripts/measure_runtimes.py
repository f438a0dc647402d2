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
Compare every runtime with the plain model in fp32 on recorded frames of a trained policy.

    python scripts/measure_runtimes.py checkpoints/nano runs/demos --episodes 6
    python scripts/measure_runtimes.py checkpoints/nano --seeds 40 --runtimes fast vla-cache

Prints, by runtime: agreement of tokens (all, and within one bin), the cosine of the first token's
centred logits, the largest difference of an action, and operations a step. Then what reuse between
steps of an episode is worth: how often a frame counts as the last one at a tolerance, and how many
of those answers stay the plain model's. Every frame of an episode, in order, the episode's own
instruction. With --seeds the runtimes drive the simulated arm instead, on held-out seeds 0, 1 ...,
one world at a time, so that every step goes through the runtime and a new episode begins with a
reset; printed: successes, and milliseconds a step, episode by episode in turns.
"""

import argparse
from pathlib import Path

import numpy as np
from rlrc_ros.types import ActionChunk, Observation
from rlrc_ros.vla.images import to_pixels
from rlrc_ros.vla.operations import count_operations
from rlrc_ros.vla.policy import Policy
from rlrc_ros.vla.prompt import encode
from rlrc_ros.vla.runtime import Reuse
from rlrc_ros.vla.runtime_choice import cosine
from rlrc_sim.rollout import play, WorldPool
from rlrc_training.data import Episode, load_episode
from rlrc_training.intervals import rate_with_interval
import torch

TOLERANCES = (0, 2, 4, 8, 16)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('demonstrations', type=Path, nargs='?', default=Path('runs/demos'))
    parser.add_argument('--episodes', type=int, default=6)
    parser.add_argument('--seeds', type=int, default=0)
    parser.add_argument('--first', type=int, default=0, help='first seed')
    parser.add_argument('--runtimes', nargs='+', default=['fast', 'vla-cache'])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.seeds:
        drive(arguments)
        return
    paths = sorted(arguments.demonstrations.glob('episode_*.safetensors'))[:arguments.episodes]
    episodes = [load_episode(path) for path in paths]
    plain = Policy.open(arguments.checkpoint, 'cpu')
    ids, rows, actions = plain_answers(plain, episodes)
    print(f'{len(episodes)} episodes, {len(ids)} frames, {ids.size} tokens')
    print('| runtime | tokens equal | within a bin | mean cosine | least | most off: mm, '
          'mrad, gripper | operations |\n|' + '---|' * 7)
    for name in ('eager', 'fast', 'fast-bf16', 'fast-int8', 'vla-cache'):
        print(compare(name, arguments.checkpoint, episodes, ids, rows, actions))
    print('\n| tolerance of 255 | frames that count as the last one | their tokens equal |\n'
          '|---|---|---|')
    for tolerance in TOLERANCES:
        print(reuse(tolerance, episodes, ids))


def drive(arguments: argparse.Namespace) -> None:
    """Print how the runtimes fare on held-out seeds."""
    policies = {name: Policy.open(arguments.checkpoint, 'cpu', runtime=name)
                for name in arguments.runtimes}
    solved, times = dict.fromkeys(policies, 0), {name: [] for name in policies}
    size = next(iter(policies.values())).summary.image_size_px
    with WorldPool(1, size) as pool:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            for name, policy in policies.items():
                policy.reset()

                def act(seen: list[Observation], policy=policy, name=name) -> list[ActionChunk]:
                    chunks = policy.act_batch(seen)
                    times[name].append(policy.timing.model_ms)
                    return chunks
                (result,) = play(pool, act, [seed], stop_on_success=True)
                solved[name] += result.success_once
            print(f'seed {seed}: ' + ', '.join(f'{name} {solved[name]}' for name in policies),
                  flush=True)
    for name, count in solved.items():
        print(f'{name}: {rate_with_interval(count, arguments.seeds)}, model '
              f'{np.median(times[name]):.1f} ms a step (p50 of {len(times[name])})')


def plain_answers(policy: Policy, episodes: list[Episode]) -> tuple:
    """Return the plain model's ids (N, A), first log-probabilities (N, bins), actions (N, 7)."""
    ids, rows, actions = [], [], []
    model, config = policy._model, policy.summary.config
    for episode in episodes:
        prompt = encode(episode.instruction, policy._tokenizer, config)
        for image in episode.images:
            decoded = model.act(to_pixels(torch.from_numpy(image)[None], config.towers),
                                torch.tensor([prompt]), torch.tensor([len(prompt)]))
            # By way of the numbers, as compare() does: the two lowest ids are one bin.
            ids.append(policy._actions.encode(policy._actions.decode(
                decoded.action_ids[0].numpy())))
            rows.append(decoded.action_logprobs[0, 0])
            actions.append(policy.predict([Observation(image, episode.instruction)])[0, 0])
    return np.array(ids), rows, np.array(actions)


def compare(name: str, checkpoint: Path, episodes: list[Episode], ids: np.ndarray, rows: list,
            actions: np.ndarray) -> str:
    """Return one runtime's line of the table."""
    policy = Policy.open(checkpoint, 'cpu', runtime=name, reuse=Reuse(enabled=False))
    policy.warm_up()
    config, runtime = policy.summary.config, policy._runtime
    answers, vectors, cosines, reused = [], [], [], []
    for episode in episodes:
        policy.reset()
        for image in episode.images:
            observation = Observation(image, episode.instruction)
            row = policy.predict_normalised([observation])[0, 0]
            answers.append(policy._actions.encode(row))
            vectors.append(policy._stats.unnormalise(row))
            if runtime is not None:
                cosines.append(cosine(runtime.last_logits[0], rows[len(answers) - 1]))
                reused.append(getattr(runtime, 'reused', 0))
    operations = count_operations(lambda: policy.predict_normalised([observation])).total()
    off = np.abs(np.array(answers) - ids)
    change = np.abs(np.array(vectors) - actions)
    cosines = cosines or [1.0]
    extra = f' (reuses {np.mean(reused):.1f} of {config.num_patches} patches)' if any(
        reused) else ''
    return (f'| {name}{extra} | {np.mean(off == 0):.1%} | {np.mean(off <= 1):.1%} | '
            f'{np.mean(cosines):.6f} | {min(cosines):.6f} | {change[:, :3].max() * 1e3:.1f}, '
            f'{change[:, 3:6].max() * 1e3:.1f}, {change[:, 6].max():.2f} | {operations} |')


def reuse(tolerance: int, episodes: list[Episode], ids: np.ndarray) -> str:
    """Return one tolerance's line of the table: what would be answered from the last step."""
    judge, same, equal, at = Reuse(tolerance=tolerance), 0, 0, 0
    for episode in episodes:
        last, last_at = None, 0
        for image in episode.images:
            if judge.same(image, last):
                same += 1
                equal += int((ids[at] == ids[last_at]).sum())
            else:
                last, last_at = image, at
            at += 1
    share = f'{equal / (same * ids.shape[1]):.1%}' if same else '-'
    return f'| {tolerance} | {same}/{len(ids)} ({same / len(ids):.1%}) | {share} |'


if __name__ == '__main__':
    main()
