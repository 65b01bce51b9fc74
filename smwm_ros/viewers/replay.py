# SPDX-License-Identifier: Apache-2.0
"""The recording of a replay: what was recorded, and the plan that was made at each frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from smwm_ros.data.dataset import TransitionDataset
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.replay import agree, Leg
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.pages.replay_stretch import Stretches
from smwm_ros.planning.frame_bank import FrameBank, load
from smwm_ros.planning.pilot import Pilot
from smwm_ros.planning.predicted_path import predicted_paths
from smwm_ros.reporting import NoProgress, ShowProgress
from smwm_ros.viewers.dataset import (
    add_commands,
    add_frames,
    CAMERA,
    COMMAND,
    declare_commands,
    RobotTimes,
)
from smwm_ros.viewers.latent_path import fit, Projection
from smwm_ros.viewers.layout import charts_of, layout, LOG, View3D
from smwm_ros.viewers.recording import (
    BLUE,
    entity,
    GREEN,
    GREY,
    INFO,
    Instants,
    JPEG,
    Look,
    ORANGE,
    recorded,
    ViewerRecording,
    WARN,
)
import torch

GOAL, IMAGINED, DISTANCE, COST = 'goal', 'imagined_end', 'distance', 'cost'
PLAN_MS, LATENTS = 'latency/plan_ms', 'latents'
_CHARTS = {DISTANCE: 'Latent distance to the goal', COST: 'Shares of the cost'}
_CHARTS['latency'] = 'Latency [ms]'


class Replay:
    """Legs of a recording with their plans, as they are shown."""

    def __init__(
        self, data: TransitionDataset, legs: Sequence[Leg], goal: Array | None, pilot: Pilot,
        checkpoint: Checkpoint,
    ) -> None:  # fmt: skip
        self.data, self.legs, self._goal = data, legs, goal
        self.paths = [predicted_paths(checkpoint, leg.plans).numpy() for leg in legs]
        self.goals = pilot.encode(np.stack([self.goal(leg) for leg in legs]))  # (legs, D)
        self.times = RobotTimes(data)
        self.bank: FrameBank | None = None
        self.no_bank = ''  # the reason
        try:
            self.bank = load(checkpoint.folder, 'the imagined end of a plan')
        except CheckpointError as error:
            self.no_bank = str(error)

    def goal(self, leg: Leg) -> Array:
        """Return the goal image (S, S, 3) of a leg."""
        if self._goal is not None:
            return self._goal
        last: Array = self.data.pixels(np.array([leg.start + len(leg.ours)]))[0]
        return last

    def ends(self, leg: int) -> list[bytes]:
        """Return the frames (N) nearest to the ends of the plans of a leg, as JPEG files."""
        assert self.bank is not None
        ends = torch.from_numpy(self.paths[leg][:, -1])
        nearest = torch.cdist(ends, self.bank.latents).argmin(1).tolist()
        return [self.bank.jpegs[number] for number in nearest]


def write_replay(
    replay: Replay,
    path: Path,
    name: str,
    stretches: Stretches,
    progress: ShowProgress = NoProgress,
) -> None:
    """Write the recording of a replay to a file."""
    data, legs = replay.data, replay.legs
    seen = np.concatenate([*(paths[:, 0] for paths in replay.paths), replay.goals])
    projection = fit(seen)
    with recorded(path, name) as recording:
        declare_commands(recording, data, {'recorded': BLUE, 'planned': ORANGE})
        rows = np.array([legs[0].start])
        about = f'latents: the points keep {projection.share:.0%} of the variance'
        notes = [about, *([replay.no_bank] if replay.no_bank else [])]
        first = replay.times.at(rows.repeat(len(notes)))
        recording.texts(LOG, first, notes, [INFO, WARN][: len(notes)])
        for number in progress(range(len(legs)), desc='writing', unit=' legs'):
            _add(recording, replay, number, projection, stretches)
            end = legs[number].start + len(legs[number].ours)
            if number + 1 < len(legs) and legs[number + 1].start != end:
                _clear(recording, replay.times.after(end - 1))
        fields = data.info.spec.fields
        charts = charts_of(COMMAND, fields)
        scene = View3D(LATENTS, 'Latents', projection(seen), (0.9, 0.9, 0.7))
        images = [CAMERA, GOAL, *([IMAGINED] if replay.bank else [])]
        recording.layout(layout(images, {**charts, **_CHARTS}, [scene], replay.times.first))


def _add(
    recording: ViewerRecording,
    replay: Replay,
    number: int,
    projection: Projection,
    stretches: Stretches,
) -> None:
    """Add a leg."""
    leg, data = replay.legs[number], replay.data
    rows = leg.start + np.arange(len(leg.ours))
    at = replay.times.at(rows)
    add_frames(recording, data, at, rows)
    recording.images(GOAL, at[:1], [replay.goal(leg)])
    if replay.bank:
        recording.encoded(IMAGINED, at, replay.ends(number), JPEG)
    add_commands(recording, data, at, {'recorded': leg.theirs, 'planned': leg.ours})
    recording.numbers(DISTANCE, at, leg.distance)
    for term in dict.fromkeys(term for plan in leg.plans for term in plan.shares):
        shares = np.array([plan.shares.get(term, np.nan) for plan in leg.plans])
        recording.numbers(entity(COST, term), at, shares)
    recording.numbers(PLAN_MS, at, leg.plan_ms)
    _add_latents(recording, at, projection(replay.paths[number]), projection(replay.goals[number]))
    close = agree([leg], data.info.spec).figures()['close']
    line = f'{stretches.place(leg)}: {close:.0%} of the commands are close'
    recording.texts(LOG, at[:1], [line], [INFO])


def _add_latents(recording: ViewerRecording, at: Instants, paths: Array, goal: Array) -> None:
    """Add the points of a leg: images and plans (N, T+1, 3), and the goal (3,)."""
    recording.lines(f'{LATENTS}/leg', at[:1], [paths[:, 0]], Look(GREY, -1.0))
    recording.points(f'{LATENTS}/goal', at[:1], goal[None], Look(GREEN, -7.0))
    recording.points(f'{LATENTS}/camera', at, paths[:, 0], Look(BLUE, -6.0))
    recording.lines(f'{LATENTS}/plan', at, list(paths), Look(ORANGE, -1.5))


def _clear(recording: ViewerRecording, at: Instants) -> None:
    """Show nothing from an instant on, at which no leg follows."""
    for name in (CAMERA, GOAL, IMAGINED, COMMAND, LATENTS, *_CHARTS):
        recording.clear(name, at)
