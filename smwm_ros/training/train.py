# SPDX-License-Identifier: Apache-2.0
"""
The training loop, from a dataset to a checkpoint.

The batch of a step depends on the seed and the step alone, so a run that was killed resumes from
its last saved state and ends with the same weights as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
import logging
from pathlib import Path
import time

from smwm_ros import config
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.stored import section
from smwm_ros.errors import DatasetError, TrainingError
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.lock import hold
from smwm_ros.model import checkpoint as checkpoints
from smwm_ros.model.any_model import AnyModel
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.model.device import pick_device, seeded
from smwm_ros.model.distributed import is_leader, join_processes, ProcessGroup
from smwm_ros.model.goal_fields import columns_of
from smwm_ros.model.info import Info
from smwm_ros.model.world_model import Smwm
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.anchors import Grounding
from smwm_ros.training.batches import Batches, check, Sampler, TrainingData
from smwm_ros.training.curves import best, in_brief, in_words, means, pace
from smwm_ros.training.feed import open_feed
from smwm_ros.training.fine_tune import held_out_rows, Origin, sampler_of, slower
from smwm_ros.training.forward_training import require_forward_steps, train_forward_model
from smwm_ros.training.goals import WithGoals
from smwm_ros.training.latent_scale import measure_distances
from smwm_ros.training.learner import explain_out_of_memory, Learner
from smwm_ros.training.metrics import collapse_warning, require_code_book
from smwm_ros.training.new_model import knobs_of, new_model
from smwm_ros.training.run_folder import Run, RunProgress, SCRATCH
from smwm_ros.training.state_scale import derived
from smwm_ros.training.tensorboard import TensorBoardLog
from smwm_ros.training.threads import threads
import torch
from torch import Tensor

_log = logging.getLogger(__name__)

HELD_OUT = 512  # windows of a validation
CHECK_EVERY = 10  # steps between two checks for finite losses on a GPU, each of which waits


def train(
    dataset: TransitionDataset,
    folder: str | Path,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    fresh: bool = False,
    progress: ShowProgress = NoProgress,
    origin: Origin | None = None,
) -> Checkpoint:
    """
    Train in a run folder; resume an interrupted run, and keep a finished one.

    Weights and the scale of the actions are new, or those of an origin.
    """
    how = asdict(settings)
    del how['threads']  # depends on the machine, and may differ when a run is resumed
    identity = {'model': knobs_of(model_config), 'train': how, 'dataset': dataset.fingerprint}
    identity['tuned_from'] = origin.identity() if origin else SCRATCH
    run = Run(Path(folder), identity)
    device = pick_device(settings.device)
    # Only the leader writes. It locks the folder before the processes join, so that a locked
    # folder ends the run at once, while no other process waits for the leader.
    with (
        hold(run.folder) if is_leader() else nullcontext(),
        join_processes(device) as process_group,
    ):
        if fresh and process_group.leads:
            run.clear()
        process_group.require_same(identity, f'{folder}: model, settings and dataset')
        if (run.folder / checkpoints.META).is_file():
            return _kept(run, planner, dataset, process_group)
        with explain_out_of_memory(settings, dataset.info.image_size, device):
            shown = progress if process_group.leads else NoProgress
            trained = (model_config, settings, planner, device, process_group, shown)
            _train(run, dataset, origin, *trained)
        process_group.require_same(True, 'the end')  # waits until the leader has written the run
    with seeded(settings.seed):
        return checkpoints.load(run.folder)


def _train(
    run: Run,
    dataset: TransitionDataset,
    origin: Origin | None,
    model_config: config.Model,
    settings: config.Train,
    planner: config.Planner,
    device: torch.device,
    process_group: ProcessGroup,
    progress: ShowProgress,
) -> None:
    """Train from the first or the last saved step to the end, and save the checkpoint."""
    robot, recipe = _origin(dataset)
    require_forward_steps(model_config, settings)
    columns_of(planner.focus, model_config, robot)  # raises now rather than when planning
    leads = process_group.leads
    model, data, grounding = _begin(dataset, origin, model_config, settings, device, leads)

    def checkpoint(summary: dict[str, float], last: bool = False) -> Checkpoint:
        warning = collapse_warning(summary)
        info = Info(
            **(run.identity | {'tuned_from': origin.record(run.folder) if origin else {}}),
            data=checkpoints.relative_to_run(dataset.folder, run.folder),
            warnings=(warning,) if warning else (),
            summary=summary,
            distances=measure_distances(model, dataset),
            actions=grounding.fit_actions(quick=not last) if grounding else {},
        )
        parts = (robot, recipe, model_config, planner, data.batches.scaler)
        return Checkpoint(model, *parts, info)

    paced = slower(settings) if origin else settings
    seen = settings.steps * settings.batch / max(len(data.batches.starts('train')), 1)
    learner = Learner(model, paced, device, process_group, origin is not None, seen)
    curves = _loop(run, data, learner, settings, process_group, checkpoint, progress)
    if process_group.leads:
        if settings.forward_steps:
            assert isinstance(model, Smwm)
            assert data.validation
            train_forward_model(model, data.batches, settings, progress)
            curves[-1] |= learner.validate(data.validation, settled=True)
        model.cpu().eval().requires_grad_(False)
        checkpoints.save(run.folder, checkpoint(curves[-1], last=True))
        run.forget_state()


def _begin(
    dataset: TransitionDataset,
    origin: Origin | None,
    model_config: config.Model,
    settings: config.Train,
    device: torch.device,
    leads: bool,
) -> tuple[AnyModel, TrainingData, Grounding | None]:
    """Return the model before the first step, and what it is trained on."""
    steps = _window(model_config, settings)
    latent = model_config.kind == 'latent_action'
    if origin:
        origin.require_fit(dataset, model_config)
    for part in (dataset, *(origin.old if origin else ())):
        check(part, steps, model_config.aligns_state, leads, latent, model_config.stack)
    every = origin.joined(dataset) if origin else dataset
    scaler = origin.checkpoint.scaler if origin else dataset.action_scaler()
    velocities = derived(model_config, dataset)
    batches = Batches(every, scaler, device, steps, latent, model_config.stack, velocities)
    first = origin.model() if origin else new_model(dataset, model_config, settings.seed)
    model = first.to(device)
    if isinstance(model, LatentActionModel):
        grounding = Grounding(model, batches, leads)
        validation = grounding.validation(HELD_OUT) if leads else None
        return model, TrainingData(batches, grounding.sampler(settings), validation), grounding
    reach = model_config.reach
    sampler: Sampler = sampler_of(batches, len(dataset), settings)
    if reach:
        sampler = WithGoals(sampler, every, reach, settings.seed)
    held_out = None
    if leads:
        held_out = batches.held_out(held_out_rows(batches, len(dataset), HELD_OUT), reach)
    return model, TrainingData(batches, sampler, held_out), None


def _window(model_config: config.Model, settings: config.Train) -> int:
    """Return T, the number of model steps in a window."""
    if model_config.context > 1 and settings.unroll > 1:
        raise TrainingError(
            'train.unroll: a model of preset tiny with model.history above 1 is trained one step '
            'ahead; set one of them to 1'
        )
    steps = max(model_config.context, settings.unroll)
    if model_config.inverse_pairs == config.ALL and steps < 2:
        raise TrainingError(
            'model.inverse_pairs: all, but a window has two frames only; set train.unroll to 2 or '
            f'more, or model.inverse_pairs to {config.NEXT}'
        )
    return steps


def _origin(dataset: TransitionDataset) -> tuple[config.Robot, config.Dataset]:
    """Return the robot and the settings that the dataset was made with."""
    try:
        robot = section(config.Robot, dataset.index['robot'], 'robot')
        return robot, section(config.Dataset, dataset.index['dataset'], 'dataset')
    except ValueError as error:
        raise DatasetError(
            f'{dataset.folder}: was made by another version of smwm_ros ({error}); convert again'
        ) from None


def _loop(
    run: Run,
    data: TrainingData,
    learner: Learner,
    settings: config.Train,
    process_group: ProcessGroup,
    checkpoint: Callable[[dict[str, float]], Checkpoint],
    progress: ShowProgress,
) -> list[dict[str, float]]:
    """Take the steps that remain; return a row of measures for each validation."""
    first, curves = run.resume(learner.model, learner.optimiser)
    process_group.require_same(
        first, f'{run.folder}: last saved step, of one folder that all processes share'
    )
    leads, share = process_group.leads, process_group.share(settings.batch)
    remaining = range(first + 1, settings.steps + 1)
    every = 1 if data.batches.device.type == 'cpu' else CHECK_EVERY
    stretch: list[dict[str, Tensor]] = []  # loss terms of the steps since the last validation
    began, warned = time.monotonic(), False
    with (
        open_feed('auto', data.batches, data.sampler, share, remaining) as feed,
        progress(total=settings.steps, initial=first, desc='train', unit='step') as bar,
        threads(settings.threads, _log.info if leads else _log.debug) as workers,
        TensorBoardLog(run.scalars, first, leads) as tb_log,
    ):
        for step in remaining:
            stretch.append(learner.step(step, feed(step)))
            validates = step % settings.eval_every == 0 or step == settings.steps
            if validates or step % every == 0:
                _require_finite(stretch[-every:], step, run, data)
            bar.update()
            workers.step()
            if not validates:
                continue
            if data.validation:
                row = {'step': step, **means(stretch, learner.model)}
                row |= learner.validate(data.validation, settled=step == settings.steps)
                row |= pace(curves, len(stretch) * settings.batch, time.monotonic() - began)
                curves.append(row)
                bar.set_postfix_str(in_brief(row, list(stretch[0])), refresh=False)
                tb_log.write(row)
                warned = warned or _warn_of_collapse(row, settings.steps)
                if row is best(curves):
                    checkpoints.save(run.best, checkpoint(row))
                run.save_state(learner.model, learner.optimiser, RunProgress(step, curves))
            stretch, began = [], time.monotonic()
    return curves


def _warn_of_collapse(row: Mapping[str, float], steps: int) -> bool:
    """Log a warning if the latent has collapsed after a quarter of the steps; return whether."""
    if row['step'] <= steps // 4:
        return False
    require_code_book(row)
    warning = collapse_warning(row)
    if warning:
        _log.warning('step %d: %s', row['step'], warning)
    return bool(warning)


def _require_finite(
    latest: list[dict[str, Tensor]],
    step: int,
    run: Run,
    data: TrainingData,
) -> None:
    """Raise a TrainingError if a loss of the latest steps is not finite; save its batch."""
    losses = [torch.stack(list(terms.values())).sum() for terms in latest]
    finite = torch.stack(losses).isfinite().tolist()
    if all(finite):
        return
    number = finite.index(False)
    first = step - len(latest) + 1 + number
    terms = {name: float(term) for name, term in latest[number].items()}
    rows = data.sampler(first - 1)
    raise TrainingError(
        f'step {first}: the loss is not finite ({in_words(terms)}); try a smaller train.lr or '
        f'train.clip; the batch is in {run.save_batch(rows, data.batches.at(rows))}'
    )


def _kept(
    run: Run, planner: config.Planner, dataset: TransitionDataset, process_group: ProcessGroup
) -> Checkpoint:
    """Return a finished run, with new planner settings and missing measurements added."""
    run.require_same(checkpoints.read_meta(run.folder).info.as_json())
    checkpoint = checkpoints.load(run.folder)
    info = checkpoint.info
    if info.distances is None:
        info = info._replace(distances=measure_distances(checkpoint.model, dataset))
    if checkpoint.planner != planner or info is not checkpoint.info:
        checkpoint = checkpoint._replace(planner=planner, info=info)
        if process_group.leads:
            checkpoints.save(run.folder, checkpoint)
    return checkpoint
