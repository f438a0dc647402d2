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
One LIBERO world in a process of LIBERO's own Python: `python libero_worker.py SETTINGS_JSON`.

rlrc_sim.libero starts it; it imports nothing of this package, since LIBERO's environment holds
none of it. Questions arrive on stdin, one JSON object a line: `{"reset": [task, trial]}` or
`{"step": [7 numbers]}`. Each is answered on stdout by one line of JSON and the bytes of its
images. What LIBERO prints goes to stderr.

Conventions are those of OpenVLA's LIBERO evaluation: the environment is seeded with 0, set to
the trial's recorded state, and idles for ten steps, in which things that start in the air fall.
Pictures are turned by 180 degrees. An action is what the OSC controller takes: -1 ... 1.
"""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
import json
from math import acos, sqrt
import os
from pathlib import Path
import pickletools
import re
import sys
import traceback
import zipfile

import numpy as np

TRIALS = 50
"""Recorded first states of each task."""
IDLE_STEPS = 10
IDLE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""Nothing moves, the gripper opens."""
IMAGE_PX = 256
CAMERAS = {'image': 'agentview', 'wrist': 'robot0_eye_in_hand'}


def instruction_of(task: str) -> str:
    """Return the sentence that a task's file name holds, without the scene it begins with."""
    return re.sub(r'^[A-Z_]*SCENE\d+_', '', task).replace('_', ' ')


def read_states(path: Path) -> np.ndarray:
    """
    Return the recorded first states (50, D) float64 of a task: time, positions, velocities.

    The file is a zip with a serialised numpy array. Its instructions are looked through, never
    carried out: the longest text among them holds the array's bytes.

    :raises ValueError: not such a file
    """
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if each.endswith('data.pkl'))
        texts = [argument for _, argument, _ in pickletools.genops(archive.read(name))
                 if isinstance(argument, str)]
    raw = max(texts, key=len).encode('latin1')
    if 'f8' not in texts or '<' not in texts or len(raw) % (8 * TRIALS):
        raise ValueError(f'{path} holds no {TRIALS} states of little-endian float64')
    return np.frombuffer(raw, dtype='<f8').reshape(TRIALS, -1)


def axis_angle(xyzw: np.ndarray) -> np.ndarray:
    """Return the rotation vector (3,) of a quaternion, as robosuite counts it: 0 ... 2 pi."""
    w = min(1.0, max(-1.0, float(xyzw[3])))
    sine = sqrt(1.0 - w * w)
    return np.zeros(3) if sine < 1e-8 else np.asarray(xyzw[:3]) * (2.0 * acos(w) / sine)


class LiberoWorld:
    """
    The environment of one task after the other.

    :param suite: `libero_spatial` or `libero_10`
    :param assets: LIBERO's assets folder
    :param scratch: an empty folder for LIBERO's configuration
    :param cameras: which of CAMERAS are rendered
    """

    def __init__(self, suite: str, assets: str, scratch: str, cameras: list[str]):
        # Neither line runs LIBERO's own code: its first import would ask questions on stdin.
        found = find_spec('libero')
        if found is None:
            raise RuntimeError(f'{sys.executable} has no LIBERO; run scripts/libero_env.sh')
        self._root = Path(found.submodule_search_locations[0]) / 'libero'
        folders = {'benchmark_root': '.', 'bddl_files': 'bddl_files', 'init_states': 'init_files',
                   'datasets': '../datasets'}
        paths = {name: str(self._root / folder) for name, folder in folders.items()}
        (Path(scratch) / 'config.yaml').write_text(json.dumps({**paths, 'assets': assets}))
        os.environ['LIBERO_CONFIG_PATH'] = scratch
        os.environ.setdefault('MUJOCO_GL', 'egl')
        self._tasks = self._task_names(suite)
        import libero.libero as library
        library._assets_path_cache = assets  # it never reads the configured path
        self._suite, self._cameras = suite, cameras
        self._env, self._task = None, -1

    def _task_names(self, suite: str) -> list[str]:
        # The module alone: its package would import torch.
        spec = spec_from_file_location(
            'task_map', self._root / 'benchmark' / 'libero_suite_task_map.py')
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.libero_task_map[suite]

    def reset(self, task: int, trial: int) -> dict:
        """Begin a trial of a task and let things fall."""
        name = self._tasks[task]
        if task != self._task:
            self.close()
            from libero.libero.envs import OffScreenRenderEnv
            self._env = OffScreenRenderEnv(
                bddl_file_name=str(self._root / 'bddl_files' / self._suite / f'{name}.bddl'),
                camera_heights=IMAGE_PX, camera_widths=IMAGE_PX,
                camera_names=[CAMERAS[each] for each in self._cameras])
            self._task = task
            self._states = read_states(
                self._root / 'init_files' / self._suite / f'{name}.pruned_init')
        self._env.seed(0)
        self._env.reset()
        self._env.set_init_state(self._states[trial])
        for _ in range(IDLE_STEPS):
            seen, _, _, _ = self._env.step(list(IDLE))
        return self._answer(seen, False, instruction_of(name))

    def step(self, *action: float) -> dict:
        """Let one control step (0.05 s) pass."""
        seen, _, done, _ = self._env.step(list(action))
        return self._answer(seen, bool(done), instruction_of(self._tasks[self._task]))

    def _answer(self, seen: dict, success: bool, instruction: str) -> dict:
        state = np.concatenate([seen['robot0_eef_pos'], axis_angle(seen['robot0_eef_quat']),
                                seen['robot0_gripper_qpos']])
        return {'instruction': instruction, 'success': success, 'proprio': state.tolist(),
                'images': [np.ascontiguousarray(seen[f'{CAMERAS[each]}_image'][::-1, ::-1])
                           for each in self._cameras]}

    def close(self) -> None:
        """Free the simulator."""
        if self._env is not None:
            self._env.close()
            self._env = None


def serve(world: LiberoWorld, questions, answers) -> None:
    """Answer questions until there are no more."""
    for line in questions:
        (verb, arguments), = json.loads(line).items()
        answer = getattr(world, verb)(*arguments)
        images = answer.pop('images')
        answer['shapes'] = [list(each.shape) for each in images]
        answers.write(json.dumps(answer).encode() + b'\n')
        for each in images:
            answers.write(each.tobytes())
        answers.flush()


def main() -> None:
    """Serve one world; an error is the last answer."""
    answers = os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)  # robosuite and LIBERO print where the answers go
    world = None
    try:
        world = LiberoWorld(**json.loads(sys.argv[1]))
        answers.write(b'{"ready": true}\n')
        answers.flush()
        serve(world, sys.stdin.buffer, answers)
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    except Exception:
        answers.write(json.dumps({'error': traceback.format_exc()}).encode() + b'\n')
        answers.flush()
    finally:
        if world is not None:
            world.close()


if __name__ == '__main__':
    main()
