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
Draw what was pruned: kept heads and channels of each layer, and a histogram of importance.

Drawn with OpenCV, which the robot side has anyway.
"""

from pathlib import Path

import cv2
import numpy as np

ROW_PX, LEFT_PX, HEADS_PX, CHANNELS_PX, HISTOGRAM_PX = 24, 90, 260, 520, 220
GAP_PX, TOP_PX = 24, 56
KEPT, GONE, PAPER, INK = (96, 142, 27), (224, 220, 214), (255, 255, 255), (60, 50, 40)
"""BGR."""
BINS = 40


def _text(canvas: np.ndarray, words: str, x: int, y: int, scale: float = 0.42) -> None:
    cv2.putText(canvas, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)


def histogram(scores: list[float], kept: list[int]) -> dict[str, list]:
    """Return log10 bin edges, and the counts of kept and of removed channels by bin."""
    values = np.log10(np.maximum(np.asarray(scores, dtype=np.float64) - min(0.0, *scores), 1e-30))
    staying = np.zeros(len(values), dtype=bool)
    staying[kept] = True
    finite = values[values > -29]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    edges = np.linspace(low, max(high, low + 1e-6), BINS + 1)
    values = np.clip(values, edges[0], edges[-1])
    return {'log10_edges': edges.tolist(),
            'kept': np.histogram(values[staying], edges)[0].tolist(),
            'removed': np.histogram(values[~staying], edges)[0].tolist()}


def _shares(count: int, kept: list[int], columns: int) -> np.ndarray:
    """Return how much of each of `columns` equal pieces of 0 ... count - 1 is kept."""
    flags = np.zeros(count)
    flags[kept] = 1.0
    edges = np.linspace(0, count, columns + 1)
    total = np.concatenate([[0.0], flags.cumsum()])
    whole = np.interp(edges, np.arange(count + 1), total)
    return np.diff(whole) / np.diff(edges)


def _strip(canvas: np.ndarray, x: int, y: int, width: int, shares: np.ndarray) -> None:
    mix = shares[:, None] * np.array(KEPT) + (1 - shares[:, None]) * np.array(GONE)
    strip = cv2.resize(mix[None].astype(np.float32), (width, ROW_PX - 4),
                       interpolation=cv2.INTER_NEAREST)
    canvas[y:y + ROW_PX - 4, x:x + width] = strip.astype(np.uint8)


def _bars(canvas: np.ndarray, x: int, y: int, counts: dict[str, list]) -> None:
    kept, removed = np.array(counts['kept']), np.array(counts['removed'])
    tallest, width = max(1, int((kept + removed).max())), HISTOGRAM_PX // BINS
    for bin_index in range(BINS):
        left, base = x + bin_index * width, y + ROW_PX - 4
        for colour, count in ((GONE, kept[bin_index] + removed[bin_index]),
                              (KEPT, kept[bin_index])):
            height = int(round((ROW_PX - 4) * count / tallest))
            cv2.rectangle(canvas, (left, base - height), (left + width - 2, base), colour, -1)


def draw(path: Path, title: str, layers: list[dict]) -> None:
    """
    Write the picture.

    :param layers: pruning.json's `layers`, those with `status` dense or dropped included
    """
    width = LEFT_PX + HEADS_PX + CHANNELS_PX + HISTOGRAM_PX + 4 * GAP_PX
    canvas = np.full((TOP_PX + ROW_PX * len(layers) + 36, width, 3), 255, np.uint8)
    canvas[:] = PAPER
    heads_x = LEFT_PX
    channels_x, bars_x = heads_x + HEADS_PX + GAP_PX, heads_x + HEADS_PX + CHANNELS_PX + 2 * GAP_PX
    _text(canvas, title, 10, 20, 0.5)
    for words, x in (('layer', 10), ('heads', heads_x), ('channels', channels_x),
                     ('importance of channels, log10', bars_x)):
        _text(canvas, words, x, TOP_PX - 12)
    for row, layer in enumerate(layers):
        y = TOP_PX + row * ROW_PX
        _text(canvas, layer['name'], 10, y + ROW_PX - 7, 0.38)
        if layer['status'] == 'dropped':
            _text(canvas, 'dropped', heads_x, y + ROW_PX - 7, 0.38)
            continue
        for x, room, total, kept in (
                (heads_x, HEADS_PX, layer['heads_before'], layer['kept_heads']),
                (channels_x, CHANNELS_PX, layer['channels_before'], layer['kept_channels'])):
            every = list(range(total)) if kept is None else kept
            _strip(canvas, x, y, room, _shares(total, every, min(total, room)))
        if layer.get('histogram'):
            _bars(canvas, bars_x, y, layer['histogram'])
    _text(canvas, 'dark: kept   pale: removed', 10, canvas.shape[0] - 12, 0.4)
    encoded = cv2.imencode('.png', canvas)[1]
    path.write_bytes(encoded.tobytes())
