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
Store a policy in 4 or 8 bits: `rlrc quantize checkpoints/nano --group-size 64 --out runs/int4`.

The third stage of RLRC (arXiv 2506.17639). Ours differs from the paper's: int4 runs on torch's own
kernels, so that one folder opens on CPU and GPU and nothing else has to be installed; the paper's
nf4 and llm.int8 are there too, by bitsandbytes. Decoder, head, vision and projector are chosen
apart. Three savings are exact: the head cut to the action rows, the embedding table kept on the
host, ViT blocks that no action depends on dropped.

    rlrc quantize CHECKPOINT --out DIR          a checkpoint folder like any other
        ... --rounding gptq --data runs/demos   rounded by what the layers see; also fidelity.md
    rlrc quantize CHECKPOINT --compare --data runs/demos --out DIR    every scheme, fidelity.md
    rlrc quantize --plan 7b                     the byte table of an architecture, without weights
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
import json
import logging
from pathlib import Path
import shlex
import sys
import tempfile
from typing import Annotated

from rich.console import Console
from rich.table import Table
from rlrc_ros.vla.checkpoint import (
    Checkpoint,
    inspect,
    open_checkpoint,
    refuse_quantized,
    save_checkpoint,
    write_folder,
)
from rlrc_ros.vla.config import QuantizationConfig, QUANTIZED_PARTS, VlaConfig
from rlrc_ros.vla.inspection import statistics_document
from rlrc_ros.vla.linear import QuantizedLinear
from rlrc_ros.vla.model import skeleton, Vla
from rlrc_ros.vla.quantized import (
    EMBEDDINGS,
    linear_layers,
    replace_layer,
    stem_convolutions,
    UnfoldedConv,
)
from rlrc_training import byte_table, fidelity
from rlrc_training.answered_frames import AnsweredFrames, load_answered, teacher_forced
from rlrc_training.byte_table import check_group_size, MIB, Variant
from rlrc_training.command_line import run_verb
from rlrc_training.data import episode_paths
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.rounding import int8_tensors, ROUNDINGS, stored_tensors
import torch
import tyro

log = logging.getLogger('rlrc.quantize')
FP32_MOST_PARAMETERS = 1_000_000_000
"""Larger models are held in bf16 while they are quantised, as their files are."""
HESSIAN_BYTES = 2 * 2**30
"""Of calibration statistics at once; layers beyond it wait for another pass over the frames."""


