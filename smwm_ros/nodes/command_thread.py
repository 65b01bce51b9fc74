# SPDX-License-Identifier: Apache-2.0
"""The command thread: one order per tick, on time, whatever the planner does."""

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

LATE = 0.3  # a plan expected so much after a tick is still expected at it [share of a period]
_LOOK = 0.005  # how often a robot that slows down is looked at [s]


class CommandThread:
    """Ticks at absolute deadlines, asks the controller, and sends what it says."""

    def __init__(
        self,
        controller: Controller,
        clock: WallClock | RosClock,
        dt: float,
        send: Callable[[Array], None],
        report: Callable[[Reason], None],
        fail: Callable[[str], None],
    ) -> None:
        self._controller = controller
        self._clock = clock
        self._send = send
        self._report = report
        self._fail = fail
        self._beat = Metronome(dt, clock.now())
        self._wake = Event()
        self._fresh = Event()  # a plan has come
        self._closing = False
        self._thread = Thread(target=self._run, name='driver', daemon=True)
        self.late_ms = Percentiles()  # how long after its deadline a tick began
        self.age_ms = Percentiles()  # of the image behind a motion command, when it is sent
        self.interval_ms = Percentiles()  # between two motion commands in a row
        self.commands = 0  # motion commands sent
        self._sent: float | None = None  # when the last motion command was sent

    @property
    def missed(self) -> int:
        """Return the ticks that were skipped because their time had passed."""
        return self._beat.missed

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def tick_for(self, ready: float) -> float:
        """Return the tick that a plan which is ready at some time will first be played at."""
        dt, deadline = self._beat.dt, self._beat.deadline
        if self._sent is None:  # the grid begins with the plan
            return ready + MARGIN * dt
        # The grid leans towards the plans, so one that seems a little late is in time.
        return deadline + max(0, math.ceil((ready - deadline) / dt - LATE)) * dt

    def nudge(self) -> None:
        """Say that a plan is there: a robot at rest begins its grid of ticks with it."""
        self._fresh.set()
        if self._sent is None:
            self._wake.set()

    def rest(self, patience: float) -> None:
        """Wait until a robot that was told to stop has slowed down, or for so long [s]."""
        deadline = time.monotonic() + patience
        while self.alive and not self._controller.slowed and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def close(self) -> None:
        """End the thread; the last word stays with the caller."""
        self._closing = True
        self._wake.set()
        self._fresh.set()
        self._thread.join()

    def _run(self) -> None:
        """Tick until closed."""
        while True:
            before = self._clock.now()
            self._fresh.clear()
            runs = self._clock.wait(self._beat.deadline, self._wake)
            now = self._clock.now()
            if runs and now >= before and self._controller.plays_on and not self._wake.is_set():
                # The newest image counts more than the evenest beat, for a moment.
                runs = self._clock.wait(self._beat.deadline + GRACE * self._beat.dt, self._fresh)
                now = self._clock.now()
            if self._closing:
                return
            if self._wake.is_set():
                self._wake.clear()
                self._beat.restart(now + MARGIN * self._beat.dt)
                continue
            if now < before:  # simulated time has jumped back
                self._controller.restart()
                self._beat.restart(now)
            order = (
                self._controller.tick(now) if runs else self._controller.halt(now, Reason.NO_CLOCK)
            )
            if runs:
                self.late_ms.add(1e3 * (now - self._beat.deadline))
                self._beat.advance(now)
            if order.reason is Reason.RUNNING:
                self._beat.lean(order.waited)
            self._obey(order, now)

    def _obey(self, order: TickCommand, now: float) -> None:
        """Send the order's command, if it has one, and report its reason."""
        reason = order.reason
        if order.action is not None:
            try:
                self._send(order.action)
            except Exception as error:  # a thread that dies here would leave the robot moving
                self._fail(f'command not sent: {error}')
                self._controller.stop(Reason.COMMAND_ERROR)
                reason = Reason.COMMAND_ERROR
        if reason is Reason.RUNNING:
            if self._sent is not None:
                self.interval_ms.add(1e3 * (now - self._sent))
            self._sent = now
            self.age_ms.add(1e3 * order.age)
            self.commands += 1
        else:
            self._sent = None
        self._report(reason)
