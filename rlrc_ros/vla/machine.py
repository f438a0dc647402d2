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

"""What this machine is called."""

from pathlib import Path
import platform


def cpu_name(cpuinfo: Path = Path('/proc/cpuinfo')) -> str:
    """Return the processor's model, or its architecture where nothing tells the model."""
    text = cpuinfo.read_text(encoding='utf-8') if cpuinfo.is_file() else ''
    names = [line.split(':', 1)[1].strip() for line in text.splitlines()
             if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()
