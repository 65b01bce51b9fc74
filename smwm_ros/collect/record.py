# SPDX-License-Identifier: Apache-2.0
"""Record the episodes of an arena into rosbags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
PAUSE = 5.0  # between two episodes of a bag, as when a person resets the robot [s]
TRUTH_TOPIC = '/recording/truth'
DRAWN_TOPIC = '/arena/randomisation'  # what each episode is like, as it begins
JUMP = 1.0  # no state moves as much in one raw step: what seems to is an angle that wraps


class BagToRecord(NamedTuple):
    """One bag to be made."""

    path: Path
    config: Config
    episodes: range


def recordings(folder: Path, config: Config) -> list[BagToRecord]:
    """Share the episodes out over bags."""
    count = config.arena.episodes
    return [
        BagToRecord(
            folder / f'{config.arena.name}_{number:04d}',
            config,
            range(first, min(first + EPISODES_PER_BAG, count)),
        )
        for number, first in enumerate(range(0, count, EPISODES_PER_BAG))
    ]


def record(recording: BagToRecord, tick: Callable[[], None]) -> None:
    """Drive the episodes of one bag and write it; call tick after every raw step."""
    config = recording.config
    arena = arena_of(config)
    try:
        require_fit(arena, config.robot)
        with BagWriter(recording.path, config.robot, config.record.storage) as bag:
            for episode in recording.episodes:
                _record_episode(config, arena, bag, episode, tick)
    finally:
        arena.close()


def begin_episode(
    config: ArenaConfig, arena: Arena, episode: int
) -> tuple[Frame, Iterator[Array]]:
    """Place the robot as an episode begins; return what is seen, and the stream of actions."""
    rng = np.random.default_rng((config.seed, episode))
    frame = arena.reset(int(rng.integers(2**31)))
    return frame, policy_actions(config.policy, arena, episode, rng)


def _record_episode(
    config: Config, arena: Arena, bag: BagWriter, episode: int, tick: Callable[[], None]
) -> None:
    """Drive and write one episode."""
    length, seed = config.arena.length, config.arena.seed
    period = round(arena.spec.dt * 1e9)
    begin = EPOCH + episode * (length * period + round(PAUSE * 1e9))
    times = timeline(config.record, length, period, begin, (seed, episode))
    recorder = EpisodeRecorder(bag, arena, times, length)
    limits = action_spec(config.robot)
    frame, actions = begin_episode(config.arena, arena, episode)
    if drawn := arena.drawn():
        bag.note(DRAWN_TOPIC, json.dumps({'episode': episode, **drawn}), begin)
    recorder.show(0, frame)
    states, driven = [frame.state.tolist()], []
    for step in range(length):
        if recorder.says(step):
            action = limits.clip(next(actions))
        recorder.say(step, action)
        before, frame = frame, arena.step(action)
        recorder.show_between(step, before.state, frame.state)
        recorder.show(step + 1, frame)
        states.append(frame.state.tolist())
        driven.append(action.tolist())
        tick()
    bag.flush()
    if config.record != Record(storage=config.record.storage):
        truth = {'episode': episode, 'actions': driven, 'states': states, **times.about()}
        bag.note(TRUTH_TOPIC, json.dumps(truth), begin + length * period)


class EpisodeRecorder:
    """Makes messages of what happens in an episode, when its timeline says so."""

    def __init__(self, bag: BagWriter, arena: Arena, times: Timeline, length: int) -> None:
        self._bag = bag
        self._arena = arena
        self._times = times
        self._edges = (times.begin + times.period * np.arange(length + 1)).tolist()
        self._frames, self._states = times.camera.messages(), times.state.messages()
        self._commands = times.command.messages()
        self._frames_at, self._frames_after = times.camera.places(self._edges)
        self._states_at, self._states_after = times.state.places(self._edges)
        at, after = times.command.places(self._edges)
        self._said = [[*first, *then] for first, then in zip(at, after, strict=False)]

    def says(self, step: int) -> bool:
        """Tell whether the driver says something new in a raw step; it does in the first."""
        return step == 0 or bool(self._said[step])

    def say(self, step: int, action: Array) -> None:
        """Write the command of a raw step, as often as it is said."""
        for index in self._said[step]:
            stamp, received = self._commands[index]
            if received:
                self._bag.command(action, stamp, received)

    def show(self, step: int, frame: Frame) -> None:
        """Write what is seen and measured just as a raw step begins, and all before it."""
        for index in self._frames_at[step]:
            self._see(index, frame.pixels)
        for index in self._states_at[step]:
            self._measure(index, frame.state)
        self._bag.flush(before=self._edges[step] - self._times.early)

    def show_between(self, step: int, before: Array, after: Array) -> None:
        """Write what is seen and measured within a raw step, from the state before to after."""
        start, period = self._edges[step], self._times.period
        for index in self._states_after[step]:
            share = (self._times.state.true[index] - start) / period
            self._measure(index, between(before, after, share))
        wanted = [index for index in self._frames_after[step] if self._frames[index].received]
        if wanted:
            saved = self._arena.save()
            for index in wanted:
                share = (self._times.camera.true[index] - start) / period
                self._see(index, self._arena.set_state(between(before, after, share)).pixels)
            self._arena.restore(saved)

    def _see(self, index: int, pixels: Array) -> None:
        stamp, received = self._frames[index]
        if received:
            self._bag.see(pixels, stamp, received)

    def _measure(self, index: int, state: Array) -> None:
        stamp, received = self._states[index]
        if received:
            self._bag.measure(state, stamp, received)


def between(before: Array, after: Array, share: float) -> Array:
    """Return the state at a share of a raw step; the nearer one where an angle wraps."""
    change = after - before
    if np.abs(change).max(initial=0.0) > JUMP:
        return after if share >= 0.5 else before
    return (before + share * change).astype(before.dtype)
