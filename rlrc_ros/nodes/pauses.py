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
Keep Python's garbage collection out of the control path, and time what is left of it.

A full collection visits every object there is; torch, ROS and a tokenizer are a million of them,
and every thread stands still meanwhile. Once the policy is loaded all of that is set aside
(gc.freeze), so that later collections visit only what has come since. Seconds; the collector's own
time is told beside the wall's, which on a busy machine counts who else ran meanwhile.
"""

import gc
from time import monotonic, thread_time


class CollectorPauses:
    """Sets aside what there is, and counts and times every collection after that."""

    def __init__(self) -> None:
        """Begin with nothing set aside and nothing counted."""
        self.count, self.longest_s, self.longest_cpu_s = 0, 0.0, 0.0
        self._began_s = self._began_cpu_s = 0.0

    def begin(self) -> None:
        """Collect once, now; set aside what is left; count from here."""
        self.end()
        gc.collect()
        gc.freeze()
        self.count, self.longest_s, self.longest_cpu_s = 0, 0.0, 0.0
        gc.callbacks.append(self._on_collection)

    def end(self) -> None:
        """Count no more and let what was set aside be collected again."""
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)
            gc.unfreeze()

    def _on_collection(self, phase: str, _: dict) -> None:
        # No lock may be taken here: a collection can begin inside the code that holds it.
        if phase == 'start':
            self._began_s, self._began_cpu_s = monotonic(), thread_time()
        else:
            self.count += 1
            self.longest_s = max(self.longest_s, monotonic() - self._began_s)
            self.longest_cpu_s = max(self.longest_cpu_s, thread_time() - self._began_cpu_s)
