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
Charts as plain SVG: bars with intervals, points on a plane, curves. No library, no script.

Every function returns an <svg> element that stands in a page and in a file of its own. Lengths in
CSS pixels; rates are 0 ... 1 and shown in %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

BLUE, ORANGE, GREY, GREEN, RED = '#2563a8', '#d97732', '#7b8794', '#2a8f7d', '#b3423f'
INK, FAINT, GRID = '#1f2933', '#66727e', '#e3e8ed'
WIDTH = 860
LABEL_PX, VALUE_PX = 250, 190
"""Beside the bars: for the labels on the left, for the numbers on the right."""
LABEL_STEPS = 11
"""So many lines above and below its point a label may stand, with a line to it."""
FONT = 'font-family="system-ui, sans-serif"'


@dataclass(frozen=True)
class Bar:
    """One bar: a rate, its interval, the words at its end; pale where episodes are few."""

    value: float
    low: float
    high: float
    words: str
    pale: bool = False


@dataclass(frozen=True)
class Point:
    """One point of a plane: x in the axis' unit, y a rate with its interval."""

    x: float
    y: float
    low: float
    high: float
    label: str
    colour: str


def _svg(width: float, height: float, body: Sequence[str], title: str) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" role="img" aria-label="{escape(title, quote=True)}" {FONT}>'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(body)}</svg>')


def _text(x: float, y: float, words: str, *, size: float = 13, colour: str = INK,
          anchor: str = 'start', weight: str = 'normal') -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>')


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID,
          width: float = 1.0) -> str:
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def legend(series: Sequence[tuple[str, str]], x: float, y: float) -> list[str]:
    """Return a row of coloured squares with their names."""
    parts = []
    for name, colour in series:
        parts += [f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" rx="2" '
                  f'fill="{colour}"/>', _text(x + 16, y, name, size=12, colour=FAINT)]
        x += 34 + 7.0 * len(name)
    return parts


def bars(groups: Sequence[tuple[str, Sequence[Bar | str]]],
         series: Sequence[tuple[str, str]], title: str) -> str:
    """
    Draw a group of horizontal bars a label, one bar a series, or words for none.

    :param groups: label → bars in the order of the series
    :param series: (name, colour)
    """
    bar, gap, top = 15, 10, 34
    left, right = LABEL_PX, WIDTH - VALUE_PX
    height = top + sum(len(each) * (bar + 2) + gap for _, each in groups) + 26
    parts = legend(series, left, 18)

    def at(value: float) -> float:
        return left + value * (right - left)

    for tick in range(0, 101, 20):
        parts += [_line(at(tick / 100), top - 6, at(tick / 100), height - 24),
                  _text(at(tick / 100), height - 8, f'{tick} %', size=11, colour=FAINT,
                        anchor='middle')]
    y = float(top)
    for label, each in groups:
        middle = y + len(each) * (bar + 2) / 2 + 4
        parts.append(_text(left - 10, middle, label, anchor='end'))
        for (_, colour), one in zip(series, each):
            if isinstance(one, str):
                parts.append(_text(left + 6, y + 12, one, size=11, colour=FAINT))
            else:
                parts.append(
                    f'<rect x="{left}" y="{y:.1f}" width="{max(1.0, at(one.value) - left):.1f}" '
                    f'height="{bar}" rx="2" fill="{colour}" '
                    f'opacity="{0.35 if one.pale else 1.0}"/>')
                centre = y + bar / 2
                parts += [_line(at(one.low), centre, at(one.high), centre, INK, 1.2),
                          _line(at(one.low), centre - 3, at(one.low), centre + 3, INK, 1.2),
                          _line(at(one.high), centre - 3, at(one.high), centre + 3, INK, 1.2),
                          _text(right + 10, y + 12, one.words, size=11, colour=FAINT)]
            y += bar + 2
        y += gap
    return _svg(WIDTH, height, parts, title)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers between two bounds."""
    span = (high - low) or 1.0
    step = 10.0 ** floor(log10(span / count))
    step = next(step * each for each in (1, 2, 5, 10) if span / (step * each) <= count)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _number(value: float) -> str:
    if value and abs(value) >= 10_000:
        return f'{value / 1000:g}k'
    return f'{value:.4g}'


def _place(taken: list[tuple[float, float, float, float]], x: float, y: float,
           width: float, right: float) -> tuple[float, float]:
    """Return where a label fits without covering another one, near a point."""
    steps = [0, *(sign * step for step in range(1, LABEL_STEPS + 1) for sign in (-1, 1))]
    options = [(side, y + 4 + 13 * step) for step in steps
               for side in (x + 9, x - 9 - width) if 60 < side and side + width < right]
    for left, base in options:
        box = (left, base - 11, left + width, base + 2)
        if all(box[2] < each[0] or box[0] > each[2] or box[3] < each[1] or box[1] > each[3]
               for each in taken):
            taken.append(box)
            return left, base
    return options[0] if options else (x + 9, y + 4)


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten, coarse ones where there are enough."""
    for digits in (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7):
        found = [digit * 10.0 ** decade for decade in range(floor(low) - 1, ceil(high) + 1)
                 for digit in digits if low <= log10(digit * 10.0 ** decade) <= high]
        if len(found) > 2:
            return found
    return list(_ticks(10 ** low, 10 ** high))


