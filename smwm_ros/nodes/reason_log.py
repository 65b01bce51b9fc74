# SPDX-License-Identifier: Apache-2.0
"""Log the reason why the robot moves, or why it does not, when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from smwm_ros.control.reasons import MEANING, Reason
from smwm_ros.nodes.diagnostics import level_of
from smwm_ros.text import count_of

_INTERVAL = 5.0  # a reason is logged at most once in this time [s]
_SILENT = (Reason.UNCONFIGURED, Reason.INACTIVE)  # the transitions log lines of their own


class ReasonLog:
    """Logs each change of the reason; frequent repetitions are counted instead."""

    def __init__(self, info: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self._info, self._warn = info, warn
        self._reason: Reason | None = None
        self._since = 0.0  # when it began [s]
        self._logged: dict[Reason, float] = {}  # when each reason was logged last [s]
        self._suppressed: dict[Reason, int] = {}  # repetitions since then

    def update(self, reason: Reason, now: float) -> None:
        """Log the reason that holds from now on [s]."""
        before, since = self._reason, self._since
        self._reason, self._since = reason, now
        if reason in _SILENT:
            self._logged.clear()
            return
        if now - self._logged.get(reason, -_INTERVAL) < _INTERVAL:
            self._suppressed[reason] = self._suppressed.get(reason, 0) + 1
            return
        self._logged[reason] = now
        text = f'{reason.value}: {MEANING[reason]}'
        if before not in (None, *_SILENT):
            assert before is not None
            text += f' (after {now - since:.1f} s of {before.value})'
        count = self._suppressed.pop(reason, 0)
        if count:
            text += f'; not logged: {count_of(count, "repetition")}'
        # rclpy allows one severity for each line of code.
        if level_of(reason) == DiagnosticStatus.ERROR:
            self._warn(text)
        else:
            self._info(text)
