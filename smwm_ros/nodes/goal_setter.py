# SPDX-License-Identifier: Apache-2.0
"""Set the current goal from messages: images, names, latents, measured states and poses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from smwm_ros.codec.goal_masks import mask_of_message
from smwm_ros.codec.stamps import in_seconds
from smwm_ros.errors import ConfigError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.nodes.current_goal import CurrentGoal
from smwm_ros.nodes.goal_planner import GoalInput, GoalMask
from smwm_ros.nodes.goal_store import GoalStore
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.planning.goal_states import GoalStates, load
from smwm_ros.planning.masked_goals import load as load_masked
from smwm_ros.planning.masked_goals import MaskedGoals, NEAR, require_distance
from smwm_ros.text import count_of
from smwm_ros.training.latent_scale import distance_of

SEPARATOR = ','  # between the names of alternative goals


class GoalSetter:
    """
    Sets goals for topics and for the action; only the thread of the goals' subscriber calls it.

    Each method raises if the goal cannot be used, and leaves the current goal unchanged. A goal
    that is set already is not set anew, because publishers repeat their messages, unless it comes
    `again` on purpose. The answer is the number of the goal.
    """

    def __init__(
        self, setup: Setup, goal: CurrentGoal, store: GoalStore, warn: Callable[[str], None]
    ) -> None:
        self._setup, self._goal, self._store, self._warn = setup, goal, store, warn
        self._states: GoalStates | None = None  # read when they are first used
        self._masked: MaskedGoals | None = None  # likewise
        self._fields = expand(setup.robot.state.fields)
        self._planar = planar_poses(self._fields)

    @property
    def takes_poses(self) -> bool:
        """Return whether the measured state has exactly one position x and y."""
        return len(self._planar) == 1

    def set_image(self, message: Any, source: str, again: bool = False) -> int:
        """Set an Image or CompressedImage."""
        pixels = self._setup.pixels(message)[None]
        checkpoint = self._setup.checkpoint
        mask = mask_of_message(message, checkpoint.image_size, checkpoint.dataset.resize)
        stamp = in_seconds(message.header.stamp)
        if not again and self._goal.is_same_image(pixels, mask, stamp):
            return self._goal.number
        return self._goal.set(
            GoalInput(pixels, mask=self.masked_goal(pixels, mask)), source, stamp
        )

    def set_name(self, text: str, again: bool = False) -> int:
        """Set a goal or route by its name, or alternative goals by several names."""
        checkpoint = self._setup.checkpoint
        names = [name.strip() for name in text.split(SEPARATOR)]
        how = checkpoint.image_size, checkpoint.dataset.resize
        found = [self._store.load(name, *how) for name in names]
        masks = [self._store.mask(name, *how) for name in names]
        if len(names) > 1:
            require_alternatives(names, [len(pictures) for pictures in found], masks)
        pictures, name = np.concatenate(found), f'{SEPARATOR} '.join(names)
        if not again and self._goal.is_under_way(pictures, name, masks[0]):
            return self._goal.number
        alternatives = tuple(names) if len(names) > 1 else ()
        mask = self.masked_goal(pictures, masks[0])
        return self._goal.set(GoalInput(pictures, names=alternatives, mask=mask), name)

    def masked_goal(self, pixels: Array, mask: Array | None) -> GoalMask | None:
        """Return the mask (S, S) of an image (1, S, S, 3) with its metric, None without one."""
        if mask is None:
            return None
        require_distance(self._setup.planner)
        if self._masked is None:  # a run without frames may get them while the node runs
            checkpoint = self._setup.checkpoint
            near = distance_of(checkpoint.info, NEAR)
            self._masked = load_masked(checkpoint, near, 'a goal with a mask')
        return GoalMask(mask, self._masked.metric(pixels[0], mask))

    def set_latent(self, data: Sequence[float], source: str) -> int:
        """Set a latent, or several in a row for a route."""
        size = self._setup.checkpoint.model.latent
        numbers = np.array(data, np.float32)
        if not numbers.size or numbers.size % size or not np.isfinite(numbers).all():
            raise ConfigError(
                f'expected {size} finite numbers, or a multiple of that for a route, '
                f'found {numbers.size}'
            )
        return self._goal.set(GoalInput(latents=numbers.reshape(-1, size)), source)

    def set_state(self, message: Any, source: str, again: bool = False) -> int:
        """Set values of some fields of the measured state, which a JointState holds."""
        if len(message.name) != len(message.position):
            raise ConfigError(
                f'{source}: expected a position for each name, found '
                f'{count_of(len(message.name), "name")} and '
                f'{count_of(len(message.position), "position")}'
            )
        wanted = dict(zip(message.name, message.position, strict=True))
        if len(wanted) < len(message.name):
            raise ConfigError(f'{source}: a field is named twice: {", ".join(message.name)}')
        return self._set_nearest([wanted], source, again)

    def set_pose(self, message: Any, source: str) -> int:
        """Set the position of a PoseStamped; its orientation, if the measured state has one."""
        frame, expected = message.header.frame_id, self._setup.robot.state.frame_id
        states = state_of(message.pose, self._planar[0], self._fields)
        number = self._set_nearest(states, source)
        if frame not in ('', expected):
            self._warn(
                f'{source}: the pose in the frame {frame} was used as one of {expected}, in which '
                'the measured state was recorded; nothing is transformed'
            )
        return number

    def _set_nearest(
        self, alternatives: Sequence[Mapping[str, float]], source: str, again: bool = False
    ) -> int:
        """Set the goal state among equivalent ones that is nearest to a recorded one."""
        states = self._states_of(source)
        goal = GoalInput(state=states.find(min(alternatives, key=states.gap)))
        if not again and self._goal.is_under_way(goal.places, source):
            return self._goal.number
        return self._goal.set(goal, source)

    def _states_of(self, source: str) -> GoalStates:
        """Return the recorded states; a run without them may get them while the node runs."""
        if self._states is None:
            checkpoint, fields = self._setup.checkpoint, self._setup.robot.state.fields
            self._states = load(checkpoint.folder, checkpoint.action_block, fields, source)
        return self._states


def require_alternatives(
    names: Sequence[str], pictures: Sequence[int], masks: Sequence[Array | None]
) -> None:
    """Raise a ConfigError unless the names are different, and each is one picture, unmasked."""
    for number, (name, count) in enumerate(zip(names, pictures, strict=True)):
        if name in names[:number]:
            raise ConfigError(f'{name} is named twice among alternative goals')
        if masks[number] is not None:
            raise ConfigError(f'{name} has a mask; alternative goals are pictures without one')
        if count > 1:
            raise ConfigError(
                f'{name} is a route of {count_of(count, "subgoal")}; alternative goals are single '
                'pictures'
            )


def planar_poses(fields: Sequence[str]) -> list[str]:
    """Return the paths of the poses whose position x and y are fields, such as pose.pose."""
    heads = [field.rpartition('.')[0] for field in fields if field.endswith('position.x')]
    planar = [head for head in heads if f'{head}.y' in fields]
    return [head.removesuffix('position').rstrip('.') for head in planar]


def state_of(pose: Any, path: str, fields: Sequence[str]) -> list[dict[str, float]]:
    """Return the fields of a pose; an orientation is two quaternions of opposite signs."""
    head = f'{path}.' if path else ''
    position = {f'{head}position.{axis}': float(getattr(pose.position, axis)) for axis in 'xy'}
    turn = {
        name: float(getattr(pose.orientation, axis))
        for axis in 'xyzw'
        if (name := f'{head}orientation.{axis}') in fields
    }
    return [{**position, **{name: sign * turn[name] for name in turn}} for sign in (1, -1)]