@dataclass(frozen=True)
class QuantizeConfig:
    """What to store how."""

    checkpoint: Annotated[Path, tyro.conf.Positional] = Path('checkpoints/nano')
    """Checkpoint folder, ours or official; not a quantised one."""
    out: Path | None = None
    """Folder for the result; runs/quantize/NAME by default."""
    overwrite: bool = False
    """Replace what is there."""
    decoder: str = 'int4'
    """Scheme of the decoder's layers: bf16, int4, int8, nf4 or llm.int8."""
    head: str = 'bf16'
    """Scheme of the action head; cut to its rows it is small."""
    vision: str = 'bf16'
    """Scheme of the vision towers."""
    projector: str = 'bf16'
    """Scheme of the projector."""
    group_size: int = 128
    """Weights of a row that share an int4 scale: 32, 64, 128 or 256."""
    short_groups: tuple[str, ...] = ('vision',)
    """Parts whose rows may end in a group that zeros fill up: SigLIP's 4304 channels are no
    multiple of any group size, and are not ours to change."""
    rounding: str = 'hqq'
    """nearest, hqq or gptq (which wants --data); see rlrc_training.rounding."""
    action_head: bool = True
    """Cut the head to the rows of the action ids (exact)."""
    host_embeddings: bool = True
    """Keep the embedding table in host memory (exact)."""
    prefill: str = 'packed'
    """bf16 keeps the decoder's weights in bf16 as well, 2 bytes each, and prefills with them."""
    embeddings: str = 'bf16'
    """Scheme of the embedding table, bf16 or int8: one scale a row, to the nearest."""
    stem: bool = False
    """Store the towers' larger convolutions in the vision's scheme too: of small towers they are a
    third, of ViTs next to nothing."""
    device: str = 'auto'
    """Where weights are rounded and frames run: `auto`, `cpu` or `cuda`. At 7B a CPU takes hours.
    """
    data: Path | None = None
    """Folder of demonstrations (`rlrc collect`), to calibrate on and to measure fidelity with."""
    calibration_frames: int = 128
    """Frames that gptq looks at, from episodes of even place."""
    fidelity_frames: int = 200
    """Frames that fidelity is measured on, from episodes of odd place."""
    compare: bool = False
    """Measure every scheme and rounding on --data; write that table instead of a checkpoint."""
    plan: str | None = None
    """Print the byte table of an architecture: 7b, a preset, a config.json or a folder."""
    keep_heads: int | None = None
    """Heads that the plan's pruned layers keep; by default RLRC's 5 %, in whole groups."""
    keep_channels: int | None = None
    """Channels that they keep; likewise."""

    def __post_init__(self) -> None:
        assert self.record  # made here for its own bounds
        if self.rounding not in ROUNDINGS:
            raise ValueError(f'rounding {self.rounding!r} is not known; there are: '
                             f'{", ".join(ROUNDINGS)}')
        if strange := set(self.short_groups) - set(QUANTIZED_PARTS):
            raise ValueError(f'short_groups {min(strange)!r} is no part; there are: '
                             f'{", ".join(QUANTIZED_PARTS)}')
        if self.data is None and (self.compare or self.rounding == 'gptq'):
            asked = '--compare' if self.compare else '--rounding gptq'
            raise ValueError(f'{asked} wants demonstrations: add --data runs/demos, made by '
                             '`rlrc collect`')
        for name in ('keep_heads', 'keep_channels'):
            if getattr(self, name) is not None and self.plan is None:
                raise ValueError(f'{name} {getattr(self, name)} is for --plan alone; what is '
                                 'quantised keeps what `rlrc prune` left')
        for name in ('calibration_frames', 'fidelity_frames'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)}')

    @property
    def record(self) -> QuantizationConfig:
        """Return what config.json will say."""
        return QuantizationConfig(self.decoder, self.head, self.vision, self.projector,
                                  self.group_size, self.action_head, self.host_embeddings,
                                  self.prefill, self.stem, self.embeddings)


# -------------------------------------------------------------------- the work


def lean(model: Vla, record: QuantizationConfig) -> Vla:
    """Return the model with its head cut and its table kept aside as the record says, in bf16."""
    config = model.config
    plain = replace(record, **dict.fromkeys(QUANTIZED_PARTS, 'bf16'), stem=False,
                    embeddings='bf16')
    result, weights = skeleton(replace(config, quantization=plain)), model.state_dict()
    if record.stem:
        for name, layer in list(stem_convolutions(result)):
            replace_layer(result, name, UnfoldedConv(layer))
            weights[f'{name}.linear.weight'] = weights.pop(f'{name}.weight').flatten(1)
            if layer.bias is not None:
                weights[f'{name}.linear.bias'] = weights.pop(f'{name}.bias')
    head = 'language_model.lm_head.weight'
    if record.action_head:
        end = config.action.vocab_end
        weights[head] = weights[head][end - config.action.bins:end].clone()
    result.load_state_dict(weights, assign=True)
    return result.eval().requires_grad_(False)


def _hessians(model: Vla, names: list[str],
              frames: AnsweredFrames) -> dict[str, torch.Tensor]:
    """Return, by layer, the sum over its inputs of x xᵀ (K, K)."""
    sums, hooks = {}, []
    for name in names:
        layer = model.get_submodule(name)
        sums[name] = torch.zeros(layer.in_features, layer.in_features,
                                 device=layer.weight.device)

        def add(_, inputs, name=name):
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            sums[name] += x.T @ x
        hooks.append(layer.register_forward_pre_hook(add))
    for rows in frames.batches():
        model.language_model.lm_head(teacher_forced(model, frames, rows))
    for hook in hooks:
        hook.remove()
    return sums


