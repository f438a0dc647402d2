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
Instruction → token ids. One place, for training, sim and robot.

OpenVLA's prompt, lower-cased instruction, one BOS in front, and behind it the lone-space token
that stands between prompt and actions (29871 at 7B), which its training data carries and its
inference code appends when the tokenizer has not.
"""

from collections.abc import Iterable

from rlrc_ros.vla.config import OPENVLA_PROMPT, VlaConfig
from tokenizers import decoders, models, pre_tokenizers, Tokenizer, trainers
import torch

SPECIAL_TOKENS = ('<unk>', '<s>', '</s>', '<pad>')
"""In the small tokenizers that we train; ids 0 ... 3."""
PREFIX_TEXT = ' '


def encode(instruction: str, tokenizer: Tokenizer, config: VlaConfig) -> list[int]:
    """Return the prompt's token ids, prefix token included."""
    prompt = config.prompt.format(instruction=instruction.strip().lower())
    ids = [config.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    if ids[-1] != config.action.prefix_token_id:
        ids.append(config.action.prefix_token_id)
    return ids


def pad(prompts: list[list[int]], pad_id: int,
        multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids (B, T) padded behind to a multiple of some length, and true lengths (B,)."""
    lengths = torch.tensor([len(ids) for ids in prompts])
    padded = torch.full((len(prompts), -(-int(lengths.max()) // multiple) * multiple), pad_id)
    for row, ids in enumerate(prompts):
        padded[row, :len(ids)] = torch.tensor(ids)
    return padded, lengths


def train_tokenizer(instructions: Iterable[str], vocab_size: int) -> Tokenizer:
    """
    Train a byte-level BPE on prompts; unknown words fall back to bytes, so none is refused.

    :param vocab_size: at most so many ids, special tokens and the 256 bytes included
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    prompts = [OPENVLA_PROMPT.format(instruction=each.lower()) for each in instructions]
    tokenizer.train_from_iterator(prompts, trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer
