# SPDX-License-Identifier: Apache-2.0
"""Inspect a training run: examine its model on recorded drives, and give a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.text import echo

if TYPE_CHECKING:
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.verdict import Verdict
    from smwm_ros.model.info import Info

SAMPLES = 25_000  # frames of training episodes, as in the paper; a fifth as many held-out ones
QUICK_SAMPLES = 2500  # after training; a verdict on its own data does not use the probes


def describe_checkpoint(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Describe the meta.json of a checkpoint."""
    from smwm_ros.data.stored import read_json
    from smwm_ros.model.checkpoint import CHECKPOINT
    import yaml

    found = read_json(path / 'meta.json', CHECKPOINT)
    size = (path / 'model.safetensors').stat().st_size
    text = yaml.safe_dump(found, sort_keys=False, default_flow_style=None)
    lines = [
        f'{path}: checkpoint, {size / 1e6:.1f} MB of weights; its dataset is not found: give '
        '--data DATASET for a verdict on whether to plan with it',
        *text.splitlines(),
    ]
    return {'kind': 'checkpoint', 'path': str(path), 'bytes': size, 'meta': found}, lines


def examine_run(
    path: Path, dataset: Path, out: Path, samples: int
) -> tuple[dict[str, Any], list[str]]:
    """Examine a run on a dataset, and write the page."""
    from smwm_ros.data.dataset import TransitionDataset
    from smwm_ros.evaluation.examine import examine
    from smwm_ros.evaluation.verdict import verdict_of
    from smwm_ros.model import checkpoint as checkpoints
    from smwm_ros.model.device import pick_device
    from smwm_ros.pages.index import publish
    from smwm_ros.pages.run import in_a_word, read_curves, run_sheet
    from smwm_ros.progress import show_progress

    checkpoint, data = checkpoints.load(path), TransitionDataset.open(dataset)
    horizon = checkpoint.planner.horizon
    found = examine(checkpoint, data, samples, pick_device('auto'), show_progress)
    verdict = verdict_of(found.measures, checkpoint.model_config, horizon)
    curves = read_curves(path) or read_curves(path.parent)
    title = f'Run {path.resolve().name}'
    where = publish(out, run_sheet(title, found, verdict, checkpoint, data, curves))
    same = bool(found.measures['trained_on_it'])
    unstored = _store(path, checkpoint.info, verdict) if same else ''
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
    other = '' if same else ', not its training data'
    lines = [
        f'{path}: {checkpoint.model_config.kind}, examined on {dataset}{other}',
        *([f'  {found.note}'] if found.note else []),
        f'{in_a_word(verdict)} {verdict.why[0].upper()}{verdict.why[1:]}.',
        *(f'  - {words}' for words in verdict.advice),
        *_figures(found.measures),
        f'  page: {where}',
        *([f'  {unstored}'] if unstored else []),
    ]
    return plain, lines


def give_verdicts(run: Path, dataset: TransitionDataset, device: str) -> Verdict:
    """Judge the last and the best model of a run on its dataset, and store the verdicts."""
    from smwm_ros.model.checkpoint import META, read_meta

    verdict, best = _give_verdict(run, dataset, device), run / 'best'
    if (best / META).is_file():
        last, found = read_meta(run), read_meta(best)
        if (last.weights_sha256, last.planner) == (found.weights_sha256, found.planner):
            _warn(_store(best, found.info, verdict))
        else:
            _give_verdict(best, dataset, device)
    return verdict


def _give_verdict(folder: Path, dataset: TransitionDataset, device: str) -> Verdict:
    """Judge a model, unless it has a verdict."""
    from smwm_ros.evaluation.examine import examine
    from smwm_ros.evaluation.verdict import stored_verdict, verdict_of
    from smwm_ros.model import checkpoint as checkpoints
    from smwm_ros.model.device import pick_device
    from smwm_ros.progress import show_progress

    checkpoint = checkpoints.load(folder)
    if known := stored_verdict(checkpoint.info, str(folder)):
        return known
    found = examine(checkpoint, dataset, QUICK_SAMPLES, pick_device(device), show_progress)
    verdict = verdict_of(found.measures, checkpoint.model_config, checkpoint.planner.horizon)
    _warn(_store(folder, checkpoint.info, verdict))
    return verdict


def _warn(unstored: str) -> None:
    if unstored:
        echo(f'warning: {unstored}')


def _store(folder: Path, info: Info, verdict: Verdict) -> str:
    """Store a new verdict in a checkpoint for the plan node; return a warning if that fails."""
    from smwm_ros.errors import OutputError
    from smwm_ros.model.checkpoint import add_info

    found = {'name': verdict.name, 'why': verdict.why, 'advice': list(verdict.advice)}
    if info.verdict != found:
        try:
            add_info(folder, verdict=found)
        except OutputError as error:  # a folder that others share may be read-only
            return f'the verdict is not stored for the plan node: {error}'
    return ''


def _figures(measures: dict[str, float]) -> list[str]:
    """Return the main figures, one per line."""
    names = {
        'command_r2': 'inverse model, mean command of a model step, R2',
        'inverse_r2': 'inverse model, each command, R2',
        'forward_over_copy': 'forward error over copy baseline, one step',
        'rollout_over_copy': 'forward error over copy baseline, planner horizon',
        'linear_r2': 'linear probe of the measured state, R2',
        'nonlinear_r2': 'nonlinear probe of the measured state, R2',
        'effective_rank': 'effective rank of the latent',
        'actor_r2': 'actor, first action to goals ahead, R2',
        'goal_inverse_r2': 'inverse model, first action to the same goals, R2',
    }
    return [
        f'  {words}: {measures[name]:.3g}' for name, words in names.items() if name in measures
    ]
