# SPDX-License-Identifier: Apache-2.0
"""Tests for control/stop_latch.py: a stop holds until released, with a file beyond the process."""

import pytest
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch


def test_a_stop_holds_until_it_is_released():
    latch = StopLatch()
    assert latch.reason is None
    latch.set(Reason.STOPPED)
    assert latch.reason is Reason.STOPPED
    assert latch.save() == ''
    latch.release()
    assert latch.reason is None


def test_a_file_carries_the_stop_over_to_the_next_process_and_its_end_too(tmp_path):
    file = tmp_path / 'deep' / 'plan'
    first = StopLatch(file)
    first.set(Reason.NOT_ENGAGED)
    assert first.save() == ''
    second = StopLatch(file)
    assert second.reason is Reason.STOPPED
    second.release()
    assert second.save() == ''
    assert StopLatch(file).reason is None
    assert second.save() == '', 'nothing to remove is no problem'


@pytest.mark.parametrize('stopped', [True, False])
def test_a_file_that_cannot_be_changed_is_named_and_the_stop_holds_here(tmp_path, stopped):
    (tmp_path / 'file').write_text('no folder')
    latch = StopLatch(tmp_path / 'file' / 'plan')
    latch.set(Reason.STOPPED)
    if not stopped:
        latch.release()
    assert str(tmp_path / 'file' / 'plan') in latch.save()
    assert (latch.reason is Reason.STOPPED) is stopped
