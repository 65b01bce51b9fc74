# SPDX-License-Identifier: Apache-2.0
"""
Watch whether images are like those of the training, and whether the robot moves as predicted.

Both decide whether the robot drives, drives slower or is stopped. Plans do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable
import math

import numpy as np
from smwm_ros import config
from smwm_ros.control.caution import Alarm, Caution
from smwm_ros.control.reasons import Reason
from smwm_ros.errors import CheckpointError
from smwm_ros.evaluation.executed_motion import Motion, MotionMeter
from smwm_ros.evaluation.fit_to_images import Novelty
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.training.latent_scale import distance_of
import torch

RECENT = 1.0  # time of images whose median novelty counts: a robot passes through rare places [s]
FEWEST = 3  # images in that time
FAMILIAR = 0.8  # of the limit of novelty: below it images count as usual again
MOVED = 2.0  # least expected motion that is compared [latent distance of goal.near periods]
FREED = 2.0  # times the limit of progress: above it the robot moves again
WARNING = (
    'the camera images are unlike those of the training, so plans cannot be trusted; record a '
    'minute of driving, then see smwm check and smwm adapt'
)
OLD_ALBUM = (
    'the album has no distances of held-out frames, so the limit of novelty is {:g}; smwm prepare '
    'adds them'
)


class DriveMonitor:
    """
    Measures the novelty of images and the progress of the robot at each plan.

    The planner thread calls update(); the other methods may be called from any thread. Without an
    album novelty is not measured, and without latent distances neither.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        knobs: config.Node,
        acting: Callable[[float, int], Array | None],  # commands (n, A) from an image time on
        note: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.knobs = knobs
        self._acting = acting
        self._novelty: Novelty | None = None
        try:
            self._novelty = Novelty(checkpoint)
        except CheckpointError:
            pass  # the display of plans logs it
        else:
            if not self._novelty.calibrated:
                note(OLD_ALBUM.format(self._novelty.limit(1.0)))
        self._size = checkpoint.model.latent
        self._count = max(round(RECENT / checkpoint.robot.dt), FEWEST)
        self._recent: tuple[float, ...] = ()
        self._unit = distance_of(checkpoint.info, config.Goal.near)
        places = None if self._novelty is None else self._novelty.album.latents
        self._meter = MotionMeter(checkpoint, places)
        self._motion: Motion | None = None
        self._alarms = (Alarm(Reason.NOVEL_IMAGE), Alarm(Reason.NO_PROGRESS))
        self.caution = Caution()

    def update(self, time: float, latent: Array | None) -> Caution:
        """Measure the latent (D,) of an image at a time [s]; return how to drive."""
        if latent is not None and latent.shape == (self._size,):
            latent = latent.astype(np.float32)
            novel, stuck = self._alarms
            stuck.update(time, *self._judge_motion(time, latent))
            novel.update(time, *self._judge_image(latent))
        # Where images are novel, the motion of their latents says nothing.
        found = [alarm.caution(time, self.knobs.slow_time) for alarm in self._alarms]
        self.caution = next((caution for caution in found if caution.slow), Caution())
        if self.caution.stop is Reason.NO_PROGRESS:  # begin afresh when the robot drives again
            self._alarms[1].clear()
            self._meter.clear()
        return self.caution

    def clear(self) -> None:
        """Begin afresh: the next images do not continue the drive, or are encoded anew."""
        self._meter.clear()
        self._recent, self._motion = (), None
        for alarm in self._alarms:
            alarm.clear()

    def values(self) -> dict[str, float | bool]:
        """Return the values for /diagnostics."""
        values: dict[str, float | bool] = {'slowed': self.caution.slow}
        if self._novelty is not None and self._recent:
            novelty = float(np.median(self._recent))
            values['novelty'] = novelty
            values['novelty_limit'] = self._limit
            values['novelty_share'] = self._novelty.share(novelty)
        if self._motion is not None and self._unit:
            values['predicted_motion'] = self._motion.predicted / self._unit
            values['usual_motion'] = self._motion.usual / self._unit
            progress = self._motion.progress(MOVED * self._unit)
            if progress is not None:  # else it is a ratio of two small distances
                values['progress'] = progress
        return values

    def problems(self) -> list[str]:
        """Return a warning while images are unlike those of the training."""
        return [WARNING] if self._is_beyond(1.0) else []

    @property
    def _limit(self) -> float:
        """Return the limit of novelty; with a limit of 0, that of the warning."""
        factor = self.knobs.novel_limit or config.Node.novel_limit
        return math.nan if self._novelty is None else self._novelty.limit(factor)

    def _is_beyond(self, factor: float) -> bool:
        """Return whether the last images are novel beyond a share of the limit."""
        recent = self._recent
        return len(recent) == self._count and float(np.median(recent)) > factor * self._limit

    def _judge_image(self, latent: Array) -> tuple[bool, bool]:
        """Return whether the last images are unlike those of the training, and whether like."""
        if self._novelty is None:
            return False, True
        found = float(self._novelty.of(torch.from_numpy(latent)[None]))
        self._recent = (*self._recent[1 - self._count :], found)
        on = self.knobs.novel_limit > 0
        return on and self._is_beyond(1.0), not (on and self._is_beyond(FAMILIAR))

    def _judge_motion(self, time: float, latent: Array) -> tuple[bool, bool]:
        """Return whether the robot is stuck, and whether it moves or should not."""
        limit, unit = self.knobs.progress_limit, self._unit
        self._motion = self._meter.measure(time, latent, self._acting) if unit else None
        if self._motion is None or not unit:
            return False, False
        progress = self._motion.progress(MOVED * unit)
        # Slower commands move less: they alone do not end the alarm.
        slower = self._motion.progress(MOVED * unit * min(self.knobs.slow_speed, 0.9))
        good = slower is None or slower > min(FREED * limit, 1.0) or limit == 0
        return progress is not None and progress < limit, good
