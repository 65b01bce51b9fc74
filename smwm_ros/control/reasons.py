# SPDX-License-Identifier: Apache-2.0
"""Why a robot moves, or why it does not: the codes of ~/status, and what they mean."""

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
    Reason.UNCONFIGURED: 'no checkpoint is loaded',
    Reason.INACTIVE: 'loaded, waiting for the activate transition',
    Reason.NOT_ENGAGED: 'waiting for ~/engage',
    Reason.STOPPED: 'stopped by ~/stop; ~/engage goes on',
    Reason.NO_GOAL: 'no goal has come',
    Reason.GOAL_REACHED: 'the goal is reached; the next one goes on',
    Reason.NO_IMAGE: 'no camera image has come since the goal or the engagement',
    Reason.STALE_IMAGE: 'the newest image is older than node.image_timeout',
    Reason.FROZEN_IMAGE: 'for node.frozen_timeout of driving every image was the same',
    Reason.PLANNING: 'the first plan is being made',
    Reason.PLANNER_LATE: 'the plan has played on for node.coast ticks and no new one has come',
    Reason.STALE_PLAN: 'the image behind the plan is older than node.image_timeout',
    Reason.PLANNER_ERROR: 'the planner failed',
    Reason.BAD_PLAN: 'the plan held numbers that are not finite, or could not be scored',
    Reason.NO_CLOCK: 'simulated time stands still',
    Reason.CONTESTED: 'another node publishes commands on the same topic',
    Reason.COMMAND_ERROR: 'a command could not be published',
}