def _passes(target: Vla, calibrated: bool) -> Iterator[list[tuple[str, QuantizedLinear]]]:
    """Yield the quantised layers in order, so many at once as their Hessians may take memory."""
    chunk, size = [], 0
    for name, _, layer in linear_layers(target):
        if isinstance(layer, QuantizedLinear):
            needs = 4 * layer.in_features ** 2 * calibrated
            if chunk and size + needs > HESSIAN_BYTES:
                yield chunk
                chunk, size = [], 0
            chunk.append((name, layer))
            size += needs
    if chunk:
        yield chunk


def quantize_model(dense: Vla, record: QuantizationConfig, rounding: str,
                   calibration: AnsweredFrames | None = None) -> Vla:
    """
    Return the dense model's quantised twin, as stored (not packed).

    :param calibration: for gptq; layers of a later pass see the earlier ones quantised
    :raises ValueError: bitsandbytes is wanted and missing
    """
    model = lean(dense, record)
    target = skeleton(replace(dense.config, quantization=record))
    state = model.state_dict()
    for layers in _passes(target, rounding == 'gptq'):
        hessians = (_hessians(model, [name for name, _ in layers], calibration)
                    if rounding == 'gptq' else {})
        for name, layer in layers:
            weight = state.pop(f'{name}.weight')
            with weight.device:
                tensors = stored_tensors(layer, weight, rounding, hessians.pop(name, None))
            state |= {f'{name}.{key}': each.contiguous() for key, each in tensors.items()}
            if rounding == 'gptq':
                layer.load_state_dict({key.rpartition('.')[2]: each for key, each in state.items()
                                       if key.startswith(f'{name}.')}, assign=True)
                model.get_submodule(name).weight.data = layer.dequantize().to(weight.dtype)
    if record.embeddings == 'int8':
        table = int8_tensors(state.pop(f'{EMBEDDINGS}weight'), 'nearest', None)
        state |= {f'{EMBEDDINGS}{name}': each for name, each in table.items()}
    target.load_state_dict(state, assign=True)
    return target.eval().requires_grad_(False)


# ------------------------------------------------------------- the command's doors


def _open_source(config: QuantizeConfig) -> Checkpoint:
    """Open what is to be quantised, after all that can be refused without its weights."""
    summary = refuse_quantized(inspect(config.checkpoint), 'quantize')
    if summary.config.parallel is not None and config.data is not None:
        raise ValueError(f'{config.checkpoint} is an OpenVLA-OFT, which decodes in parallel; '
                         'gptq, fidelity and --compare ask a policy token after token. Leave '
                         '--data away, and round by hqq or nearest')
    records = ([record for _, record, _ in variants(config)] if config.compare
               else [config.record])
    for record in records:
        check_group_size(replace(summary.config, quantization=record), config.short_groups)
    if config.data is not None:
        episode_paths(config.data)
    if {'nf4', 'llm.int8'} & {getattr(config, part) for part in QUANTIZED_PARTS}:
        from rlrc_ros.vla import bitsandbytes_ops  # noqa: F401  (missing: says what to type)
    out = _out(config)
    if out.resolve() == config.checkpoint.expanduser().resolve():
        raise ValueError(f'--out {out} is the checkpoint itself; give another folder')
    if out.exists() and any(out.iterdir()) and not config.overwrite:
        raise ValueError(f'--out {out} is not empty; give another folder, or add --overwrite')
    dtype = torch.float32 if summary.parameters < FP32_MOST_PARAMETERS else torch.bfloat16
    return open_checkpoint(config.checkpoint, _device(config), dtype)


