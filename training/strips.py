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
An episode as a row of pictures, for pages that do not move: `rlrc evaluate --strips 3`.

The seeds are the first ones, whatever became of them. DIR/SET_SEED.jpg holds PICTURES images side
by side, evenly spaced from the first to the last; strips.json says what each shows.
"""

from collections.abc import Callable, Iterable
import json
from pathlib import Path

import numpy as np
from PIL import Image
from rlrc_sim.rollout import EpisodeResult

PICTURES = 7
HEIGHT_PX = 128
LISTING = 'strips.json'


def strip(frames: tuple[np.ndarray, ...]) -> Image.Image:
    """Return evenly spaced frames, uint8 (H, W, 3) each, side by side at HEIGHT_PX."""
    chosen = np.linspace(0, len(frames) - 1, min(PICTURES, len(frames))).round().astype(int)
    pictures = [Image.fromarray(np.ascontiguousarray(frames[index])) for index in chosen]
    pictures = [each.resize((round(each.width * HEIGHT_PX / each.height), HEIGHT_PX),
                            Image.Resampling.LANCZOS) for each in pictures]
    row = Image.new('RGB', (sum(each.width for each in pictures), HEIGHT_PX))
    for column, each in enumerate(pictures):
        row.paste(each, (column * each.width, 0))
    return row


def write_strips(folder: Path, episodes: Iterable[EpisodeResult],
                 again: Callable[[list], Iterable[EpisodeResult]]) -> None:
    """
    Draw the episodes that have no strip yet; they are played once more.

    :param again: plays pairs (set, seed) and yields results with frames
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / LISTING
    known = json.loads(listing.read_text()) if listing.exists() else {}
    wanted = [(each.episode_set, each.seed) for each in episodes]
    missing = [task for task in wanted if f'{task[0]}_{task[1]}' not in known]
    for result in again(missing):
        name = f'{result.episode_set}_{result.seed}'
        strip(result.frames).save(folder / f'{name}.jpg', quality=85)
        known[name] = {'episode_set': result.episode_set, 'seed': result.seed,
                       'instruction': result.instruction, 'steps': result.steps,
                       'success_once': result.success_once}
        partial = listing.with_suffix('.partial')
        partial.write_text(json.dumps(known, indent=1))
        partial.replace(listing)
