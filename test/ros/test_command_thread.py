# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/command_thread.py, with a clock that moves only as the test says."""

from contextlib import suppress

import numpy as np
import pytest
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.ticks import GRACE
from smwm_ros.control.timed_plan import TimedPlan
from smwm_ros.interfaces import ActionSpec
from smwm_ros.nodes.clocks import WallClock
from smwm_ros.nodes.command_thread import CommandThread

DT = 0.1
SPEC = ActionSpec(('x',), (-1.0,), (1.0,), DT)
NODE = config.Node(image_timeout=60.0, coast=100)
ROWS = np.linspace(0.1, 0.9, 9)[:, None]


class EndOfScriptError(Exception):
    """The test has seen enough."""


class Stage(WallClock):
    """A command thread with a plan from 0 s on; each of its waits runs a step of a script."""

    def __init__(self, *script):
        self.time = 0.0
        self.sent, self.reasons = list[tuple[float, float]](), list[Reason]()
        self._script = list(script)
        self.controller = Controller(SPEC, 'zero', NODE)
        self.thread = CommandThread(
            self.controller, self, DT, self.send, self.reasons.append, pytest.fail
        )
        # An even grid is easier to read.
        self.thread.metronome.shift_phase = lambda waited: None  # type: ignore[method-assign]
        self.controller.new_goal()
        self.accept(0.0)

    def now(self):
        """Return the time, as a clock does."""
        return self.time

    def wait(self, deadline, wake):
        """Go to the deadline, as a clock does, unless the script says otherwise."""
        if not self._script:
            raise EndOfScriptError
        step = self._script.pop(0)
        self.time = max(self.time, deadline)
        return step(self) if step else True

    def send(self, action):
        """Note when which command was sent."""
        self.sent.append((round(self.time, 6), round(float(action[0]), 6)))

    def accept(self, seen):
        """Give the controller an image and the plan made from it."""
        self.controller.on_image(seen)
        assert self.controller.accept(TimedPlan(ROWS, seen, self.time, self.controller.era))

    def take(self, seen):
        """Give the controller a plan, and wake the thread."""
        self.accept(seen)
        self.thread.on_plan()

    def run(self):
        """Run the script, in this thread."""
        with suppress(EndOfScriptError):
            self.thread.run()


def test_missed_ticks_are_skipped_and_never_made_up_in_a_burst():
    def late(stage):
        stage.time += 4.5 * DT
        return True

    stage = Stage(None, late, None, None, None, None, None)
    stage.run()
    times = [time for time, _ in stage.sent]
    assert stage.thread.metronome.missed == 4
    assert max(np.diff(times)) > 4 * DT
    assert min(np.diff(times)) > DT / 2 - GRACE * DT
    assert [row for _, row in stage.sent] == [0.1, 0.6, 0.7, 0.8], 'rows keep their time'


def test_a_plan_that_is_a_little_late_is_waited_for_and_played():
    def arrives(stage):
        stage.time = DT + 0.3 * GRACE * DT
        stage.take(seen=DT - 0.01)
        return True

    stage = Stage(None, None, arrives)
    stage.run()
    assert stage.sent == [(0.0, 0.1), (pytest.approx(DT + 0.3 * GRACE * DT), 0.1)]


def test_a_plan_that_does_not_come_delays_a_tick_by_no_more_than_the_grace():
    stage = Stage(None, None, None, None, None)
    stage.run()
    times, rows = zip(*stage.sent, strict=True)
    assert rows == (0.1, 0.2, 0.3), 'the old plan plays on'
    assert times == pytest.approx([0.0, (1 + GRACE) * DT, (2 + GRACE) * DT])


def test_time_that_jumps_back_is_not_waited_out():
    def back(stage):
        stage.time = -50.0
        return True

    stage = Stage(None, back, None)
    stage.run()
    assert stage.reasons == [Reason.RUNNING, Reason.NO_IMAGE, Reason.NO_IMAGE]
    assert stage.sent[1:] == [(-50.0, 0.0), (pytest.approx(-49.9), 0.0)]


@pytest.mark.parametrize('during', ['the period', 'the grace'])
def test_a_clock_that_does_not_advance_is_reported_and_stops_the_robot(during):
    waits = [None, lambda stage: False] if during == 'the period' else [None] * 2
    stage = Stage(*waits, lambda stage: False)
    stage.run()
    assert stage.reasons[:2] == [Reason.RUNNING, Reason.NO_CLOCK]
    assert stage.sent[1][1] == 0.0
