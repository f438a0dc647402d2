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
A report as blocks (headings, tables, charts, pictures, code), written as HTML and as Markdown.

The HTML page carries everything inside it (SVG, pictures as data URLs, no script, no font, no
link that is fetched), so that it opens offline and can be sent as one file. The Markdown twin
links to the same charts and pictures as files beside it.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
import re

STYLE = """
body { margin: 0 auto; max-width: 1280px; padding: 28px 24px 80px; color: #1f2933;
  font: 15px/1.55 system-ui, sans-serif; background: #fff; }
h1 { font-size: 27px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 44px 0 10px; }
p { max-width: 780px; } p.small { color: #66727e; font-size: 13px; max-width: none; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 12.5px; }
th, td { padding: 5px 9px; text-align: left; border-bottom: 1px solid #e3e8ed;
  vertical-align: top; } th { color: #66727e; font-weight: 600; border-bottom-color: #9fb0be; }
td, th { white-space: nowrap; } td:first-child { font-weight: 600; }
svg { max-width: 100%; height: auto; } figure { margin: 14px 0; }
figure.pair { display: flex; flex-wrap: wrap; gap: 16px; }
figcaption { color: #66727e; font-size: 13px; } img { display: block; max-width: 100%; }
code { background: #f5f7f9; font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #f5f7f9; padding: 12px 14px; font: 12px/1.5 ui-monospace, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.met { color: #1d7a4f; font-weight: 600; } .missed { color: #b3423f; font-weight: 600; }
.open { color: #8a6d1a; font-weight: 600; }
"""


@dataclass(frozen=True)
class Heading:
    """A section begins."""

    words: str


@dataclass(frozen=True)
class Paragraph:
    """Running text; `small` below a table."""

    words: str
    small: bool = False


@dataclass(frozen=True)
class Table:
    """A table; a cell that is one of `met`, `missed`, `open` is coloured."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Charts:
    """Charts side by side: (name of the file, SVG)."""

    charts: Sequence[tuple[str, str]]
    caption: str = ''


@dataclass(frozen=True)
class Pictures:
    """JPEG pictures under each other: (words, file, what it is called beside the page)."""

    pictures: Sequence[tuple[str, Path, str]]


@dataclass(frozen=True)
class Code:
    """Commands."""

    text: str


Block = Heading | Paragraph | Table | Charts | Pictures | Code


def as_html(title: str, blocks: Sequence[Block]) -> str:
    """Return the whole page."""
    parts = ['<!doctype html><html lang="en"><head><meta charset="utf-8">'
             '<meta name="viewport" content="width=device-width, initial-scale=1">'
             f'<title>{escape(title)}</title><style>{STYLE}</style></head><body>'
             f'<h1>{escape(title)}</h1>']
    for block in blocks:
        match block:
            case Heading(words):
                parts.append(f'<h2>{escape(words)}</h2>')
            case Paragraph(words, small):
                parts.append(f'<p{" class=small" if small else ""}>{_prose(words)}</p>')
            case Table(head, rows):
                parts.append(_html_table(head, rows))
            case Charts(charts, caption):
                parts.append('<figure class="pair">' + ''.join(svg for _, svg in charts)
                             + (f'<figcaption>{escape(caption)}</figcaption>' if caption else '')
                             + '</figure>')
            case Pictures(pictures):
                for words, path, _ in pictures:
                    encoded = base64.b64encode(path.read_bytes()).decode()
                    parts.append(f'<figure><img alt="{escape(words, quote=True)}" '
                                 f'src="data:image/jpeg;base64,{encoded}">'
                                 f'<figcaption>{escape(words)}</figcaption></figure>')
            case Code(text):
                parts.append(f'<pre>{escape(text)}</pre>')
    return '\n'.join([*parts, '</body></html>']) + '\n'


def _prose(words: str) -> str:
    """Return running text, its `code` marked as such."""
    return re.sub('`([^`]+)`', r'<code>\1</code>', escape(words))


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cell(words: str) -> str:
        kind = f' class="{words}"' if words in ('met', 'missed', 'open') else ''
        return f'<td{kind}>{escape(words)}</td>'
    return ('<div class="wide"><table><tr>' + ''.join(f'<th>{escape(each)}</th>' for each in head)
            + '</tr>' + ''.join('<tr>' + ''.join(map(cell, row)) + '</tr>' for row in rows)
            + '</table></div>')


def as_markdown(title: str, blocks: Sequence[Block], beside: Path) -> str:
    """
    Return the twin; charts and pictures are written into a folder beside it.

    :param beside: that folder, existing; links name it without its parents
    """
    parts = [f'# {title}']

    def row(cells: Sequence[str]) -> str:
        return '| ' + ' | '.join(each.replace('|', '\\|') for each in cells) + ' |'

    for block in blocks:
        match block:
            case Heading(words):
                parts.append(f'## {words}')
            case Paragraph(words):
                parts.append(words)
            case Table(head, rows):
                parts.append('\n'.join([row(head), '|' + '---|' * len(head), *map(row, rows)]))
            case Charts(charts, caption):
                for name, svg in charts:
                    (beside / f'{name}.svg').write_text(svg + '\n', encoding='utf-8')
                    parts.append(f'![{caption or name}]({beside.name}/{name}.svg)')
            case Pictures(pictures):
                for words, path, name in pictures:
                    (beside / name).write_bytes(path.read_bytes())
                    parts.append(f'{words}\n\n![{words}]({beside.name}/{name})')
            case Code(text):
                parts.append(f'```bash\n{text.rstrip()}\n```')
    return '\n\n'.join(parts) + '\n'
