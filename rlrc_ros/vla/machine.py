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

"""What this machine is called, and what it multiplies fast."""

from pathlib import Path
import platform

CPUINFO = Path('/proc/cpuinfo')
CPU_FLAGS = {
    'bf16': ('avx512_bf16', 'amx_bf16', 'bf16'),
    'int8': ('avx512_vnni', 'avx_vnni', 'amx_int8', 'i8mm', 'asimddp'),
}
"""Flags of /proc/cpuinfo, x86 and Arm, by the arithmetic that they speed up."""


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the processor's model, or its architecture where nothing tells the model."""
    names = [line.split(':', 1)[1].strip() for line in _lines(cpuinfo)
             if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_speeds(cpuinfo: Path = CPUINFO) -> dict[str, tuple[str, ...]]:
    """Return which of CPU_FLAGS the processor has."""
    flags = {flag for line in _lines(cpuinfo) if line.lower().startswith(('flags', 'features'))
             for flag in line.split(':', 1)[-1].split()}
    return {kind: tuple(name for name in names if name in flags)
            for kind, names in CPU_FLAGS.items()}


def _lines(cpuinfo: Path) -> list[str]:
    return cpuinfo.read_text(encoding='utf-8').splitlines() if cpuinfo.is_file() else []
