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
Prune a policy's decoder: `rlrc prune checkpoints/nano --data runs/demos --out runs/pruned`.

RLRC's first stage: LLM-Pruner's Taylor importance on demonstrations of your own task, whole heads
and channels removed from all decoder layers but the first and the last. Its rivals (magnitude,
Wanda, FLAP) and three things past the paper are choices on the same command: --keep-layers (fewer
and wider layers), --loss robot (what moves the arm counts more), --vision-ratio (the towers too).
What is pruned has forgotten its task; `rlrc sft --init` brings it back. OUT is a checkpoint like
any other, written whole or not at all, and holds beside it:

    pruning.json   what stays of each layer and why, parameters, bytes and FLOPs before and after
    pruning.png    the same as a picture
"""

from dataclasses import asdict
import hashlib
import json
import logging
from pathlib import Path
import shlex
import sys
import time

from rlrc_ros.vla.checkpoint import (
    Checkpoint,
    inspect,
    open_checkpoint,
    save_checkpoint,
    write_folder,
)
from rlrc_ros.vla.config import VlaConfig
from rlrc_ros.vla.inspection import CheckpointSummary, statistics_document
from rlrc_ros.vla.runtime_choice import resolved_device
from rlrc_ros.vla.shards import weight_files
from rlrc_training.command_line import run_verb
from rlrc_training.provenance import machine, package_versions, source_commit
from rlrc_training.pruning.calibration import (
    Calibration,
    check_sources,
    from_demonstrations,
    from_token_ids,
)
from rlrc_training.pruning.costs import costs
from rlrc_training.pruning.flap import flap, structured_rival
from rlrc_training.pruning.importance import rank
from rlrc_training.pruning.options import PruneConfig, PruneError
from rlrc_training.pruning.picture import draw, histogram
from rlrc_training.pruning.plan import make_plan, Plan
from rlrc_training.pruning.structure import cut_decoder, cut_towers, Decision, follow
from rlrc_training.pruning.unstructured import zero_out
import torch

log = logging.getLogger('rlrc.prune')
LARGE = 1e9
"""Parameters above which weights are handled in bf16."""
REPORT, PICTURE = 'pruning.json', 'pruning.png'
FORBIDDEN_BEFORE = ('prune', 'quantize')
"""Stages after which pruning makes no sense; the order is sft, prune, sft, rl, quantize."""


def check_stage(summary: CheckpointSummary) -> None:
    """
    Refuse a checkpoint that is pruned or quantised already.

    :raises PruneError: says what may follow what
    """
    config = summary.config
    stages = [stage.get('name') for stage in summary.provenance.get('stages', [])]
    layers = config.decoder.layers
    # The config tells it too: a folder may have lost its provenance.
    told = {'prune': len(set(layers)) > 1 or any(each.bias for each in layers)
            or any(tower.blocks for tower in config.towers),
            'quantize': config.quantization is not None}
    done = [name for name in FORBIDDEN_BEFORE if name in stages or told[name]]
    if done:
        raise PruneError(
            f'{summary.folder} is {" and ".join(f"{name}d" for name in done)} already (stages: '
            f'{", ".join(map(str, stages)) or "none"}). The order is: sft, prune, sft, rl, '
            'quantize, each on the folder before it. To prune more, prune the dense checkpoint '
            'again with a higher --ratio')


def check_calibration(summary: CheckpointSummary, config: PruneConfig) -> None:
    """
    Refuse to calibrate a policy whose loss is not the one that is measured here.

    :raises PruneError: names the methods that read weights alone
    """
    if summary.config.parallel is not None and config.calibrates:
        raise PruneError(
            f'{summary.folder} is an OpenVLA-OFT, which decodes in parallel; {config.method} '
            f'{config.importance if config.method == "llm-pruner" else "calibrated"} follows '
            'token after token. Methods that read weights alone work: --importance l1 or l2, '
            '--method magnitude or magnitude-sp')


def _statistics(summary: CheckpointSummary, config: PruneConfig) -> dict:
    """
    Return the statistics of the one data set that scales the demonstrations.

    :raises PruneError: unknown, or not said where there are several
    """
    statistics = statistics_document(summary.folder)
    key = config.unnorm_key
    if key is None and len(statistics) == 1:
        key = next(iter(statistics))
    if key not in statistics:
        raise PruneError(f'unnorm_key {key!r} is not in {summary.folder}; it has: '
                         f'{", ".join(statistics)}. Give --unnorm-key {next(iter(statistics))}')
    return {key: statistics[key]}


def _device(config: PruneConfig) -> torch.device:
    if config.device.startswith('cuda') and not torch.cuda.is_available():
        raise PruneError(f'device {config.device!r} was asked for, but torch sees no CUDA device; '
                         'give --device cpu')
    return torch.device(resolved_device(config.device))


def calibrate(opened: Checkpoint, config: PruneConfig, ids: torch.Tensor | None,
              statistics: dict) -> Calibration:
    """
    Make the samples that the method wants; none for those that look at weights alone.

    :param ids: token ids (N, L), if those were asked for
    :param statistics: of the data set that scales the demonstrations' actions
    """
    if not config.calibrates:
        return Calibration([], {'samples': 'none: the method reads weights alone'})
    if ids is not None:
        return from_token_ids(opened.model.language_model, ids)
    return from_demonstrations(opened.model, opened.tokenizer, statistics, config)


def apply_method(opened: Checkpoint, calibration: Calibration, plan: Plan,
                 config: PruneConfig) -> dict:
    """Prune the opened model in place; return what pruning.json says about each layer."""
    model, before = opened.model, opened.summary.config
    language_model, samples = model.language_model, calibration.samples
    if config.method in ('magnitude', 'wanda'):
        zeros = zero_out(language_model, samples, plan, config)
        return {'layers': [
            {**_dense(f'layer {index}', widths.num_heads, widths.intermediate_size),
             'status': 'zeros' if index in zeros else 'dense', 'zeros': zeros.get(index)}
            for index, widths in enumerate(before.decoder.layers)]}
    if config.method == 'llm-pruner':
        ranking = rank(model, samples, plan, config)
        decisions, dropped, towers = ranking.decisions, ranking.dropped, ranking.towers
        extra = {'layer_scores': ranking.layer_scores, 'calibration_loss': ranking.loss}
    else:
        rival = flap if config.method == 'flap' else structured_rival
        decisions, dropped, towers = rival(language_model, samples, plan, config), (), {}
        extra = {}
    layers = [_entry(f'layer {index}', widths, decisions.get(index), index in dropped)
              for index, widths in enumerate(before.decoder.layers)]
    layers += [_entry(f'tower {tower}.{block}', before.towers[tower].block_widths(block),
                      decision, False) for (tower, block), decision in towers.items()]
    cut_decoder(language_model, decisions, dropped)
    if towers:
        cut_towers(model, towers)
    follow(model)
    return {'layers': layers, 'dropped_layers': list(dropped), **extra}


def _dense(name: str, heads: int, channels: int) -> dict:
    return {'name': name, 'status': 'dense', 'heads_before': heads, 'channels_before': channels,
            'kept_heads': None, 'kept_channels': None}


def _entry(name: str, widths, kept: Decision | None, dropped: bool) -> dict:
    """Describe one layer or block: status, what was there, what stays, importance."""
    entry = _dense(name, widths.num_heads, widths.intermediate_size)
    if kept is None:
        return {**entry, 'status': 'dropped' if dropped else 'dense'}
    channels = kept.channels.tolist()
    return {**entry, 'status': 'pruned', 'kept_heads': kept.heads.tolist(),
            'kept_channels': channels, 'head_scores': kept.head_scores.tolist(),
            'compensated': kept.o_bias is not None,
            'histogram': histogram(kept.channel_scores.tolist(), channels)}


def _weights_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open('rb') as file:
            digest.update(hashlib.file_digest(file, 'sha256').digest())
    return digest.hexdigest()


def _report(before: VlaConfig, after: VlaConfig, plan: Plan, config: PruneConfig,
            calibration: Calibration, result: dict) -> dict:
    old, new = costs(before), costs(after)
    layers_before = old.parts['decoder']
    report = {
        'method': config.method,
        'asked': {'ratio': config.ratio, 'ratio_of': config.ratio_of},
        'plan': {'layers': [plan.layers.start, plan.layers.stop], 'kept': plan.keep_layers,
                 'ratio_of_each_layer': plan.layer_ratio, 'round_to': plan.round_to,
                 'capped': plan.capped},
        'decoder_removed': 1.0 - new.parts['decoder'] / layers_before,
        'before': old.to_json(), 'after': new.to_json(),
        'calibration': calibration.described, **result}
    zeros = [share for layer in result['layers'] for share in (layer.get('zeros') or {}).values()]
    if zeros:
        report['mean_share_of_zeros'] = sum(zeros) / len(zeros)
    return report


def prune(config: PruneConfig) -> Path:
    """Prune a checkpoint; return the new folder."""
    if config.out.exists():
        raise PruneError(f'{config.out} exists; give another --out, or delete it')
    device, summary = _device(config), inspect(config.checkpoint)
    check_stage(summary)
    check_calibration(summary, config)
    before = summary.config
    plan = make_plan(before.decoder, config)
    ids = check_sources(config, before.decoder.vocab_size, before.decoder.max_length)
    reads_demonstrations = config.calibrates and config.token_ids is None
    statistics = _statistics(summary, config) if reads_demonstrations else {}
    if plan.capped:
        log.warning('capped ratio=%.3f of the decoder needs more than max_layer_ratio=%.3f of '
                    'each listed layer; less is removed', config.ratio, config.max_layer_ratio)
    large = config.dtype == 'auto' and summary.parameters > LARGE
    dtype = torch.bfloat16 if large or config.dtype == 'bfloat16' else torch.float32
    started = time.monotonic()
    opened = open_checkpoint(config.checkpoint, device, dtype)
    calibration = calibrate(opened, config, ids, statistics)
    result = apply_method(opened, calibration, plan, config)
    report = _report(before, opened.model.config, plan, config, calibration, result)
    stage = {
        'name': 'prune', 'command': shlex.join(['rlrc', 'prune', *sys.argv[1:]]),
        'config': json.loads(json.dumps(asdict(config), default=str)), 'seed': config.seed,
        'commit': source_commit(), 'packages': package_versions(), 'machine': machine(),
        'parent': str(config.checkpoint), 'parent_sha256': _weights_hash(summary.folder),
        'seconds': round(time.monotonic() - started, 1),
        'measured': {'parameters_before': report['before']['parameters'],
                     'parameters': report['after']['parameters'],
                     'decoder_removed': report['decoder_removed']}}
    provenance = {'stages': [*summary.provenance.get('stages', []), stage]}

    def write(path: Path) -> None:
        save_checkpoint(path, opened.model, opened.tokenizer, statistics_document(summary.folder),
                        provenance)
        (path / REPORT).write_text(json.dumps(report, indent=1))
        asked = (f'ratio {config.ratio} of {config.ratio_of}' if config.zeros_per_group is None
                 else config.pattern)
        draw(path / PICTURE, f'{summary.folder.name}: {config.method}, {asked}', report['layers'])

    write_folder(config.out, write)
    log.info('pruned parameters=%d (was %d) decoder_removed=%.3f out=%s',
             report['after']['parameters'], report['before']['parameters'],
             report['decoder_removed'], config.out)
    print_table(report)
    return config.out


def print_table(report: dict) -> None:
    """Print what it cost and what it costs now."""
    old, new = report['before'], report['after']
    rows = [('parameters, M', 'parameters', 1e6), ('MiB in bf16', 'bytes_bf16', 2**20),
            ('GFLOP an answer', 'answer_gflop', 1), ('GFLOP prefill', 'prefill_gflop', 1),
            ('GFLOP a further token', 'decode_gflop', 1)]
    for words, key, unit in rows:
        print(f'{words:24}{old[key] / unit:12.3f} -> {new[key] / unit:12.3f}')


def main(argv: list[str] | None = None) -> int:
    """Run `rlrc prune`."""
    return run_verb('prune', PruneConfig, prune, argv, __doc__)


if __name__ == '__main__':
    raise SystemExit(main())
