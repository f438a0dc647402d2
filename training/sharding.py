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
A share of the model's blocks on every process (FSDP2), for weights that no single device trains.

Each block of the towers and each layer of the decoder lies in shares: weights, gradients and
AdamW's moments. A block's weights come together while it runs. Embeddings, norms, projector and
head, 5 % of a 7B, stay whole on each process, as everything does without it. What a tensor's share
is, torch keeps with the tensor (DTensor); the functions here treat both kinds alike.
"""

from collections.abc import Iterable

from rlrc_ros.vla.model import Vla
from rlrc_training import ranks
from rlrc_training.memory import blocks
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor, DTensor
from torch.nn.utils import get_total_norm


def check_shareable(batch_size: int, accumulate: int) -> None:
    """
    Check that several processes run every block equally often, since they wait for each other.

    :raises ValueError: there is one process alone, or not a row for each in each part of a batch
    """
    count = ranks.world_size()
    if count == 1:
        raise ValueError('shard gives each process a share of the model, and there is one '
                         'process; start it with torchrun --nproc-per-node N, or leave it away')
    if batch_size // count < accumulate:
        raise ValueError(f'with shard each of {count} processes needs a row in each of accumulate '
                         f'{accumulate} parts of batch_size {batch_size}; use --accumulate '
                         f'{max(1, batch_size // count)} or --batch-size {count * accumulate}')


def shard(model: Vla) -> None:
    """Leave each process its share of every block; gradients are added up over the processes."""
    device = next(model.parameters()).device
    mesh = init_device_mesh(device.type, (ranks.world_size(),))
    for block in blocks(model):
        # Each block is the root of its own tree, and a root would stay whole until its gradient.
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
        block.set_gradient_divide_factor(1.0)
        block.set_force_sum_reduction_for_comms(True)  # gloo has no other


def is_shared(tensor: torch.Tensor) -> bool:
    """Say whether this process has a share of a tensor only."""
    return isinstance(tensor, DTensor)


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process has of a tensor; the same memory."""
    return tensor.to_local() if is_shared(tensor) else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor as it is without shares; every process must ask."""
    return tensor.full_tensor() if is_shared(tensor) else tensor


def gathered(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """
    Return whole tensors on the first process, brought to the CPU one by one.

    Every process must ask; the others get nothing.
    """
    found = {}
    for name, each in tensors:
        full = whole(each.detach())
        if ranks.is_first():
            found[name] = full.cpu()
    return found


def as_part_of(like: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor in the shares of another, on its device."""
    tensor = tensor.to(like.device)
    return (distribute_tensor(tensor, like.device_mesh, like.placements) if is_shared(like)
            else tensor)


@torch.no_grad()
def clip_gradients(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> torch.Tensor:
    """Scale gradients down to a norm (L2, over all processes' shares); return the norm before."""
    grads = [each.grad for each in parameters if each.grad is not None]
    norm = get_total_norm([each for each in grads if not is_shared(each)])
    shared = [own_part(each) for each in grads if is_shared(each)]
    if shared:
        norm = (norm.square() + ranks.add_up(get_total_norm(shared).square())).sqrt()
    torch._foreach_mul_([own_part(each) for each in grads],
                        (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm
