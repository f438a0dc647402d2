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
One command on one process or on many: what `torchrun` changes, in one place.

Without torchrun there is one rank and nothing here does anything. With it every rank holds the
whole model, or shares of it (sharding.py), and a share of every global batch; gradients are added
up over the ranks before the optimiser steps, so that all hold the same weights. Rank 0 logs and
writes.
"""

from collections.abc import Iterable
import datetime
import logging
import os

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

PATIENCE = datetime.timedelta(hours=2)
"""How long a rank waits for another: an evaluation may keep rank 0 busy."""


def start(device: str) -> torch.device:
    """
    Join the other ranks if torchrun started us, and return this rank's device.

    :param device: `auto`, `cpu` or `cuda`
    """
    cuda = torch.cuda.is_available() if device == 'auto' else device.startswith('cuda')
    if 'WORLD_SIZE' in os.environ and int(os.environ['WORLD_SIZE']) > 1:
        if not distributed.is_initialized():
            # What is counted and logged lives on the CPU, which NCCL does not reach.
            distributed.init_process_group(
                'cpu:gloo,cuda:nccl' if cuda else 'gloo', timeout=PATIENCE)
        if not is_first():
            logging.getLogger('rlrc').setLevel(logging.WARNING)
        if cuda:
            torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)))
    if device not in ('auto', 'cpu', 'cuda'):
        return torch.device(device)
    return torch.device('cuda' if cuda else 'cpu')


def stop() -> None:
    """Leave the other ranks."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Return this process's number, 0 without torchrun."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Say whether this rank logs and writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for every rank."""
    if distributed.is_initialized():
        distributed.barrier()


def share(what: str, count: int) -> range:
    """
    Return this rank's part of `count` things.

    :raises ValueError: the ranks do not divide them
    """
    ranks = world_size()
    if count % ranks:
        below, above = count - count % ranks, count - count % ranks + ranks
        fitting = ' or '.join(str(each) for each in (below, above) if each)
        raise ValueError(f'{what} {count} cannot be shared by {ranks} processes evenly; '
                         f'use {fitting}, or another --nproc-per-node')
    each = count // ranks
    return range(rank() * each, (rank() + 1) * each)


def add_up(tensor: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over the ranks, on every rank; the tensor itself is changed."""
    if distributed.is_initialized():
        distributed.all_reduce(tensor)
    return tensor


PIECE = 8_000_000
"""Numbers of a gradient that travel in one message."""


def add_up_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Add up the gradients over the ranks; a rank without a sample counts as zero."""
    if not distributed.is_initialized():
        return
    # Shares of a tensor (sharding.py) are added up by torch itself.
    wanted = [each for each in parameters
              if each.requires_grad and not isinstance(each, DTensor)]
    flags = add_up(torch.tensor([float(each.grad is not None) for each in wanted],
                                device=wanted[0].device))
    # What no rank used the optimiser leaves alone, as on one process.
    used = [each for each, count in zip(wanted, flags.tolist()) if count]
    # In pieces: a message a tensor is slow, all in one would hold the gradients twice.
    pieces: list[list[torch.nn.Parameter]] = []
    room = 0
    for each in used:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
        if (not pieces or each.numel() > room
                or each.grad.dtype != pieces[-1][0].grad.dtype):
            pieces.append([])
            room = PIECE
        pieces[-1].append(each)
        room -= each.numel()
    for piece in pieces:
        flat = torch.cat([each.grad.flatten() for each in piece])
        distributed.all_reduce(flat)
        for each, part in zip(piece, flat.split([each.numel() for each in piece])):
            each.grad.copy_(part.view_as(each))


def gather(tensor: torch.Tensor) -> torch.Tensor:
    """Return every rank's tensor, one after another along the last dimension, on every rank."""
    if not distributed.is_initialized():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts, dim=-1)
