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

"""What the mains of the verbs share: options from a dataclass, errors in one line, exit status."""

from collections.abc import Callable
import logging
import sys
from typing import TypeVar

from rlrc_sim.rollout import WorldDiedError
import tyro

Config = TypeVar('Config')


def run_verb(verb: str, config_type: type[Config], run: Callable[[Config], object],
             argv: list[str] | None, description: str | None) -> int:
    """
    Parse argv into a config, run the verb with it, return the exit status.

    What a user can mend (a value, a path, a folder, a full disk, a simulator that died) ends in
    one line on stderr and status 1; anything else is our mistake and keeps its traceback.
    """
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    try:
        run(tyro.cli(config_type, args=argv, prog=f'rlrc {verb}', description=description))
    except (ValueError, OSError, FloatingPointError, WorldDiedError) as error:
        print(f'rlrc {verb}: {error}', file=sys.stderr)
        return 1
    return 0
