# SPDX-License-Identifier: Apache-2.0
"""Inspect a training run: examine its model on recorded drives, and say what to make of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

SAMPLES = 25_000  # frames of training episodes, as in the paper; a fifth as many held-out ones


def describe_checkpoint(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Tell what the meta.json of a checkpoint says."""
    from smwm_ros.errors import CheckpointError
    import yaml

    meta = path / 'meta.json'
    try:
        found = json.loads(meta.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{meta}: missing or damaged: {error}') from None
    size = (path / 'model.safetensors').stat().st_size
    text = yaml.safe_dump(found, sort_keys=False, default_flow_style=None)
    lines = [
        f'{path}: checkpoint, {size / 1e6:.1f} MB of weights; its dataset is not here: with '
        '--data DATASET it is told whether to plan with it',
        *text.splitlines(),
    ]
    return {'kind': 'checkpoint', 'path': str(path), 'bytes': size, 'meta': found}, lines


def recorded_data(path: Path) -> Path | None:
    """Return the dataset that a run remembers, if it still lies there."""
    try:
        meta = json.loads((path / 'meta.json').read_text(encoding='utf-8'))
        name = Path(meta['info']['data'])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # best/ is a checkpoint inside of a run, whose dataset is told from there.
    for place in (path / name, path.parent / name):
        if (place / 'dataset.json').is_file():
            return Path(os.path.normpath(place))
    return None


def examine_run(
    path: Path, dataset: Path, out: Path, samples: int
) -> tuple[dict[str, Any], list[str]]:
    """Examine a run on a dataset, and write the page."""
    from smwm_ros.core import checkpoint as checkpoints
    from smwm_ros.core.dataset import TransitionDataset
    from smwm_ros.core.examine import examine
    from smwm_ros.core.learner import pick_device
    from smwm_ros.core.verdict import judge
    from smwm_ros.pages.index import publish
    from smwm_ros.verbs.run_sheet import in_a_word, read_curves, run_sheet

    checkpoint, data = checkpoints.load(path), TransitionDataset.open(dataset)
    horizon = checkpoint.planner.horizon
    found = examine(checkpoint, data, samples, pick_device('auto'))
    verdict = judge(found.measures, checkpoint.model_config, horizon)
    curves = read_curves(path) or read_curves(path.parent)
    title = f'Run {path.resolve().name}'
    where = publish(out, run_sheet(title, found, verdict, checkpoint, data, curves))
    same = bool(found.measures['trained_on_it'])
    plain = {
        'kind': 'run',
        'path': str(path),
        'data': str(dataset),
        'trained_on_it': same,
        'note': found.note,
        'page': str(out),
        'verdict': {**verdict._asdict(), 'fit': verdict.fit},
        'measures': found.measures,
        'probes': {name: {'linear': a, 'nonlinear': b} for name, (a, b) in found.probes.items()},
        'rollout': {
            'error': found.rollouts.error.tolist(),
            'copying': found.rollouts.copying.tolist(),
        },
        'spectrum': found.spectrum.tolist(),
    }
    other = '' if same else ', which it was not trained on'
    lines = [
        f'{path}: {checkpoint.model_config.kind}, examined on {dataset}{other}',
        *([f'  {found.note}'] if found.note else []),
        f'{in_a_word(verdict)} {verdict.why[0].upper()}{verdict.why[1:]}.',
        *(f'  - {words}' for words in verdict.advice),
        *_figures(found.measures),
        f'  the page is {where}',
    ]
    return plain, lines


def _figures(measures: dict[str, float]) -> list[str]:
    """Say the figures in short."""
    names = {
        'command_r2': 'mean command of a model step, read back, R2',
        'inverse_r2': 'each command of it',
        'forward_over_copy': 'forward error over copying, one step',
        'rollout_over_copy': 'the same at the horizon of the planner',
        'linear_r2': 'measured state read off by a linear probe, R2',
        'nonlinear_r2': 'by a nonlinear one',
        'effective_rank': 'effective rank of the latent',
    }
    return [
        f'  {words}: {measures[name]:.3g}' for name, words in names.items() if name in measures
    ]
