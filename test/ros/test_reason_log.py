# SPDX-License-Identifier: Apache-2.0
"""Tests for nodes/reason_log.py: what the console says of a robot that stops and goes on."""

import pytest
from smwm_ros.control.reasons import MEANING, Reason
from smwm_ros.nodes.reason_log import ReasonLog


class LogOfTexts(ReasonLog):
    """A log that keeps its texts."""

    def __init__(self):
        self.said = list[tuple[str, str]]()
        super().__init__(
            lambda text: self.said.append(('info', text)),
            lambda text: self.said.append(('warn', text)),
        )


@pytest.fixture
def log():
    """Return a log with its texts as (level, text)."""
    return LogOfTexts()


def test_a_fault_is_logged_when_it_begins_and_when_it_ends(log):
    for time, reason in enumerate([Reason.INACTIVE, Reason.RUNNING, Reason.STALE_IMAGE]):
        log.update(reason, float(time))
    log.update(Reason.RUNNING, 8.5)
    assert log.said == [
        ('info', f'RUNNING: {MEANING[Reason.RUNNING]}'),
        ('warn', f'STALE_IMAGE: {MEANING[Reason.STALE_IMAGE]} (after 1.0 s of RUNNING)'),
        ('info', f'RUNNING: {MEANING[Reason.RUNNING]} (after 6.5 s of STALE_IMAGE)'),
    ]


def test_one_that_comes_and_goes_is_counted_and_does_not_flood(log):
    for tick in range(100):  # ten times a second
        log.update((Reason.RUNNING, Reason.PLANNER_LATE)[tick % 2], 0.1 * tick)
    assert len(log.said) == 4
    assert log.said[3][1].endswith('; not logged: 24 repetitions')


def test_transitions_are_not_repeated_and_begin_anew(log):
    log.update(Reason.NO_GOAL, 0.0)
    log.update(Reason.INACTIVE, 1.0)
    log.update(Reason.NO_GOAL, 2.0)
    assert [text for _, text in log.said] == [f'NO_GOAL: {MEANING[Reason.NO_GOAL]}'] * 2