def plane(points: Sequence[Point], x_label: str, title: str) -> str:
    """
    Draw success against a cost (log scale), and the front of those that nothing beats in both.

    :param points: x above 0
    """
    height, left, right, top, bottom = 400, 60, WIDTH - 30, 20, 350
    low, high = (log10(f(each.x for each in points)) for f in (min, max))
    low, high = low - 0.08 * max(high - low, 0.3), high + 0.12 * max(high - low, 0.3)

    def at(x: float, y: float) -> tuple[float, float]:
        return (left + (log10(x) - low) / (high - low) * (right - left),
                bottom - y * (bottom - top))

    parts = []
    for tick in range(0, 101, 20):
        y = at(points[0].x, tick / 100)[1]
        parts += [_line(left, y, right, y), _text(left - 8, y + 4, f'{tick} %', size=11,
                                                  colour=FAINT, anchor='end')]
    for value in _log_ticks(low, high):
        x = at(value, 0)[0]
        parts += [_line(x, top, x, bottom), _text(x, bottom + 16, _number(value), size=11,
                                                  colour=FAINT, anchor='middle')]
    parts.append(_text((left + right) / 2, height - 12, x_label, size=12, colour=FAINT,
                       anchor='middle'))
    front, best = [], -1.0
    for each in sorted(points, key=lambda each: (each.x, -each.y)):
        if each.y > best:
            front.append(each)
            best = each.y
    path = ' '.join('{:.1f},{:.1f}'.format(*at(each.x, each.y)) for each in front)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{GREY}" stroke-dasharray="5 4"/>')
    taken: list[tuple[float, float, float, float]] = [
        (at(each.x, each.y)[0] - 5, at(each.x, each.y)[1] - 5, at(each.x, each.y)[0] + 5,
         at(each.x, each.y)[1] + 5) for each in points]
    taken += [(x - 2, y - 2, x + 2, y + 2) for one, other in pairwise(front)
              for x, y in _along(at(one.x, one.y), at(other.x, other.y))]  # no label on the line
    for each in points:
        x, y = at(each.x, each.y)
        parts += [_line(x, at(each.x, each.low)[1], x, at(each.x, each.high)[1], each.colour, 1.4),
                  f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{each.colour}"/>']
        width = 6.2 * len(each.label)
        left_px, base = _place(taken, x, y, width, right)
        if abs(base - 4 - y) > 13:  # too far to see whose it is
            parts.append(_line(x, y, left_px - 2 if left_px > x else left_px + width, base - 4,
                               each.colour, 0.7))
        parts.append(_text(left_px, base, each.label, size=11))
    return _svg(WIDTH, height, parts, title)


def _along(start: tuple[float, float], end: tuple[float, float],
           apart_px: float = 8.0) -> list[tuple[float, float]]:
    """Return points on a line, both ends left out."""
    count = max(1, round(max(abs(end[0] - start[0]), abs(end[1] - start[1])) / apart_px))
    return [(start[0] + (end[0] - start[0]) * each / count,
             start[1] + (end[1] - start[1]) * each / count) for each in range(1, count)]


def curves(series: Sequence[tuple[str, str, Sequence[tuple[float, float]]]], x_label: str,
           title: str, rate: bool = True, wide: bool = False) -> str:
    """
    Draw curves over steps.

    :param series: (name, colour, points (x, y))
    :param rate: y is 0 ... 1 and shown in %; else in its own unit
    :param wide: as wide as a page, not half of it
    """
    width, height = WIDTH if wide else WIDTH / 2 - 10, 240
    left, right, top, bottom = 52, width - 14, 40, height - 38
    every = [point for *_, points in series for point in points]
    x_high = max((x for x, _ in every), default=1.0) or 1.0
    y_low, y_high = (0.0, 1.0) if rate else (
        min(0.0, *(y for _, y in every)), max((y for _, y in every), default=1.0) * 1.05 or 1.0)

    def at(x: float, y: float) -> tuple[float, float]:
        return (left + x / x_high * (right - left),
                bottom - (y - y_low) / (y_high - y_low) * (bottom - top))

    parts = [_text(left, 16, title, weight='600', size=12),
             *legend([(name, colour) for name, colour, _ in series], left, 33)]
    for tick in _ticks(y_low, y_high, 4):
        y = at(0, tick)[1]
        words = f'{100 * tick:.0f} %' if rate else _number(tick)
        parts += [_line(left, y, right, y),
                  _text(left - 6, y + 4, words, size=10.5, colour=FAINT, anchor='end')]
    for tick in _ticks(0.0, x_high, 4):
        parts.append(_text(at(tick, 0)[0], bottom + 15, _number(tick), size=10.5, colour=FAINT,
                           anchor='middle'))
    parts.append(_text((left + right) / 2, height - 6, x_label, size=11, colour=FAINT,
                       anchor='middle'))
    for _, colour, points in series:
        path = ' '.join('{:.1f},{:.1f}'.format(*at(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                     'stroke-width="2"/>')
        parts += ['<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}"/>'.format(*at(x, y), colour)
                  for x, y in points]
    return _svg(width, height, parts, title)