def _device(config: QuantizeConfig) -> str:
    cuda = torch.cuda.is_available()
    if config.device.startswith('cuda') and not cuda:
        raise ValueError(f'device {config.device!r} was asked for, but torch sees no CUDA device; '
                         'give --device cpu')
    return ('cuda' if cuda else 'cpu') if config.device == 'auto' else config.device


def _out(config: QuantizeConfig) -> Path:
    return config.out or Path('runs/quantize') / config.checkpoint.resolve().name


def _origin(config: QuantizeConfig) -> dict:
    return {'command': shlex.join(['rlrc', 'quantize', *sys.argv[1:]]),
            'checkpoint': str(config.checkpoint), 'commit': source_commit(),
            'machine': machine(), 'packages': package_versions(),
            'config': json.loads(json.dumps(asdict(config), default=str))}


def _save(folder: Path, model: Vla, source: Checkpoint, provenance: dict) -> Path:
    return save_checkpoint(folder, model, source.tokenizer,
                           statistics_document(source.summary.folder), provenance)


def _measure(variant: str, model: Vla, source: Checkpoint,
             frames: AnsweredFrames) -> fidelity.Fidelity:
    """Write the model, open it as a robot does and compare it with the dense one."""
    reference = source.model.language_model.model.norm.weight
    with tempfile.TemporaryDirectory() as folder:
        opened = open_checkpoint(_save(Path(folder) / 'written', model, source, {}),
                                 reference.device, reference.dtype)
    device = byte_table.plan_variant(variant, opened.summary.config).device
    return fidelity.compare(variant, device / MIB, opened.model, source.model, frames)


def quantize(config: QuantizeConfig) -> Path:
    """Write the quantised checkpoint; return its folder."""
    source = _open_source(config)
    model, out, origin = source.model, _out(config), _origin(config)
    calibration = heldout = None
    if config.data is not None:
        heldout = load_answered(model, source.tokenizer, config.data, config.fidelity_frames, 1)
        if config.rounding == 'gptq':
            calibration = load_answered(
                model, source.tokenizer, config.data, config.calibration_frames, 0)
    quantised = quantize_model(model, config.record, config.rounding, calibration)
    measured = []
    if heldout is not None:
        measured = [_measure(config.rounding, quantised, source, heldout)]
    stage = {'name': 'quantize', **origin, 'parent': str(config.checkpoint),
             'measured': [asdict(each) for each in measured]}
    _save(out, quantised, source, {
        'stages': [*source.summary.provenance.get('stages', []), stage]})
    if measured:
        fidelity.write(out, measured, origin)
        log.info('%s', fidelity.as_markdown(measured))
    dead = 2 * source.summary.unused_parameters
    before = byte_table.plan_variant('bf16', model.config)
    if dead:
        before = replace(before, parts={**before.parts, byte_table.DEAD: dead})
    print_bytes([before, byte_table.plan_variant('quantised', quantised.config)],
                byte_table.free_bytes(model.config, config.record, dead))
    if config.prefill == 'bf16' and config.decoder != 'bf16':
        extra = source.summary.parts['decoder'] * 2 / MIB
        log.info('prefill bf16 keeps %.2f MiB more on the device when the folder opens', extra)
    log.info('done checkpoint=%s', out)
    return out


def variants(config: QuantizeConfig) -> Iterator[tuple[str, QuantizationConfig, str]]:
    """Yield name, record and rounding of everything that --compare measures."""
    base = config.record

    def parts(decoder: str, others: str) -> QuantizationConfig:
        return replace(base, decoder=decoder, head='bf16', vision=others, projector=others)
    yield 'bf16, lean', parts('bf16', 'bf16'), 'nearest'
    for scheme, rounding in (('int8', 'nearest'), ('int8', 'gptq'), ('int4', 'nearest'),
                             ('int4', 'hqq'), ('int4', 'gptq')):
        yield f'{scheme} {rounding}, decoder', parts(scheme, 'bf16'), rounding
    yield 'int4 gptq, decoder; int8 gptq, vision', parts('int4', 'int8'), 'gptq'
    for scheme, rounding in (('int8', 'nearest'), ('int4', 'nearest'), ('int4', 'hqq'),
                             ('int4', 'gptq')):
        yield f'{scheme} {rounding}, decoder and vision', parts(scheme, scheme), rounding
    for scheme in ('nf4', 'llm.int8'):
        yield f'{scheme}, decoder', parts(scheme, 'bf16'), 'nearest'
        yield f'{scheme}, decoder and vision', parts(scheme, scheme), 'nearest'


