# SPDX-License-Identifier: Apache-2.0
"""The codes of ~/status: why the robot moves, or why it does not."""

from __future__ import annotations

from enum import Enum


class Reason(str, Enum):
    """Why the robot moves, or why it does not."""

    RUNNING = 'RUNNING'
    UNCONFIGURED = 'UNCONFIGURED'
    INACTIVE = 'INACTIVE'
    NOT_ENGAGED = 'NOT_ENGAGED'
    STOPPED = 'STOPPED'
    NO_GOAL = 'NO_GOAL'
    GOAL_REACHED = 'GOAL_REACHED'
    NO_IMAGE = 'NO_IMAGE'
    STALE_IMAGE = 'STALE_IMAGE'
    FROZEN_IMAGE = 'FROZEN_IMAGE'
    NOVEL_IMAGE = 'NOVEL_IMAGE'
    NO_PROGRESS = 'NO_PROGRESS'
    PLANNING = 'PLANNING'
    PLANNER_LATE = 'PLANNER_LATE'
    STALE_PLAN = 'STALE_PLAN'
    PLANNER_ERROR = 'PLANNER_ERROR'
    BAD_PLAN = 'BAD_PLAN'
    NO_CLOCK = 'NO_CLOCK'
    CONTESTED = 'CONTESTED'
    COMMAND_ERROR = 'COMMAND_ERROR'


MEANING = {
    Reason.RUNNING: 'commands follow the plan',
    Reason.UNCONFIGURED: 'no checkpoint is loaded; configure the node',
    Reason.INACTIVE: 'the checkpoint is loaded; activate the node',
    Reason.NOT_ENGAGED: 'the robot is not engaged; call ~/engage with true',
    Reason.STOPPED: 'the robot was stopped by ~/stop; call ~/engage with true to resume',
    Reason.NO_GOAL: 'no goal was received',
    Reason.GOAL_REACHED: 'the goal is reached; waiting for the next goal',
    Reason.NO_IMAGE: 'no camera image was received since the goal or the engagement',
    Reason.STALE_IMAGE: 'the newest camera image is older than node.image_timeout',
    Reason.FROZEN_IMAGE: (
        'the camera image did not change for node.frozen_timeout while the robot moved'
    ),
    Reason.NOVEL_IMAGE: (
        'the camera images are unlike those of the training, so plans cannot be trusted'
    ),
    Reason.NO_PROGRESS: (
        'the robot did not move as predicted; set a goal or call ~/engage with true to try again'
    ),
    Reason.PLANNING: 'the first plan is being computed',
    Reason.PLANNER_LATE: ('no new plan came within node.coast ticks, or the last plan is used up'),
    Reason.STALE_PLAN: 'the plan was made from an image older than node.image_timeout',
    Reason.PLANNER_ERROR: 'the planner raised an error; see the log',
    Reason.BAD_PLAN: 'the plan has values that are not finite, or no sample could be scored',
    Reason.NO_CLOCK: 'simulated time on /clock does not advance',
    Reason.CONTESTED: 'another node publishes on the command topic',
    Reason.COMMAND_ERROR: 'a command could not be published; see the log',
}
