# SPDX-License-Identifier: Apache-2.0
"""Tests of late cameras and motors, on a plan node: what a plan begins with is what was sent."""

from itertools import groupby

from harness import wait_until, world
import numpy as np
import pytest
from smwm_ros.planning.pilot import PilotPlan

DT = 0.05  # of the checkpoint [s]
STEP = 1e-4  # by which each plan differs from the last


def number_plans(pilot):
    """Let the pilot plan something else each time."""

    def plan(pixels, elapsed, sent, before):
        pilot.sent.append(None if sent is None else np.round(sent[:, 0] / STEP))
        made = STEP * len(pilot.sent)
        return PilotPlan(np.full((10, 2), made), 1.0, 0.5, 2.0)

    pilot.plan = plan


def plays(here):
    """Return the numbers of the plans that were played, in order."""
    return [round(command.twist.linear.x / STEP) for command in here.commands]


def follows(part, whole):
    """Say whether a few numbers stand in a row in others; one may stay in force for a while."""
    part = [number for number, _ in groupby(part)]
    size = len(part)
    ends = range(len(whole) - size + 1)
    return size > 1 and any(part == whole[at : at + size] for at in ends)


def drive(here, ahead):
    """Drive until a plan began with so many commands that had been sent one after the other."""
    wait_until(lambda: here.pilots, 'a pilot')
    number_plans(here.pilot)
    here.camera_on = True
    here.aim()

    def known():
        sent = here.pilot.sent[-30:]
        moved = [rows for rows in sent if rows is not None and len(rows) == ahead and rows.all()]
        return any(follows(rows, plays(here)) for rows in moved)

    wait_until(known, f'a plan that begins with {ahead} commands; had {here.pilot.sent[-5:]}')


@pytest.mark.parametrize(('age', 'ahead'), [(0.1, 2), (0.2, 4)])
def test_what_was_sent_since_the_stamp_of_the_image_is_where_its_plan_begins(
    checkpoint, age, ahead
):
    with world(checkpoint) as here:
        here.age = age
        drive(here, ahead)
        wait_until(lambda: here.values()['camera_delay_ms_p50'] >= 1e3 * age, 'the delay')
        assert here.values()['ahead_ticks'] >= ahead - 1


def test_a_known_camera_delay_counts_instead_of_the_stamps(checkpoint):
    with world(checkpoint, 'node.camera_delay:=0.15') as here:
        drive(here, 3)
        assert here.values()['camera_delay_ms_p50'] == pytest.approx(150)


@pytest.mark.parametrize('age', [None, -1.0, 30.0])
def test_a_stamp_of_a_clock_that_is_not_ours_is_no_delay(checkpoint, age):
    with world(checkpoint) as here:
        here.age = age
        here.drive()
        wait_until(lambda: here.values()['plans'] > 5, 'five plans')
        assert here.values()['camera_delay_ms_p99'] == 0
        assert here.last() == (0.3, -0.2)


def test_motors_that_are_late_by_a_parameter_count_too(checkpoint):
    with world(checkpoint, 'node.camera_delay:=0.0', 'node.actuation_delay:=0.1') as here:
        drive(here, 2)
        assert here.values()['actuation_delay_ms'] == pytest.approx(100)


def test_without_compensation_plans_know_of_nothing_that_was_sent(checkpoint):
    with world(checkpoint, 'node.compensate:=false') as here:
        here.age = 0.2
        here.drive()
        wait_until(lambda: here.values()['plans'] > 5, 'five plans')
        assert here.pilot.sent == [None] * len(here.pilot.sent)
