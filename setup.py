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
Build rules of one ament_python package that holds three import packages.

The folders training/ and sim/ become rlrc_training and rlrc_sim, so that no general name lands on
a PYTHONPATH. colcon and pip both run this file; what `ros2 launch` needs goes in as data_files.
"""

from glob import glob
import os

from setuptools import setup

PACKAGE_NAME = 'rlrc_ros'
SHARE = os.path.join('share', PACKAGE_NAME)


def share_files(folder: str) -> list[tuple[str, list[str]]]:
    """Return data_files entries that mirror `folder` under share/rlrc_ros; none if absent."""
    return [
        (os.path.join(SHARE, parent), sorted(os.path.join(parent, name) for name in names))
        for parent, subfolders, names in os.walk(folder)
        if names and '__pycache__' not in parent
    ]


setup(
    name=PACKAGE_NAME,
    version='0.1.0',
    description='Compressed vision-language-action models on ROS 2: pruned, fine-tuned, driving '
                'a WidowX-250S, in simulation and for real',
    author='The rlrc_ros Authors',
    author_email='maintainers@rlrc-ros.dev',
    maintainer='The rlrc_ros Authors',
    maintainer_email='maintainers@rlrc-ros.dev',
    license='Apache-2.0',
    keywords=['ROS', 'robotics', 'vision-language-action', 'WidowX'],
    packages=[
        'rlrc_ros', 'rlrc_ros.arm', 'rlrc_ros.nodes', 'rlrc_ros.vla', 'rlrc_training',
        'rlrc_training.pruning', 'rlrc_training.reporting', 'rlrc_training.stages', 'rlrc_sim'],
    package_dir={'rlrc_training': 'training', 'rlrc_sim': 'sim'},
    package_data={
        'rlrc_ros': ['arm/urdf/*.urdf'],
        'rlrc_sim': [os.path.relpath(path, 'sim')
                     for path in glob('sim/assets/**/*', recursive=True) if os.path.isfile(path)],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [os.path.join('resource', PACKAGE_NAME)]),
        (SHARE, ['package.xml']),
        *share_files('launch'),
        *share_files('config'),
        *share_files('checkpoints'),
    ],
    zip_safe=False,
    python_requires='>=3.11',
    install_requires=[
        'numpy', 'opencv-python', 'pillow', 'pin', 'psutil', 'pyyaml', 'safetensors', 'scipy',
        'tokenizers', 'torch>=2.6', 'transformers>=5',
    ],
    extras_require={
        'robot': ['rosbags', 'ruckig'],
        'train': ['huggingface_hub', 'matplotlib', 'rich', 'tensorboard', 'tqdm', 'tyro'],
        'sim': ['imageio', 'imageio-ffmpeg', 'mani_skill==3.0.1', 'setuptools<80'],
        'lerobot': ['imageio-ffmpeg', 'pyarrow'],
        # In an environment of its own: scripts/libero_env.sh, which spares what is never imported.
        'libero': ['bddl==1.0.1', 'hf-libero==0.1.4', 'mujoco==3.3.7', 'robosuite==1.4.0'],
        'nf4': ['bitsandbytes'],
        'test': [
            'pytest>=8,<9', 'pytest-rerunfailures', 'pytest-timeout', 'ruff', 'torch-pruning'],
    },
    entry_points={
        'console_scripts': [
            'rlrc = rlrc_ros.cli:main',
            'vla_node = rlrc_ros.nodes.vla_node:main',
            'recorder_node = rlrc_ros.nodes.recorder_node:main',
            'sim_bridge = rlrc_sim.bridge_node:main',
        ],
        # The verbs are found at run time, so that the robot side imports no lab side.
        'rlrc.verbs': [
            'demo = rlrc_training.demo:main',
            'doctor = rlrc_ros.doctor:main',
            'move = rlrc_ros.nodes.move:main',
            'replay = rlrc_training.replay:main',
            'import-bags = rlrc_training.import_bags:main',
            'collect = rlrc_training.collect:main',
            'export-dataset = rlrc_training.export_dataset:main',
            'sft = rlrc_training.sft:main',
            'prune = rlrc_training.prune:main',
            'rl = rlrc_training.rl:main',
            'quantize = rlrc_training.quantize:main',
            'evaluate = rlrc_training.evaluate:main',
            'bench = rlrc_training.bench:main',
            'timing = rlrc_training.timing:main',
            'pipeline = rlrc_training.pipeline:main',
            'report = rlrc_training.report:main',
            'publish = rlrc_training.publish:main',
        ],
    },
)
