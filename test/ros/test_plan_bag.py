# SPDX-License-Identifier: Apache-2.0
"""
The acceptance test: a recorded drive is played to the plan node, with a hole in it.

Time is simulated and moves only when node and planner have done what was due, so the bounds are
the same on any machine.
"""

from pathlib import Path
import time

from builtin_interfaces.msg import Time
from harness import PATIENCE, wait_until, world
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image, to_rgb
from smwm_ros.control.ticks import GRACE
from smwm_ros.planning.pilot import Pilot

ROOT = Path(__file__).resolve().parents[2]
DT, SLICES = 0.1, 5
FRAMES = 55
HOLE = range(20, 36)  # frames that the camera loses in a row
LOST = {9, 45, 50}  # and frames that it loses alone
STALE = 0.5  # node.image_timeout


class Theatre:
    """Simulated time, a camera that plays a bag, and the commands it led to."""

    def __init__(self, here):
        self.here = here
        self.nanoseconds = 10**9
        self._clock = here.robot.create_publisher(Clock, '/clock', 10)

    @property
    def now(self):
        """Return the simulated time [s]."""
        return self.nanoseconds * 1e-9

    def publish_time(self):
        """Publish the simulated time."""
        seconds, rest = divmod(self.nanoseconds, 10**9)
        self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=rest)))

    def wait(self, condition, what):
        """Wait until the node has done something, while time all but stands still."""
        deadline = time.monotonic() + PATIENCE
        reported = time.monotonic()
        while not condition():
            assert time.monotonic() < deadline, f'in vain: {what}'
            if time.monotonic() - reported > 0.2:  # a clock that stands still is a fault
                self.nanoseconds += 1000
                self.publish_time()
                reported = time.monotonic()
            time.sleep(0.001)

    def pass_tick(self):
        """Let a control period pass; whatever is due in it is done in it."""
        ticks, clock = self.here.active.command_thread.metronome, self.here.plan.get_clock()
        for _ in range(SLICES):
            self.nanoseconds += int(DT * 1e9) // SLICES
            self.publish_time()
            self.wait(lambda: clock.now().nanoseconds >= self.nanoseconds, 'the time to be heard')
            self.wait(lambda: ticks.deadline + GRACE * DT > self.now, 'the tick')

    def show(self, frame):
        """Show a frame, and wait for the plan that is made of it."""
        here = self.here
        frames, plans = here.frames, here.values()['plans']
        here.show(fill_image(Image(), frame))
        self.wait(lambda: here.frames > frames, 'the image to be seen')
        self.wait(lambda: here.values()['plans'] > plans, 'a plan')

    def commands(self):
        """Return times (N,) [s] and speeds (N,) of all commands so far."""
        reported = [
            (c.header.stamp.sec + 1e-9 * c.header.stamp.nanosec, self.here.last(number))
            for number, c in enumerate(self.here.commands)
        ]
        return np.array([at for at, _ in reported]), np.array([np.hypot(*v) for _, v in reported])


def frames():
    """Return the images of the sample bag."""
    with AnyReader([ROOT / 'bags' / 'two_room' / 'two_room_0000']) as reader:
        topics = [link for link in reader.connections if link.topic == '/camera/image_raw']
        messages = reader.messages(topics)
        return [to_rgb(reader.deserialize(raw, link.msgtype)) for link, _, raw in messages]


def test_a_recorded_drive_with_a_hole_is_followed_within_bounds():
    *shots, goal = frames()  # the goal is of another drive, and stays far
    shots = shots[:FRAMES]
    words = ['use_sim_time:=true', 'node.frozen_timeout:=0.0', f'node.image_timeout:={STALE}']
    words += ['goal.near:=0.0']  # this drive is not about arriving
    with world(ROOT / 'models' / 'two_room', *words, make_pilot=Pilot) as here:
        theatre = Theatre(here)
        wait_until(lambda: here.plan.session is not None, 'the node to be active')
        theatre.publish_time()
        here.publish_goal(fill_image(Image(), goal))
        theatre.wait(lambda: here.accepted, 'the goal')
        times = []
        for number, shot in enumerate(shots):
            times.append(theatre.now)
            if number not in HOLE and number not in LOST:
                theatre.show(shot)
            theatre.pass_tick()
        theatre.wait(lambda: here.status == 'RUNNING', 'the status')
        at, speed = theatre.commands()
    moving = at[speed > 0]
    last, again = times[HOLE[0] - 1], times[HOLE[-1] + 1]  # of the images around the hole
    hole = (at > last) & (at < again)
    assert moving[0] - times[0] <= 2 * DT, 'it starts'
    stopped = at[hole & (speed == 0)]
    assert stopped[0] - last <= STALE + DT + 0.02, 'it stops'
    assert (speed[hole & (at >= stopped[0])] == 0).all(), 'it stays at rest'
    assert len(stopped) >= 5, 'the stop is repeated'
    assert moving[moving > last + STALE + 2 * DT][0] - again <= 2 * DT, 'it goes on'
    outside = ~hole & (at > moving[0]) & ((at < last) | (at > again + 2 * DT))
    assert (speed[outside] > 0).mean() >= 0.95, 'it does not stop for nothing'
    gaps = np.diff(at[outside & (at < last)])
    assert gaps == pytest.approx(DT, abs=0.05), 'it keeps its beat'
    reasons = here.statuses[here.statuses.index('RUNNING') :]
    assert reasons[0] == reasons[-1] == 'RUNNING'
    assert set(reasons) <= {'RUNNING', 'PLANNER_LATE', 'STALE_IMAGE'}
