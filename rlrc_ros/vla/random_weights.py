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
A model of any architecture with random weights: for timing, which values do not change.

Made tensor by tensor in its final dtype on its final device, quantised layers too, so that no
larger model lies in memory on the way.
"""

from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.quantized import EMBEDDINGS, pack
import torch

DEVIATION = 0.02
SCALES = {'weight_scale': {'int4': 0.005, 'int8': 0.0005}, 'weight_absmax': 0.06}
"""That make weights of about that deviation."""


def random_model(config: VlaConfig, device: str | torch.device, dtype: torch.dtype) -> Vla:
    """
    Return a model with random weights, packed where its config says that they are quantised.

    :param dtype: of weights that are not quantised
    """
    model, record = skeleton(config), config.quantization
    stored = {name: buffer.dtype for name, buffer in model.named_buffers()}
    weights = {}
    for name, shape in model.state_dict().items():
        on_host = record is not None and record.host_embeddings and name.startswith(
            EMBEDDINGS)
        tensor = torch.empty(shape.shape, dtype=stored.get(name, dtype),
                             device='cpu' if on_host else device)
        weights[name] = _fill(name, tensor, f'{name.rpartition(".")[0]}.weight_int4' in stored)
    model.load_state_dict(weights, assign=True)
    if record is not None:
        pack(model, config, torch.device(device))
    return model.requires_grad_(False).eval()


def _fill(name: str, tensor: torch.Tensor, int4: bool) -> torch.Tensor:
    kind = name.rpartition('.')[2]
    if tensor.dtype == torch.uint8:
        return tensor.random_(0, 256)
    if tensor.dtype == torch.int8:
        return tensor.random_(-127, 128)
    if kind in SCALES:
        scale = SCALES[kind]
        return tensor.fill_(scale if isinstance(scale, float) else scale[
            'int4' if int4 else 'int8'])
    if kind == 'weight_zero':
        return tensor.zero_()
    if tensor.dim() < 2:
        return tensor.fill_(1.0 if 'norm' in name and kind == 'weight' else 0.0)
    return tensor.normal_(0, DEVIATION)
