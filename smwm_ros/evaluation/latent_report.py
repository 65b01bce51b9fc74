# SPDX-License-Identifier: Apache-2.0
"""Judge a latent-action model on held-out episodes, and collect what illustrates it."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.data.evenly_spaced import evenly_spaced
from smwm_ros.errors import DatasetError
from smwm_ros.evaluation import latent_actions as measures
from smwm_ros.evaluation.acceptance import (
    judge_action_maps,
    judge_capacity,
    judge_control,
    judge_images,
    judge_motion,
    motion_reading,
)
from smwm_ros.evaluation.latent_actions import Acceptance, LatentDynamics
from smwm_ros.evaluation.map_decoder import MapDecoder
from smwm_ros.evaluation.transitions import (
    commanded_fields,
    drives_of,
    encode,
    images,
    latent_action_model,
    Transitions,
)
from smwm_ros.interfaces import Arena, Array
from smwm_ros.latent_actions.model import LatentActionModel
from smwm_ros.model.checkpoint import Checkpoint, require
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.training.batches import Batches
import torch

TRANSITIONS = 512  # held-out transitions that are judged
PROBED = 1000  # training transitions that probes are fitted to
CURVE = 1500  # ticks of a drive in the curve, at most
PEAKS, QUERIES, NEAREST = 5, 4, 4  # shown
STEPS = 12  # model steps of the film, at most


class Information(NamedTuple):
    """What happens along one drive."""

    drive: str
    rows: Array  # (n,)
    values: Array  # (n,)
    unit: str
    peaks: Array  # places in `rows`


class SimilarTransitions(NamedTuple):
    """Transitions with similar latent actions."""

    queries: Array  # (q,) rows
    nearest: Array  # (q, k) rows, in other drives


class TransferredMotion(NamedTuple):
    """The motion of one drive in the scene of another."""

    source: Array  # (T+1,) rows
    target: int  # row
    pictures: Array  # (T+1, S, S, 3) uint8


class LatentReport(NamedTuple):
    """All that is reported of a latent-action model."""

    tests: tuple[Acceptance, ...]
    information: Information
    alike: SimilarTransitions
    film: TransferredMotion | None  # None without a second held-out drive


@torch.inference_mode()
def judge_latent_actions(
    checkpoint: Checkpoint,
    data: TransitionDataset,
    device: torch.device,
    arena: Arena | None = None,
    progress: ShowProgress = NoProgress,
) -> LatentReport:
    """Judge a model; with an arena, transferred actions are compared with what they do there."""
    info = data.info
    require(checkpoint, str(data.folder), info.spec.size, info.spec.dt, info.image_size)
    model = latent_action_model(checkpoint, device)
    batches = Batches(data, checkpoint.scaler, device, unlabelled=True)
    train, val = (batches.starts(split) for split in ('train', 'val'))
    if not len(train) or not len(val):
        raise DatasetError(
            f'{data.folder}: has no {"held-out" if len(train) else "training"} transitions, '
            'expected some of both; convert again with dataset.val_share above 0'
        )
    encoded = partial(encode, model, batches, progress)
    seen = encoded(evenly_spaced(train, PROBED))
    held_out = encoded(evenly_spaced(val, TRANSITIONS))
    dynamics = LatentDynamics(
        lambda s, then: model.latent_action(s, then).mean,
        model.forward_model,
        model.without_action,
    )
    mine, reading = commanded_fields(data), motion_reading(seen, held_out)
    tests = (
        *judge_images(dynamics, held_out),
        *judge_motion(dynamics, reading, mine, checkpoint, arena),
        judge_control(model, reading, mine, checkpoint),
        *judge_action_maps(checkpoint),
        *judge_capacity(model, held_out, checkpoint),
    )
    draw = MapDecoder(seen.s, images(batches, seen.rows))
    longest = max((e for e in data.episodes if e.split == 'val'), key=lambda e: e.stop - e.start)
    along = np.arange(longest.start, longest.stop - info.action_block)[:CURVE]
    return LatentReport(
        tests,
        _information(batches, encoded(along)),
        _alike(batches, held_out),
        _film(model, batches, draw),
    )


def _information(batches: Batches, along: Transitions) -> Information:
    """Return how much happens along a drive."""
    values, unit = along.nats, 'nats'
    if not np.isfinite(values).all():
        values, unit = along.z.abs().sum(dim=1).cpu().numpy(), 'sum of |z|'
    apart = 2 * batches.dataset.info.action_block
    drive = drives_of(batches, along.rows[:1])[0]
    return Information(
        batches.dataset.drives[drive].name,
        along.rows,
        values,
        unit,
        measures.peaks(values, PEAKS, apart),
    )


def _alike(batches: Batches, held_out: Transitions) -> SimilarTransitions:
    """Return transitions with similar latent actions; queries have small and large ones."""
    z = held_out.z.cpu().numpy()
    by_size = np.linalg.norm(z, axis=1).argsort()
    queries = by_size[np.linspace(0.3 * len(z), 0.97 * len(z), QUERIES).astype(np.int64)]
    near = measures.neighbours(z, drives_of(batches, held_out.rows), queries, NEAREST)
    return SimilarTransitions(held_out.rows[queries], held_out.rows[near])


def _film(
    model: LatentActionModel, batches: Batches, draw: MapDecoder
) -> TransferredMotion | None:
    """Apply the latent actions of one held-out drive from the first frame of another."""
    block, steps = batches.dataset.info.action_block, STEPS
    while steps > 1 and not len(batches._replace(steps=steps).starts('val')):
        steps -= 1
    starts = batches._replace(steps=steps).starts('val')
    drives = drives_of(batches, starts)
    others = starts[drives != drives[0]]
    if not len(others):
        return None
    source, target = starts[0] + block * np.arange(steps + 1), int(others[len(others) // 2])
    s = torch.cat(model.maps(batches._replace(steps=steps).at(starts[:1])))
    z = model.latent_action(s[:-1], s[1:]).mean
    first = model.encode(images(batches, np.array([target])))
    after = model.rollout_latent(first, z[None])[0]
    return TransferredMotion(source, target, draw(model.map_of(torch.cat([first, after]))))
