# SPDX-License-Identifier: Apache-2.0
"""The command thread: one command per tick, on time, whatever the planner does."""

from __future__ import annotations

from collections.abc import Callable
import math
from threading import Event, Thread
import time

from smwm_ros.control.controller import Controller
from smwm_ros.control.percentiles import Percentiles
from smwm_ros.control.reasons import Reason
from smwm_ros.control.ticks import GRACE, MARGIN, Metronome
from smwm_ros.control.timed_plan import TickCommand
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock

LATE = 0.3  # a plan expected this much after a tick still counts for it [share of a period]
_POLL = 0.005  # period of the check whether the robot has slowed down [s]


class CommandStatistics:
    """Times of the motion commands since the activation."""

    def __init__(self) -> None:
        self.late_ms = Percentiles()  # start of a tick after its deadline
        self.age_ms = Percentiles()  # of the image behind a command when it is sent
        self.interval_ms = Percentiles()  # between two consecutive commands
        self.commands = 0

    def add(self, interval: float | None, age: float) -> None:
        """Add a command: time since the one before (None for the first) and age of image [s]."""
        if interval is not None:
            self.interval_ms.add(1e3 * interval)
        self.age_ms.add(1e3 * age)
        self.commands += 1

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        return {
            'rate_hz': 1e3 / self.interval_ms.mean(),
            'commands': self.commands,
            'jitter_ms_p50': self.late_ms.percentile(50),
            'jitter_ms_p99': self.late_ms.percentile(99),
            'image_age_ms_p50': self.age_ms.percentile(50),
            'image_age_ms_p99': self.age_ms.percentile(99),
        }


class CommandThread:
    """Tick at absolute deadlines, and send the command that the controller returns."""

    def __init__(
        self,
        controller: Controller,
        clock: WallClock | RosClock,
        dt: float,
        send: Callable[[Array], None],
        report: Callable[[Reason], None],
        warn: Callable[[str], None],
    ) -> None:
        self._controller = controller
        self._clock = clock
        self._send = send
        self._report = report
        self._warn = warn
        self.metronome = Metronome(dt, clock.now())
        self.statistics = CommandStatistics()
        self._restart = Event()  # of the grid of ticks, or the end
        self._new_plan = Event()
        self._closed = False
        self._thread = Thread(target=self.run, name='commands', daemon=True)
        self._sent: float | None = None  # when the last tick sent a motion command

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def tick_for(self, ready: float) -> float:
        """Return the time of the first tick that will follow a plan ready at a time."""
        dt, deadline = self.metronome.dt, self.metronome.deadline
        if self._sent is None:  # the grid begins with the plan
            return ready + MARGIN * dt
        # The grid shifts towards the plans, so a plan that seems a little late is on time.
        return deadline + max(0, math.ceil((ready - deadline) / dt - LATE)) * dt

    def on_plan(self) -> None:
        """Use a new plan: while the robot is at rest, the grid of ticks begins with it."""
        self._new_plan.set()
        if self._sent is None:
            self._restart.set()

    def wait_until_slowed(self, timeout: float) -> None:
        """Wait until a robot that was stopped has slowed down, or for the timeout [s]."""
        deadline = time.monotonic() + timeout
        while self.alive and not self._controller.slowed and time.monotonic() < deadline:
            time.sleep(_POLL)

    def close(self) -> None:
        """End the thread; the caller sends the last command."""
        self._closed = True
        self._restart.set()
        self._new_plan.set()
        self._thread.join()

    def values(self) -> dict[str, float | int]:
        """Return the values for /diagnostics."""
        return {**self.statistics.values(), 'deadline_misses': self.metronome.missed}

    def run(self) -> None:
        """Tick until closed, in the calling thread."""
        ticks = self.metronome
        while True:
            before = self._clock.now()
            self._new_plan.clear()
            advances = self._clock.wait(ticks.deadline, self._restart)
            now = self._clock.now()
            repeats = self._controller.plan_unchanged and not self._restart.is_set()
            if advances and now >= before and repeats:
                # A newer image is worth a tick that is a little late.
                advances = self._clock.wait(ticks.deadline + GRACE * ticks.dt, self._new_plan)
                now = self._clock.now()
            if self._closed:
                return
            if self._restart.is_set():
                self._restart.clear()
                ticks.restart(now + MARGIN * ticks.dt)
                continue
            if now < before:  # simulated time has jumped back
                self._controller.restart()
                ticks.restart(now)
            if advances:
                command = self._controller.tick(now)
                self.statistics.late_ms.add(1e3 * (now - ticks.deadline))
                ticks.advance(now)
            else:
                command = self._controller.halt(now, Reason.NO_CLOCK)
            if command.reason is Reason.RUNNING:
                ticks.shift_phase(command.waited)
            self._execute(command, now)

    def _execute(self, command: TickCommand, now: float) -> None:
        """Send the action of a tick, if it has one, and report its reason."""
        reason = command.reason
        if command.action is not None:
            try:
                self._send(command.action)
            except Exception as error:  # without this thread nothing would stop the robot
                self._warn(f'command not sent: {error}')
                self._controller.stop(Reason.COMMAND_ERROR)
                reason = Reason.COMMAND_ERROR
        if reason is Reason.RUNNING:
            self.statistics.add(None if self._sent is None else now - self._sent, command.age)
            self._sent = now
        else:
            self._sent = None
        self._report(reason)
