# SPDX-License-Identifier: Apache-2.0
"""Record episodes of an arena in rosbags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from smwm_ros.arenas import arena_of, require_fit
from smwm_ros.arenas.collection_policies import policy_actions
from smwm_ros.bags.writing.timeline import EPOCH, Timeline, timeline
from smwm_ros.bags.writing.writer import BagWriter
from smwm_ros.codec.fields import action_spec
from smwm_ros.config import Arena as ArenaConfig
from smwm_ros.config import Config, Record
from smwm_ros.interfaces import Arena, Array, Frame

EPISODES_PER_BAG = 20
PAUSE = 5.0  # between two episodes of a bag, like a reset by a person [s]
TRUTH_TOPIC = '/recording/truth'
DRAWN_TOPIC = '/arena/randomisation'  # the values drawn for an episode, at its start
JUMP = 1.0  # larger than any change in one raw step: such a change is an angle that wraps


class BagToRecord(NamedTuple):
    """A bag, and the episodes to record in it."""

    path: Path
    config: Config
    episodes: range


def bags_to_record(folder: Path, config: Config) -> list[BagToRecord]:
    """Divide the episodes of a configuration among bags."""
    count = config.arena.episodes
    return [
        BagToRecord(
            folder / f'{config.arena.name}_{number:04d}',
            config,
            range(first, min(first + EPISODES_PER_BAG, count)),
        )
        for number, first in enumerate(range(0, count, EPISODES_PER_BAG))
    ]


def record(todo: BagToRecord, tick: Callable[[], None]) -> None:
    """Record one bag; call tick after every raw step."""
    config = todo.config
    arena = arena_of(config)
    try:
        require_fit(arena, config.robot)
        robot = config.robot
        if not config.record.commands:
            robot = replace(robot, command=replace(robot.command, topic=''))
        with BagWriter(todo.path, robot, config.record.storage) as bag:
            for episode in todo.episodes:
                _record_episode(config, arena, bag, episode, tick)
    finally:
        arena.close()


def begin_episode(
    config: ArenaConfig, arena: Arena, episode: int
) -> tuple[Frame, Iterator[Array]]:
    """Start an episode; return its first frame and the action stream of the policy."""
    rng = np.random.default_rng((config.seed, episode))
    frame = arena.reset(int(rng.integers(2**31)))
    return frame, policy_actions(config.policy, arena, episode, rng)


def _record_episode(
    config: Config, arena: Arena, bag: BagWriter, episode: int, tick: Callable[[], None]
) -> None:
    """Run and record one episode."""
    length, seed = config.arena.length, config.arena.seed
    period = round(arena.spec.dt * 1e9)
    begin = EPOCH + episode * (length * period + round(PAUSE * 1e9))
    times = timeline(config.record, length, period, begin, (seed, episode))
    recorder = EpisodeRecorder(bag, arena, times, length)
    limits = action_spec(config.robot)
    frame, actions = begin_episode(config.arena, arena, episode)
    if drawn := arena.drawn():
        bag.write_text(DRAWN_TOPIC, json.dumps({'episode': episode, **drawn}), begin)
    recorder.write_frame(0, frame)
    states, taken = [frame.state.tolist()], []
    for step in range(length):
        if recorder.is_command_due(step):
            action = limits.clip(next(actions))
        recorder.write_command(step, action)
        before, frame = frame, arena.step(action)
        recorder.write_between(step, before.state, frame.state)
        recorder.write_frame(step + 1, frame)
        states.append(frame.state.tolist())
        taken.append(action.tolist())
        tick()
    bag.flush()
    if config.record != Record(storage=config.record.storage, commands=config.record.commands):
        truth = {'episode': episode, 'actions': taken, 'states': states, **times.about()}
        bag.write_text(TRUTH_TOPIC, json.dumps(truth), begin + length * period)


class EpisodeRecorder:
    """Writes the messages of an episode at the times of its timeline."""

    def __init__(self, bag: BagWriter, arena: Arena, times: Timeline, length: int) -> None:
        self._bag = bag
        self._arena = arena
        self._times = times
        self._edges = (times.begin + times.period * np.arange(length + 1)).tolist()
        self._frames, self._states = times.camera.messages(), times.state.messages()
        self._commands = times.command.messages()
        self._frames_at, self._frames_after = times.camera.at_and_between(self._edges)
        self._states_at, self._states_after = times.state.at_and_between(self._edges)
        at, after = times.command.at_and_between(self._edges)
        self._due = [[*first, *then] for first, then in zip(at, after, strict=False)]

    def is_command_due(self, step: int) -> bool:
        """Return whether a new command is due in a raw step; one is due in the first."""
        return step == 0 or bool(self._due[step])

    def write_command(self, step: int, action: Array) -> None:
        """Write the commands that are due in a raw step."""
        for index in self._due[step]:
            stamp, received = self._commands[index]
            if received:
                self._bag.write_command(action, stamp, received)

    def write_frame(self, step: int, frame: Frame) -> None:
        """Write image and state at the start of a raw step, and flush earlier messages."""
        for index in self._frames_at[step]:
            self._write_image(index, frame.pixels)
        for index in self._states_at[step]:
            self._write_state(index, frame.state)
        self._bag.flush(before=self._edges[step] - self._times.early)

    def write_between(self, step: int, before: Array, after: Array) -> None:
        """Write images and states within a raw step, interpolated between two states (P,)."""
        start, period = self._edges[step], self._times.period
        for index in self._states_after[step]:
            share = (self._times.state.true[index] - start) / period
            self._write_state(index, between(before, after, share))
        wanted = [index for index in self._frames_after[step] if self._frames[index].received]
        if wanted:
            saved = self._arena.save()
            for index in wanted:
                share = (self._times.camera.true[index] - start) / period
                frame = self._arena.set_state(between(before, after, share))
                self._write_image(index, frame.pixels)
            self._arena.restore(saved)

    def _write_image(self, index: int, pixels: Array) -> None:
        stamp, received = self._frames[index]
        if received:
            self._bag.write_image(pixels, stamp, received)

    def _write_state(self, index: int, state: Array) -> None:
        stamp, received = self._states[index]
        if received:
            self._bag.write_state(state, stamp, received)


def between(before: Array, after: Array, share: float) -> Array:
    """Interpolate two states at a share of a raw step; return the nearer if an angle wraps."""
    change = after - before
    if np.abs(change).max(initial=0.0) > JUMP:
        return after if share >= 0.5 else before
    return (before + share * change).astype(before.dtype)
