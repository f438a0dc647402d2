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
GPU memory of training: what it takes, and how to take less of it.

`python -m rlrc_training.memory` prints the plan for OpenVLA-7B, dense and pruned as RLRC prunes
it, without memory or a GPU: the model is built on torch's meta device, and what autograd keeps of
a forward pass is counted tensor by tensor.
"""

from dataclasses import replace
from functools import partial

from rich.console import Console
from rich.table import Table
from rlrc_ros.vla import official
from rlrc_ros.vla.config import LayerWidths, VlaConfig
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_training.lora import add_lora
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

GB = 1e9
TEXT_TOKENS, ACTION_TOKENS = 28, 7
"""Of a prompt of the suite under Llama's tokenizer, about, and of an answer."""
TRAINED_BYTES = 16
"""Of each trained parameter in fp32: itself, its gradient and AdamW's two moments."""


def checkpoint_activations(model: Vla) -> None:
    """Let every block of the towers and every layer of the decoder keep its input alone."""
    for block in blocks(model):
        block.forward = partial(_run, block.forward)


def blocks(model: Vla) -> list[nn.Module]:
    """Return the blocks of the towers and the layers of the decoder."""
    backbone = model.vision_backbone
    blocks = [*backbone.featurizer.blocks, *model.language_model.model.layers]
    if hasattr(backbone, 'fused_featurizer'):
        blocks += backbone.fused_featurizer.blocks
    return blocks


def _run(forward, *arguments):
    if not torch.is_grad_enabled():
        return forward(*arguments)
    return checkpoint(forward, *arguments, use_reentrant=False)


def openvla_7b(pruned: bool = False) -> VlaConfig:
    """Return OpenVLA-7B's architecture; pruned: RLRC's widths, 2 heads and 550 channels."""
    config = official.read_config(
        {'model_type': 'openvla', 'vision_backbone_id': 'dinosiglip-vit-so-224px',
         'llm_backbone_id': 'llama2-7b-pure', 'image_resize_strategy': 'resize-naive',
         'text_config': {'model_type': 'llama', 'vocab_size': 32064, 'pad_token_id': 32000}},
        {}, {}, 'openvla-7b', 7)
    if not pruned:
        return config
    layers = config.decoder.layers  # the first and the last stay dense (arXiv 2506.17639)
    layers = (layers[0], *(LayerWidths(2, 550),) * (len(layers) - 2), layers[-1])
    return replace(config, decoder=replace(config.decoder, layers=layers))


def kept_bytes(model: Vla) -> tuple[int, int]:
    """
    Return what autograd keeps of one sample, bytes: everything, and blocks' inputs alone.

    The second is what is left with checkpoint_activations(), but for the one block whose insides
    are being computed again.
    """
    weights = {each.untyped_storage()._cdata for each in model.parameters()}
    kept, inputs = {}, []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    for block in blocks(model):
        block.register_forward_pre_hook(lambda _, given: inputs.append(given[0].nbytes))
    weight, size = next(model.parameters()), model.config.image_size
    pixels = torch.empty(1, 3 * len(model.config.towers), size, size, device='meta',
                         dtype=weight.dtype)
    ids = torch.zeros(1, TEXT_TOKENS + ACTION_TOKENS, dtype=torch.long, device='meta')
    where = torch.zeros(1, ACTION_TOKENS, dtype=torch.long, device='meta')
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.action_logits(model(pixels, ids, where))
    return sum(each.nbytes() for each in kept.values()), sum(inputs)


def plan(config: VlaConfig, lora_rank: int) -> dict[str, float]:
    """
    Return parameters in 1e9 and gigabytes (1e9 bytes) of weights and of one sample.

    With adapters the base is bf16; without, everything is fp32.
    """
    model = skeleton(config)
    if lora_rank:
        model = model.to(torch.bfloat16)
        add_lora(model, lora_rank, 16.0, 0)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    frozen = sum(each.nbytes for each in model.parameters() if not each.requires_grad)
    everything, inputs = kept_bytes(model)
    return {'parameters': sum(each.numel() for each in model.parameters()) / GB,
            'trained': trained / GB, 'frozen_gb': frozen / GB,
            'trained_gb': trained * TRAINED_BYTES / GB,
            'sample_gb': everything / GB, 'checkpointed_sample_gb': inputs / GB}


def shared_gb(config: VlaConfig, processes: int) -> float:
    """Return gigabytes a process of all fp32 weights that train in shares (sharding.py)."""
    model = skeleton(config)
    everything = sum(each.numel() for each in model.parameters())
    in_shares = sum(each.numel() for block in blocks(model) for each in block.parameters())
    return (everything - in_shares + in_shares / processes) * TRAINED_BYTES / GB


def main() -> int:
    """Print the plan for 7B, dense and pruned, with adapters and whole."""
    table = Table(title='GB (1e9 bytes); activations are of one sample in a microbatch')
    for heading in ('model', 'trains', 'parameters, 1e9', 'trained, 1e9', 'frozen weights',
                    'weights, gradients, AdamW', 'activations', 'checkpointed'):
        table.add_column(heading)
    for pruned in (False, True):
        for rank in (32, 0):
            numbers = plan(openvla_7b(pruned), rank)
            table.add_row('pruned' if pruned else 'dense',
                          f'LoRA {rank}, bf16' if rank else 'all, fp32',
                          *(f'{value:.3f}' for value in numbers.values()))
    Console(width=120).print(table)
    for pruned in (False, True):
        print(f'{"pruned" if pruned else "dense"}, all, fp32, in shares (rlrc sft --shard), GB a '
              'process: ' + ', '.join(f'{shared_gb(openvla_7b(pruned), each):.1f} on {each}'
                                      for each in (2, 4, 8, 16)))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
