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
Where a model's quantised layers are: which parts, the cut head, the table on the host.

config.json's `quantization` record (config.QuantizationConfig) is all that decides it, so a
skeleton of a quantised model has the names, shapes and bytes of its file. The cut head and the
table on the host are exact: they leave out what acting never reads, or keep it elsewhere.
"""

from collections.abc import Iterator
import math

from rlrc_ros.vla.config import QuantizationConfig, VlaConfig
from rlrc_ros.vla.linear import Int4Linear, Int8Linear, LlmInt8Linear, Nf4Linear, QuantizedLinear
import torch
from torch import nn
from torch.nn import functional

PART_STARTS = {'decoder': 'language_model.model.layers.', 'head': 'language_model.lm_head',
               'vision': 'vision_backbone.', 'projector': 'projector.'}
"""Where each part's linear layers are, by how their names begin."""
STEM_INPUTS = 256
"""A convolution whose output looks at so many numbers is worth storing in few bits; the first ones
of a stem have 27 and 144, and hold next to nothing."""
EMBEDDINGS = 'language_model.model.embed_tokens.'
"""How the names of the embedding table's tensors begin."""


class HostEmbedding(nn.Embedding):
    """
    The embedding table in host memory; the rows of the action ids on the device as well.

    A prompt's tokens are looked up on the host, once an answer. Decoded tokens are all action ids,
    so decoding never waits for the host.

    :param bins: action ids, the last ones before `action_end`
    """

    def __init__(self, vocab_size: int, hidden_size: int, action_end: int, bins: int):
        super().__init__(vocab_size, hidden_size)
        self._low, self._end = action_end - bins, action_end
        self.register_buffer('action_rows', None, persistent=False)

    @property
    def device(self) -> torch.device:
        """Return where the table is."""
        return self.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Return what its rows are looked up in."""
        return self.weight.dtype

    def rows(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings (..., E) of ids (...) beside the table, where both are."""
        return functional.embedding(input_ids, self.weight)

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Keep the action ids' rows on the device."""
        ids = torch.arange(self._low, self._end, device=self.device)
        self.action_rows = self.rows(ids).detach().to(device, dtype)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings (..., E) of ids (...), where the ids are."""
        return self.rows(input_ids.to(self.device)).to(input_ids.device)

    def embed_actions(self, action_ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings (..., E) of action ids (...), without asking the host."""
        return functional.embedding(action_ids - self._low, self.action_rows)


class Int8HostEmbedding(HostEmbedding):
    """The same with a byte a number and a scale a row."""

    def __init__(self, vocab_size: int, hidden_size: int, action_end: int, bins: int):
        super().__init__(vocab_size, hidden_size, action_end, bins)
        del self.weight
        self.logical_parameters = vocab_size * hidden_size
        self.register_buffer('weight_int8', torch.empty(
            vocab_size, hidden_size, dtype=torch.int8))
        self.register_buffer('weight_scale', torch.empty(vocab_size, dtype=torch.bfloat16))

    @property
    def device(self) -> torch.device:
        """Return where the table is."""
        return self.weight_int8.device

    @property
    def dtype(self) -> torch.dtype:
        """Return what its rows are looked up in: the model's dtype once it is placed."""
        return torch.float32 if self.action_rows is None else self.action_rows.dtype

    def rows(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings (..., E) of ids (...) beside the table, where both are."""
        whole = self.weight_int8[input_ids].float() * self.weight_scale[input_ids, None].float()
        return whole.to(self.dtype)


class UnfoldedConv(nn.Module):
    """A convolution as a linear layer over the numbers that each output looks at."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.window = {'kernel_size': conv.kernel_size, 'stride': conv.stride,
                       'padding': conv.padding}
        self.linear = nn.Linear(
            conv.in_channels * math.prod(conv.kernel_size), conv.out_channels,
            conv.bias is not None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, N, H', W')."""
        sides = [(side + 2 * padding - size) // stride + 1 for side, size, stride, padding in zip(
            x.shape[-2:], *(self.window[name] for name in ('kernel_size', 'stride', 'padding')))]
        rows = functional.unfold(x, **self.window).transpose(1, 2)  # (B, H' W', C x window)
        return self.linear(rows).transpose(1, 2).unflatten(2, sides)


def stem_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Yield name and layer of every convolution that is worth storing in few bits."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight[0].numel() >= STEM_INPUTS:
            yield name, module


def part_of(name: str) -> str | None:
    """Return the part that a layer of this name belongs to, if any is quantised by parts."""
    return next((part for part, start in PART_STARTS.items() if name.startswith(start)), None)


def linear_layers(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Yield name, part and layer of every linear layer that can be quantised, or is."""
    for name, module in model.named_modules():
        part = part_of(name)
        if part is not None and isinstance(module, (nn.Linear, QuantizedLinear)):
            yield name, part, module


