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
The whole VLA: towers + projector + decoder + head, with OpenVLA's key names and token order.

The decoder sees [BOS] [image patches] [rest of the prompt] [action tokens]. Training asks for
the logits of the action tokens in one pass; acting prefills the prompt once, then decodes token by
token. A model of OpenVLA-OFT has the same parts and a few more, and decodes in parallel:
vla/parallel.py.

Legend: B batch, C cameras, P patches, T prompt tokens (padded), A action tokens, E hidden_size,
V vocabulary.
"""

from dataclasses import dataclass

from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.language import KVCache, LanguageModel
from rlrc_ros.vla.parallel import L1ActionHead, ProprioProjector, slot_states
from rlrc_ros.vla.quantized import HostEmbedding, rebuild
from rlrc_ros.vla.vision import VisionBackbone
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

FRESH_BY_WIDTH = ('vision_backbone', 'projector', 'action_head', 'proprio_projector')
"""Parts whose fresh weights are drawn with deviation 1 / sqrt(inputs)."""


class Projector(nn.Module):
    """
    Vision features → decoder embeddings: linear layers with an exact GELU between them.

    Three layers are OpenVLA's fused-gelu-mlp, for two towers; two are its gelu-mlp, for one.
    """

    def __init__(self, vision_dim: int, hidden_size: int, layers: int):
        super().__init__()
        inner = 4 * vision_dim if layers == 3 else hidden_size
        self.fc1 = nn.Linear(vision_dim, inner)
        self.fc2 = nn.Linear(inner, hidden_size)
        if layers == 3:
            self.fc3 = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, P, vision_dim) to (B, P, E)."""
        x = self.fc2(functional.gelu(self.fc1(x)))
        return self.fc3(functional.gelu(x)) if hasattr(self, 'fc3') else x


@dataclass(frozen=True)
class Decoded:
    """What greedy or sampled decoding gives."""

    action_ids: torch.Tensor
    """(B, A) token ids, all of them action ids."""
    logprobs: torch.Tensor
    """(B, A) fp32, of the chosen ids among the action ids, at the temperature used."""
    first_hidden: torch.Tensor
    """(B, E) hidden state that predicts the first action token; a critic reads it."""
    action_logprobs: torch.Tensor
    """(B, A, bins) fp32, of every action id, lowest id first, at the temperature used."""


