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
How near a quantised policy is to the one it came from: logits, tokens, whole actions.

Both are asked about the same frames of demonstrations. Logits are compared with the dense policy's
own answer fed to both (no error adds up over the tokens), each row less its mean, which a softmax
never sees. Whole answers are compared as each policy decodes them by itself.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
import json
from pathlib import Path

from rlrc_ros.vla.actions import ActionTokenizer
from rlrc_ros.vla.model import Vla
from rlrc_training.answered_frames import AnsweredFrames, free_running, teacher_forced
import torch


@dataclass(frozen=True)
class Fidelity:
    """One variant against the dense policy."""

    variant: str
    mebibytes: float
    """Weights that the device holds."""
    logit_error: float
    """Norm of the difference by the norm of the dense logits, over all frames and tokens."""
    token_agreement: float
    """Share of tokens that are most likely for both, the dense answer fed to both."""
    bin_agreement: float
    """Likewise, but the next bin counts too: neighbours lie 0.4 % of the range apart."""
    action_agreement: float
    """Share of whole answers that are equal, each policy decoding by itself."""
    action_l1: float
    """Mean absolute difference of those answers, normalised (the range is 2)."""
    frames: int


@torch.inference_mode()
def compare(variant: str, mebibytes: float, model: Vla, dense: Vla,
            frames: AnsweredFrames) -> Fidelity:
    """Compare a model with the dense one whose answers the frames hold."""
    tokenizer = ActionTokenizer(dense.config.action)
    difference, norm, tokens, near, actions, l1 = 0.0, 0.0, 0, 0, 0, 0.0
    for rows in frames.batches():
        wanted = dense.action_logits(teacher_forced(dense, frames, rows)).float()  # (B, A, bins)
        found = model.action_logits(teacher_forced(model, frames, rows)).float()
        wanted, found = (each - each.mean(-1, keepdim=True) for each in (wanted, found))
        difference += float((wanted - found).square().sum())
        norm += float(wanted.square().sum())
        apart = (wanted.argmax(-1) - found.argmax(-1)).abs()
        tokens += int((apart == 0).sum())
        near += int((apart <= 1).sum())
        answers = free_running(model, frames, rows)
        actions += int((answers == frames.answers[rows]).all(1).sum())
        l1 += float(abs(tokenizer.decode(answers.numpy())
                        - tokenizer.decode(frames.answers[rows].numpy())).sum())
    count, length = frames.answers.shape
    return Fidelity(variant, mebibytes, (difference / norm) ** 0.5, tokens / (count * length),
                    near / (count * length), actions / count, l1 / (count * length), count)


def as_markdown(results: Iterable[Fidelity]) -> str:
    """Return the comparison as a table."""
    lines = ['| variant | MiB | logits, relative error | tokens equal | within a bin | '
             'answers equal | action L1 (normalised) |', '|---|---|---|---|---|---|---|']
    lines += [f'| {each.variant} | {each.mebibytes:.2f} | {each.logit_error:.4f} | '
              f'{each.token_agreement:.1%} | {each.bin_agreement:.1%} | '
              f'{each.action_agreement:.1%} | {each.action_l1:.4f} |'
              for each in results]
    return '\n'.join(lines)


def write(folder: Path, results: list[Fidelity], origin: dict) -> None:
    """Write fidelity.md and fidelity.json into a folder."""
    title = (f"Fidelity to {origin['checkpoint']}: {results[0].frames} frames, "
             f"{origin['machine']}, commit {origin['commit']}")
    (folder / 'fidelity.md').write_text(
        f'{title}\n\n{as_markdown(results)}\n\n    {origin["command"]}\n')
    (folder / 'fidelity.json').write_text(json.dumps(
        {**origin, 'results': [asdict(each) for each in results]}, indent=1))