def make_layer(scheme: str, in_features: int, out_features: int, bias: bool,
               group_size: int) -> QuantizedLinear:
    """Return an empty layer of a scheme."""
    if scheme == 'int4':
        return Int4Linear(in_features, out_features, bias, group_size)
    kind = {'int8': Int8Linear, 'nf4': Nf4Linear, 'llm.int8': LlmInt8Linear}[scheme]
    return kind(in_features, out_features, bias)


def replace_layer(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of the one of that name."""
    parent, _, child = name.rpartition('.')
    setattr(model.get_submodule(parent), child, layer)


def rebuild(model: nn.Module, config: VlaConfig) -> None:
    """Replace the layers of a freshly built model as config.quantization says."""
    record: QuantizationConfig = config.quantization
    language, decoder, action = model.language_model, config.decoder, config.action
    if record.action_head:
        language.lm_head = nn.Linear(decoder.hidden_size, action.bins, bias=False)
    if record.host_embeddings:
        table = Int8HostEmbedding if record.embeddings == 'int8' else HostEmbedding
        language.model.embed_tokens = table(
            decoder.vocab_size, decoder.hidden_size, action.vocab_end, action.bins)
    if record.stem:
        for name, layer in list(stem_convolutions(model)):
            replace_layer(model, name, UnfoldedConv(layer))
    for name, part, layer in list(linear_layers(model)):
        scheme = getattr(record, part)
        if scheme != 'bf16':
            replace_layer(model, name, make_layer(
                scheme, layer.in_features, layer.out_features, layer.bias is not None,
                record.group_size))


def pack(model: nn.Module, config: VlaConfig, device: torch.device) -> None:
    """Get a model whose stored tensors are on their devices ready to run."""
    record: QuantizationConfig = config.quantization
    for _, part, layer in linear_layers(model):
        if isinstance(layer, QuantizedLinear):
            layer.pack(keep_dense=part == 'decoder' and record.prefill == 'bf16')
    if record.host_embeddings:
        language = model.language_model.model
        language.embed_tokens.place(device, language.norm.weight.dtype)


def _by_part(counts: dict[str, int], parts: dict[str, str]) -> dict[str, int]:
    result = dict.fromkeys(parts.values(), 0)
    for name, count in counts.items():
        result[next(part for start, part in parts.items() if name.startswith(start))] += count
    return result


def parameters_by_part(model: nn.Module, parts: dict[str, str]) -> dict[str, int]:
    """
    Return how many parameters the model stands for, whatever they are stored in.

    :param parts: part by how its tensors' names begin; the first that fits counts
    """
    layers = {f'{name}.': layer for name, layer in model.named_modules()
              if isinstance(layer, (QuantizedLinear, Int8HostEmbedding))}
    counts = {name: layer.logical_parameters for name, layer in layers.items()}
    counts |= {name: each.numel() for name, each in model.named_parameters()
               if f'{name.rpartition(".")[0]}.' not in layers}
    return _by_part(counts, parts)


def bytes_by_part(model: nn.Module, parts: dict[str, str]) -> dict[str, int]:
    """Return the bytes of the model's tensors in its file, whose plain weights are bf16."""
    buffers = dict(model.named_buffers())
    return _by_part({name: each.numel() * (each.element_size() if name in buffers else 2)
                     for name, each in model.state_dict().items()}, parts)
