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

"""An action like those contacts on which PhysX crashes; in a module that other processes find."""

import os
import signal


class Deadly:
    """Ends the process that would execute it."""

    @property
    def delta_xyz_m(self) -> None:
        """Kill whoever asks."""
        os.kill(os.getpid(), signal.SIGKILL)