class Vla(nn.Module):
    """A vision-language-action model of any size that a VlaConfig describes."""

    def __init__(self, config: VlaConfig):
        super().__init__()
        self.config = config
        self.vision_backbone = VisionBackbone(config.towers)
        self.projector = Projector(
            config.vision_dim, config.decoder.hidden_size, config.projector_layers)
        self.language_model = LanguageModel(config.decoder)
        if config.parallel and config.parallel.head == 'l1':
            self.action_head = L1ActionHead(config.decoder.hidden_size, config.action.dim)
        if config.proprio_dim:
            self.proprio_projector = ProprioProjector(
                config.proprio_dim, config.decoder.hidden_size)
        if config.quantization is not None:
            rebuild(self, config)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights: normal(0, 0.02), residual outputs scaled down with depth."""
        depth = len(self.config.decoder.layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2 or 'token' in name.split('.')[-1]:
                continue
            if parameter.dim() == 4:
                fan_in = parameter[0].numel()
                parameter.data.normal_(0, (2.0 / fan_in) ** 0.5, generator=generator)
                continue
            spread = 0.02
            if name.endswith(('o_proj.weight', 'down_proj.weight')):
                spread /= (2 * depth) ** 0.5
            elif name.startswith(FRESH_BY_WIDTH) and parameter.dim() == 2:
                spread = parameter.shape[1] ** -0.5
            parameter.data.normal_(0, spread, generator=generator)

    # ------------------------------------------------------------------ parts

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels (B, C x 3 x towers, H, W) into decoder embeddings (B, C x P, E)."""
        each = pixels.reshape(-1, 3 * len(self.config.towers), *pixels.shape[2:])
        patches = self.projector(self.vision_backbone(each))  # (B x C, P, E)
        return patches.reshape(len(pixels), -1, patches.shape[-1])

    def embed(self, input_ids: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """Insert the patches (B, P, E) behind the first token of input_ids (B, T)."""
        text = self.language_model.model.embed_tokens(input_ids)
        return torch.cat([text[:, :1], patches.to(text.dtype), text[:, 1:]], dim=1)

    def action_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """
        Return logits (..., bins) over the action ids alone, lowest id first.

        Only these rows of the head are multiplied: every other id is forbidden anyway. A
        quantised head that was not cut has no rows to pick, so it is multiplied whole.
        """
        head, end = self.language_model.lm_head, self.config.action.vocab_end
        low = end - self.config.action.bins
        if head.out_features == self.config.action.bins:
            return head(hidden)
        if isinstance(head, nn.Linear):
            return functional.linear(hidden, head.weight[low:end])
        return head(hidden)[..., low:end]

    def embed_actions(self, action_ids: torch.Tensor) -> torch.Tensor:
        """Return embeddings (..., E) of action ids (...)."""
        table = self.language_model.model.embed_tokens
        if isinstance(table, HostEmbedding) and table.action_rows is not None:
            return table.embed_actions(action_ids)
        return table(action_ids)

    # --------------------------------------------------------------- training

    def forward(self, pixels: torch.Tensor, input_ids: torch.Tensor,
                target_positions: torch.Tensor) -> torch.Tensor:
        """
        Return the hidden states at the positions that predict the targets.

        :param pixels: (B, 3 x towers, H, W)
        :param input_ids: (B, T + A) prompt and teacher-forced action tokens, padded behind
        :param target_positions: (B, K) index in input_ids of the tokens to predict
        :return: (B, K, E)
        """
        return self.gather_hidden(self.encode_image(pixels), input_ids, target_positions)

    def gather_hidden(self, patches: torch.Tensor, input_ids: torch.Tensor,
                      target_positions: torch.Tensor) -> torch.Tensor:
        """
        Do as forward() does, from encoded patches (B, P, E).

        A model that decodes in parallel sees the prompt alone, which ends where the first target
        stands; the teacher's tokens stay out of its slots.
        """
        if self.config.parallel is not None:
            lengths = target_positions[:, 0]
            prompts = input_ids[:, :int(lengths.max())]
            return slot_states(self, patches, prompts, lengths)[:, :target_positions.shape[1]]
        hidden = self.language_model.model(self.embed(input_ids, patches))
        # The token at index i of input_ids stands at P + i, and P + i - 1 predicts it.
        where = target_positions + self.config.num_patches - 1
        return hidden.gather(1, where[..., None].expand(-1, -1, hidden.shape[-1]))

    # ----------------------------------------------------------------- acting

    @torch.inference_mode()
    def act(self, pixels: torch.Tensor, input_ids: torch.Tensor, lengths: torch.Tensor,
            temperature: float = 0.0, generator: torch.Generator | None = None,
            action_tokens: int | None = None, uniforms: torch.Tensor | None = None) -> Decoded:
        """
        Decode one answer for each row; exactly A tokens, none of them can be anything else.

        A model that decodes in parallel draws all of them from one pass, each by itself.
        An end token cannot cut an answer short. There is no attention mask to extend over the
        prefix token: a row's causal positions say what it sees.

        :param pixels: (B, 3 x towers, H, W)
        :param input_ids: (B, T) prompts that end with the prefix token, padded behind
        :param lengths: (B,) true length of each prompt
        :param temperature: 0 takes the most likely token, more samples
        :param action_tokens: A; without it, what the config says
        :param uniforms: (B, A) in [0, 1) that sampling draws with instead of the generator, so
            that a row's answer does not depend on who else is in the batch
        :raises ValueError: a model that regresses actions or reads the robot's state
        """
        config = self.config
        if config.parallel is not None:
            return self._act_at_once(
                pixels, input_ids, lengths, temperature, generator, uniforms)
        action_tokens = action_tokens or config.action_tokens
        decoder = self.language_model.model
        embeddings = self.embed(input_ids, self.encode_image(pixels))
        batch, length, _ = embeddings.shape
        cache = KVCache(config.decoder, batch, length + action_tokens,
                        embeddings.device, embeddings.dtype)
        hidden = decoder(embeddings, cache=cache)
        last = lengths + config.num_patches - 1  # (B,) slot of each prompt's last token
        hidden = hidden[torch.arange(batch, device=hidden.device), last]  # (B, E)
        first_hidden = hidden
        low_id = config.action.lowest_id
        ids, logprobs = [], []  # one (B,) and one (B, bins) a step
        for step in range(action_tokens):
            if step:
                token = self.embed_actions(ids[-1])[:, None]  # (B, 1, E)
                hidden = decoder(token, (last + step)[:, None], cache)[:, 0]
            scores = self.action_logits(hidden).float()  # (B, bins)
            scores = torch.log_softmax(scores / (temperature or 1.0), dim=-1)
            drawn = None if uniforms is None else uniforms[:, step]
            ids.append(_choose(scores, temperature, generator, drawn) + low_id)
            logprobs.append(scores)
        action_ids, action_logprobs = torch.stack(ids, 1), torch.stack(logprobs, 1)
        chosen = action_logprobs.gather(2, (action_ids - low_id)[..., None])[..., 0]
        return Decoded(action_ids, chosen, first_hidden, action_logprobs)

    def _act_at_once(self, pixels: torch.Tensor, input_ids: torch.Tensor, lengths: torch.Tensor,
                     temperature: float, generator: torch.Generator | None,
                     uniforms: torch.Tensor | None) -> Decoded:
        """Answer from the slots of one pass, each by itself; otherwise as act()."""
        config = self.config
        if config.parallel.head != 'discrete' or config.proprio_dim:
            raise ValueError('this model decodes in parallel and regresses its actions or reads '
                             "the robot's state; use Policy, or action_states()")
        states = slot_states(self, self.encode_image(pixels), input_ids, lengths)
        scores = self.action_logits(states[:, :-1]).float()  # (B, A, bins)
        scores = torch.log_softmax(scores / (temperature or 1.0), dim=-1)
        choice = _choose(scores, temperature, generator, uniforms)
        chosen = scores.gather(2, choice[..., None])[..., 0]
        low_id = config.action.lowest_id
        return Decoded(choice + low_id, chosen, states[:, 0], scores)


def _choose(scores: torch.Tensor, temperature: float, generator: torch.Generator | None,
            uniforms: torch.Tensor | None) -> torch.Tensor:
    """Return one index (...) for each row of log-probabilities (..., bins); see Vla.act()."""
    if not temperature:
        return scores.argmax(dim=-1)
    if uniforms is not None:
        below = scores.double().exp().cumsum(-1) <= uniforms[..., None]
        return below.sum(-1).clamp(max=scores.shape[-1] - 1)
    rows = scores.exp().flatten(0, -2)
    return torch.multinomial(rows, 1, generator=generator).view(scores.shape[:-1])


class _WithoutDrawing(TorchFunctionMode):
    """Leaves fresh parameters as they are."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Skip normal numbers, in a layer's name or torch's own; do everything else."""
        if function in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs['tensor']
        return function(*args, **(kwargs or {}))


def skeleton(config: VlaConfig) -> Vla:
    """
    Return the model on the meta device: names and shapes, no memory.

    Random numbers are not drawn there, because torch would import sympy for it: a second and
    80 MB, in every process that only reads a checkpoint.
    """
    with torch.device('meta'), _WithoutDrawing():
        return Vla(config)