def compare(config: QuantizeConfig) -> Path:
    """Write fidelity.md and fidelity.json over all schemes; return their folder."""
    source = _open_source(config)
    model, out = source.model, _out(config)
    calibration, heldout = (
        load_answered(model, source.tokenizer, config.data, count, first)
        for count, first in ((config.calibration_frames, 0), (config.fidelity_frames, 1)))
    results = []
    for name, record, rounding in variants(config):
        try:
            quantised = quantize_model(model, record, rounding, calibration)
        except ValueError as error:  # bitsandbytes is not installed
            log.warning('left out: %s (%s)', name, error)
            continue
        results.append(_measure(name, quantised, source, heldout))
        log.info('%s', fidelity.as_markdown(results[-1:]).splitlines()[-1])
    write_folder(out, lambda folder: fidelity.write(folder, results, _origin(config)))
    Console().print(fidelity.as_markdown(results), soft_wrap=True)
    log.info('done table=%s', out / 'fidelity.md')
    return out


# ----------------------------------------------------------------------- tables


def print_bytes(columns: list[Variant], free: dict[str, int]) -> None:
    """Print MiB by part, one column a variant, and each nearly free saving on its own line."""
    table = Table(title='weights, MiB')
    for heading in ('part', *(each.name for each in columns)):
        table.add_column(heading, justify='left' if heading == 'part' else 'right')
    rows = dict.fromkeys(part for each in columns for part, size in each.parts.items() if size)
    for part in rows:
        table.add_row(part, *(f'{each.parts.get(part, 0) / MIB:.2f}' for each in columns))
    table.add_section()
    table.add_row('on the device', *(f'{each.device / MIB:.2f}' for each in columns))
    table.add_row('table on the host', *(f'{each.host / MIB:.2f}' for each in columns))
    table.add_row('in the file', *(f'{each.file / MIB:.2f}' for each in columns))
    table.add_row(f'below {columns[0].name}', *(
        f'{columns[0].device / each.device:.1f}x' for each in columns))
    console = Console(width=max(100, 22 + 20 * len(columns)))
    console.print(table)
    for name, size in free.items():
        console.print(f'{name}: {size / MIB:.2f} MiB less, exactly the same actions')


def print_plan(config: QuantizeConfig) -> None:
    """Print the byte table of an architecture."""
    columns = byte_table.plan(config.plan, config.group_size, config.short_groups,
                              config.keep_heads, config.keep_channels)
    vla: VlaConfig = byte_table.read_architecture(config.plan)[0]
    pruned = byte_table.prune_plan(vla, config.group_size, config.keep_heads,
                                   config.keep_channels)
    middle = pruned.decoder.layers[len(pruned.decoder.layers) // 2]
    print_bytes(columns, byte_table.free_bytes(
        vla, config.record, columns[0].parts.get(byte_table.DEAD, 0)))
    Console().print(f'pruned: the layers between the first and the last keep {middle.num_heads} '
                    f'heads and {middle.intermediate_size} channels; int4 in groups of '
                    f'{config.group_size}', soft_wrap=True)


def run(config: QuantizeConfig) -> None:
    """Do what the options ask for."""
    if config.plan is not None:
        print_plan(config)
    elif config.compare:
        compare(config)
    else:
        quantize(config)


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc quantize`."""
    return run_verb('quantize', QuantizeConfig, run, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
