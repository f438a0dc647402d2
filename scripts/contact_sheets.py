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
Draw contact sheets of the task suite: objects, receptacles, tables, axes.

`python scripts/contact_sheets.py` writes docs/images; `--suite official` writes runs/sheets, since
pictures of RL4VLA's assets are not ours to hand out. Rendered by the simulator, nothing is painted
in. JPEG, under 1 MB each.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rlrc_ros.types import Action
from rlrc_sim import suites
from rlrc_sim.axes import AXES
from rlrc_sim.objects_25 import OBJECTS_25
from rlrc_sim.receptacles_25 import RECEPTACLES_25
from rlrc_sim.suites import placement
from rlrc_sim.world import World

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {'put25': ROOT / 'docs' / 'images', 'official': ROOT / 'runs' / 'sheets'}
SIZE_PX = (480, 640)
CLOSE_UP = (144, 150, 344, 310)
"""Where the object stands in a 640 x 480 picture: left, top, right, bottom."""
LARGEST_BYTES = 1_000_000


def sheet(tiles: list[tuple[str, np.ndarray]], columns: int, width_px: int, path: Path) -> None:
    """Lay captioned pictures (H, W, 3) out in a grid and write a JPEG."""
    height_px = round(width_px * tiles[0][1].shape[0] / tiles[0][1].shape[1])
    rows = -(-len(tiles) // columns)
    canvas = Image.new('RGB', (columns * width_px, rows * (height_px + 20)), 'white')
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for index, (caption, image) in enumerate(tiles):
        left, top = index % columns * width_px, index // columns * (height_px + 20)
        canvas.paste(Image.fromarray(np.ascontiguousarray(image)).resize(
            (width_px, height_px), Image.Resampling.LANCZOS), (left, top))
        draw.text((left + 4, top + height_px + 1), caption, font=font, fill='black')
    for quality in (90, 80, 65, 50):
        canvas.save(path, quality=quality)
        if path.stat().st_size < LARGEST_BYTES:
            break
    print(f'{path.name}: {canvas.size[0]} x {canvas.size[1]}, {path.stat().st_size} bytes')


def main() -> None:
    """Render and write the sheets of one suite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--suite', choices=('put25', 'official'), default='put25')
    parser.add_argument('--out', type=Path, help='another folder')
    options = parser.parse_args()
    suite, images = options.suite, options.out or FOLDERS[options.suite]
    images.mkdir(parents=True, exist_ok=True)
    name = f'{suite}_ind'
    base = replace(placement(name, 0), receptacle_name='plate', object_xy_m=(-0.145, -0.045),
                   receptacle_xy_m=(-0.20, 0.08), object_yaw_rad=np.pi / 4, table=5)
    chosen = {}

    def staged(_: np.random.Generator) -> suites.Placement:
        return chosen['now']

    suites.EPISODE_SETS[name] = staged
    chosen['now'] = base
    world = World(SIZE_PX, episode_set=name)

    def picture(**changes: object) -> np.ndarray:
        chosen['now'] = replace(base, **changes)
        return world.reset(0, name).image

    def close(image: np.ndarray) -> np.ndarray:
        left, top, right, bottom = CLOSE_UP
        return image[top:bottom, left:right]

    sheet([(thing, close(picture(object_name=thing))) for thing in OBJECTS_25], 7, 210,
          images / f'{suite}_objects.jpg')
    sheet([(place, picture(object_name='golf ball', receptacle_name=place,
                           object_xy_m=(-0.10, -0.07), receptacle_xy_m=(-0.18, 0.02))
            [160:350, 200:455]) for place in RECEPTACLES_25], 6, 240,
          images / f'{suite}_receptacles.jpg')
    sheet([(f'{index} {"seen" if index < 16 else "unseen"}', picture(table=index))
           for index in range(21)], 7, 210, images / f'{suite}_tables.jpg')
    tiles = []
    for axis in (each for each in AXES if each.startswith(f'{suite}_') and each != name):
        image = world.reset(4, axis).image
        if axis.endswith('object_moved'):
            for _ in range(7):
                image = world.step(Action(np.zeros(3), np.zeros(3), 1.0)).observation.image
        tiles.append((f'{axis.removeprefix(suite + "_")}: {world.instruction}', image))
    sheet(tiles, 4, 360, images / f'{suite}_axes.jpg')
    world.close()


if __name__ == '__main__':
    main()
