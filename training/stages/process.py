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
A stage of `rlrc pipeline` in a process of its own, which ends when the pipeline does.

    python -m rlrc_training.stages.process sft --data runs/demos ...

Does what `rlrc VERB ...` does. On Linux the kernel ends it when its parent is killed, so that no
training goes on behind a pipeline that is gone, and none is started twice.
"""

import ctypes
from importlib import import_module
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def end_with_parent() -> None:
    """Ask the kernel to send SIGTERM when the parent ends; nothing where it cannot."""
    if not sys.platform.startswith('linux'):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the kernel was asked
        raise SystemExit(1)


def run_stage(verb: str, arguments: list[str]) -> int:
    """Run a verb as the command line does; return its exit status."""
    sys.argv = [f'rlrc {verb}', *arguments]
    return import_module(f'rlrc_training.{verb}').main(arguments) or 0


if __name__ == '__main__':
    end_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        raise SystemExit(run_stage(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
