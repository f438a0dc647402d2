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

A checkpoint's image size decides what the simulation renders, a driver's namespace what is
remapped; both may stand in the file only. The node itself reads the file by rcl, as always.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

PARAMETERS = 'ros__parameters'
WILDCARDS = ('*', '**')


def parameters_in(file: str | Path, node: str) -> dict[str, object]:
    """
    Return the parameters that a file gives to a node, by name; later ones count.

    Nodes are matched by their last name or a wildcard, in whatever namespace.

    :raises FileNotFoundError: no such file
    :raises ValueError: no parameter file: no YAML, or nothing in it is under `ros__parameters`
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
    for name, parameters in sections:
        if name.rsplit('/', 1)[-1] in (node, *WILDCARDS):
            found |= parameters
    return found


def _sections(document: object, name: str) -> Iterator[tuple[str, dict]]:
    """Yield each node's name and parameters, however deep its namespaces are nested."""
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key == PARAMETERS:
            yield name, value if isinstance(value, dict) else {}
        else:
            yield from _sections(value, f'{name}/{key}')
