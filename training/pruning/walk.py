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
Go through a decoder layer by layer, forwards for statistics, backwards for gradients.

This is what keeps the memory small. Backwards, only the layers' inputs are kept; each layer is run
once more for each sample, its own gradients are summed in fp32, handed over and forgotten before
the layer below is touched. Beside the weights there are never more gradients than one layer has:
at 7B in bf16 15.1 GB of weights, 1.2 GB of gradients (2 GB with squares), and the inputs of 32
layers (0.26 MB a token). The sums are those of one backward pass of the mean loss; that the
samples go through one by one changes only the order of additions.

Legend: L tokens of a sample, E hidden_size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlrc_ros.vla.language import Decoder, LanguageModel
import torch
from torch import nn

LINEARS = ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj', 'self_attn.o_proj',
           'mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj')
"""The seven matrices of a decoder layer."""


@dataclass(frozen=True)
class Sample:
    """One calibration sequence."""

    embeddings: torch.Tensor
    """(1, L, E), image tokens included."""
    loss: Callable[[torch.Tensor], torch.Tensor]
    """Hidden states (1, L, E) behind the last norm → this sample's loss."""
    pixels: torch.Tensor | None = None
    """(1, 3 x towers, H, W), where there is an image."""


class GradientSums:
    """Mean gradient of the samples, and mean squared gradient where it is asked for."""

    def __init__(self, parameters: dict[str, nn.Parameter], samples: int, squares: bool):
        self.samples = samples
        self.mean = {name: torch.zeros_like(each, dtype=torch.float32)
                     for name, each in parameters.items()}
        self.square = {name: torch.zeros_like(each) for name, each in self.mean.items()} \
            if squares else {}

    def add(self, name: str, gradient: torch.Tensor) -> None:
        """Add one sample's gradient of one matrix."""
        self.mean[name].add_(gradient, alpha=1.0 / self.samples)
        if self.square:
            gradient = gradient.float()
            self.square[name].addcmul_(gradient, gradient, value=1.0 / self.samples)


@dataclass(frozen=True)
class LayerGradients:
    """What the backward walk hands over at one layer."""

    index: int
    sums: GradientSums
    gate: float
    """Mean over the samples of |dloss/dgate|, a gate of 1 on all that the layer adds: to first
    order what the loss changes by when the layer is left out."""


def linear(layer: nn.Module, name: str) -> nn.Linear:
    """Return one of the seven."""
    return layer.get_submodule(name)


class Statistic:
    """What a forward walk gathers about the input of one matrix; subclasses say what."""

    def add(self, x: torch.Tensor) -> None:
        """Add one sample's inputs (L, in_features)."""
        raise NotImplementedError


@torch.no_grad()
def walk_forward(decoder: Decoder, samples: Sequence[Sample], names: Sequence[str],
                 make: Callable[[nn.Linear], Statistic],
                 visit: Callable[[int, nn.Module, dict[str, Statistic]], bool]) -> None:
    """
    Gather statistics of the matrices `names` of each layer and hand them to visit().

    :param visit: takes index, layer and statistics; returns whether it changed the layer, in which
        case its new output is what the next layer sees
    """
    inputs = [sample.embeddings for sample in samples]
    for index, layer in enumerate(decoder.layers):
        statistics = {name: make(linear(layer, name)) for name in names}
        hooks = [linear(layer, name).register_forward_pre_hook(
            lambda module, arguments, each=statistics[name]: each.add(arguments[0][0]))
            for name in names]
        outputs = [decoder.run_layers(x, index) for x in inputs]
        for hook in hooks:
            hook.remove()
        if visit(index, layer, statistics):
            outputs = [decoder.run_layers(x, index) for x in inputs]
        inputs = outputs


class BackwardWalk:
    """
    The gradients of the samples' mean loss, from the last layer to the first listed one.

    Iterate over it once; then `loss` is the mean loss and `input_gradients` holds each sample's
    gradient at the input of the lowest layer walked (1, L, E).

    :param to_the_bottom: walk on to the decoder's input
    """

    def __init__(self, language_model: LanguageModel, samples: Sequence[Sample], layers: range,
                 squares: bool, to_the_bottom: bool = False):
        self._language_model, self._samples = language_model, samples
        self._layers, self._squares = layers, squares
        self._lowest = 0 if to_the_bottom else layers.start
        self.loss = float('nan')
        self.input_gradients: list[torch.Tensor] = []

    def __iter__(self) -> Iterator[LayerGradients]:
        """Yield the listed layers' gradients, last layer first."""
        decoder = self._language_model.model
        states = self._forward(decoder)
        gradients, losses = [], []
        for sample, state in zip(self._samples, states.pop()):
            with torch.enable_grad():
                state = state.detach().requires_grad_()
                loss = sample.loss(decoder.norm(state))
            gradients.append(torch.autograd.grad(loss, state)[0])
            losses.append(float(loss.detach()))
        self.loss = sum(losses) / len(losses)
        for index in range(len(decoder.layers) - 1, self._lowest - 1, -1):
            layer = decoder.layers[index]
            wanted = {name: linear(layer, name).weight for name in LINEARS} \
                if index in self._layers else {}
            sums = GradientSums(wanted, len(self._samples), self._squares)
            gate = 0.0
            inputs = states.pop()
            for number, below in enumerate(gradients):
                gradients[number], change = self._through(
                    decoder, index, inputs[number], below, wanted, sums)
                gate += change / len(self._samples)
            if wanted:
                yield LayerGradients(index, sums, gate)
            del sums, inputs, wanted  # before the next layer's are made
        self.input_gradients = gradients

    @torch.no_grad()
    def _forward(self, decoder: Decoder) -> list[list[torch.Tensor]]:
        """Return the inputs of the layers that are walked, and what leaves the last one."""
        inputs, states = [sample.embeddings for sample in self._samples], []
        for index in range(len(decoder.layers)):
            if index >= self._lowest:
                states.append(inputs)
            inputs = [decoder.run_layers(x, index) for x in inputs]
        return [*states, inputs]

    def _through(self, decoder: Decoder, index: int, x: torch.Tensor, gradient: torch.Tensor,
                 wanted: dict[str, nn.Parameter],
                 sums: GradientSums) -> tuple[torch.Tensor, float]:
        """Return one sample's gradient at the layer's input, and |dloss/dgate|."""
        with torch.enable_grad():
            for weight in wanted.values():
                weight.requires_grad_(True)
            x = x.detach().requires_grad_()
            out = decoder.run_layers(x, index)
        below, *own = torch.autograd.grad(out, [x, *wanted.values()], gradient)
        for (name, weight), each in zip(wanted.items(), own):
            weight.requires_grad_(False)
            sums.add(name, each)
        change = (gradient.float() * (out - x).detach().float()).sum()
        return below, float(change.abs())
