# SPDX-License-Identifier: Apache-2.0
"""Tests of the plan node in the shadow of another driver: it compares, and commands nothing."""

import json
from typing import Any

from geometry_msgs.msg import TwistStamped
from harness import wait_until, world
import numpy as np
import pytest
from std_msgs.msg import String

THEIRS = (0.1, -0.1)  # of ranges of 1.0 and 0.8; the pilot would say (0.3, -0.2)


class Human:
    """Drives the robot all the time, and hears what the shadow says."""

    def __init__(self, here):
        self.here = here
        self.command: tuple[float, float] | None = THEIRS
        self.shadow, self.reported = list[TwistStamped](), list[dict[str, Any]]()
        node = here.robot
        self._commands = node.create_publisher(TwistStamped, '/cmd_vel', 10)
        node.create_subscription(TwistStamped, '/plan/shadow/command', self.shadow.append, 10)
        node.create_subscription(String, '/plan/shadow/agreement', self._on_report, 10)
        node.create_timer(0.05, self._drive)

    def _drive(self):
        if self.command is not None:
            message = TwistStamped()
            message.twist.linear.x, message.twist.linear.y = self.command
            self._commands.publish(message)

    def _on_report(self, message):
        self.reported.append(json.loads(message.data))


def test_the_shadow_publishes_beside_the_robot_and_measures_the_agreement(checkpoint):
    with world(checkpoint, 'node.shadow:=true') as here:
        human = Human(here)
        here.camera_on = True
        here.aim()
        here.wait_for('RUNNING')
        wait_until(lambda: len(human.reported) > 5, 'comparisons')
        assert human.reported[-1]['ours'] == pytest.approx([0.3, -0.2])
        assert human.reported[-1]['theirs'] == pytest.approx(THEIRS)
        assert human.reported[-1]['difference'] == pytest.approx((0.2 + 0.125) / 2, abs=1e-4)
        wait_until(lambda: float(here.health.get('shadow_compared', 0)) > 5, 'diagnostics')
        assert float(here.health['shadow_close']) == 1
        assert float(here.health['shadow_direction']) > 0.9
        spoken = {(c.twist.linear.x, c.twist.linear.y) for c in here.commands}
        assert spoken == {THEIRS}, 'the shadow spoke to the robot'
        assert {(c.twist.linear.x, c.twist.linear.y) for c in human.shadow} <= {
            (0.3, -0.2),
            (0.0, 0.0),
        }
        assert here.status == 'RUNNING', 'another driver is what it is there for'


def test_in_the_shadow_plans_begin_with_what_the_other_driver_did(checkpoint):
    with world(checkpoint, 'node.shadow:=true', 'node.camera_delay:=0.2') as here:
        human = Human(here)
        wait_until(lambda: here.commands, 'the human')
        here.camera_on = True
        here.aim()
        here.wait_for('RUNNING')

        def knows():
            rows = here.pilot.sent[-1]
            return rows is not None and len(rows) >= 3 and np.allclose(rows, THEIRS)

        wait_until(knows, 'a plan that begins with what the human did')
        assert human.command == THEIRS


def test_without_another_driver_there_is_nothing_to_compare(checkpoint):
    with world(checkpoint, 'node.shadow:=true') as here:
        human = Human(here)
        human.command = None
        here.camera_on = True
        here.aim()
        here.wait_for('RUNNING')
        wait_until(lambda: len(human.shadow) > 5, 'commands in the shadow')
        assert human.reported == []
        assert here.commands == []


def test_a_command_that_is_no_number_is_not_compared(checkpoint):
    with world(checkpoint, 'node.shadow:=true') as here:
        human = Human(here)
        human.command = (float('nan'), 0.0)
        here.camera_on = True
        here.aim()
        here.wait_for('RUNNING')
        wait_until(lambda: len(human.shadow) > 5, 'commands in the shadow')
        assert human.reported == []
        human.command = THEIRS
        wait_until(lambda: human.reported, 'a comparison')
