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
What a user's ROS parameter file says to a node, for a launch file that has to know it as well.

Which checkpoint drives decides what the simulation shows, a driver's namespace what is remapped;
both may stand in the file only. The node itself reads the file by rcl, as always.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

PARAMETERS = 'ros__parameters'


def parameters_in(file: str | Path, node: str, namespace: str = '') -> dict[str, object]:
    """
    Return the parameters that a file gives to a node, by name; later ones count.

    Nodes are matched as rcl does: `*` stands for one part of a name, `**` for any number.

    :raises FileNotFoundError: no such file
    :raises ValueError: no parameter file (no YAML, or nothing in it is under `ros__parameters`),
        or one for this node in another namespace, which rcl would leave out without a word
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there; give an existing parameter file, or copy '
                                'lines of the shipped config/vla.yaml into one')
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML: {error}') from error
    sections = list(_sections(document, ''))
    if not sections:
        raise ValueError(f'{path} holds no parameters; they stand under NODE: {PARAMETERS}:, as '
                         'in the shipped config/vla.yaml')
    found: dict[str, object] = {}
    own = [*namespace.strip('/').split('/'), node] if namespace.strip('/') else [node]
    for name, parameters in sections:
        parts = [part for part in name.split('/') if part]
        if _matches(parts, own):
            found |= parameters
        elif parts[-1:] == [node]:
            raise ValueError(f'{path} has parameters for {name}, and the node is '
                             f'/{"/".join(own)}: write /**/{node}: there')
    return found


def _matches(pattern: list[str], name: list[str]) -> bool:
    """Tell whether the parts of a pattern stand for the parts of a node's name."""
    if not pattern:
        return not name
    if pattern[0] == '**':
        return any(_matches(pattern[1:], name[index:]) for index in range(len(name) + 1))
    return (bool(name) and pattern[0] in ('*', name[0]) and _matches(pattern[1:], name[1:]))


def _sections(document: object, name: str) -> Iterator[tuple[str, dict]]:
    """Yield each node's name and parameters, however deep its namespaces are nested."""
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key == PARAMETERS:
            yield name, value if isinstance(value, dict) else {}
        else:
            yield from _sections(value, f'{name}/{key}')
