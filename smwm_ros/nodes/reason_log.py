# SPDX-License-Identifier: Apache-2.0
"""Why the robot moves, or why it does not, on the console: when that begins and when it ends."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus
from smwm_ros.control.reasons import MEANING, Reason
from smwm_ros.nodes.diagnostics import level_of

_QUIET = 5.0  # a reason that comes and goes is logged once in so long [s]
_SILENT = (Reason.UNCONFIGURED, Reason.INACTIVE)  # the transitions have lines of their own


class ReasonLog:
    """Logs each change of the reason; one that comes and goes quickly is counted instead."""

    def __init__(self, info: Callable[[str], object], warn: Callable[[str], object]) -> None:
        self._info, self._warn = info, warn
        self._reason: Reason | None = None
        self._since = 0.0  # when it began [s]
        self._said: dict[Reason, float] = {}  # when each was logged last [s]
        self._unsaid: dict[Reason, int] = {}  # how often it came since

    def note(self, reason: Reason, now: float) -> None:
        """Take the reason that holds from now on [s]."""
        before, since = self._reason, self._since
        self._reason, self._since = reason, now
        if reason in _SILENT:
            self._said.clear()
            return
        if now - self._said.get(reason, -_QUIET) < _QUIET:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._said[reason] = now
        text = f'{reason.value}: {MEANING[reason]}'
        if before not in (None, *_SILENT):
            assert before is not None
            text += f' (after {now - since:.1f} s of {before.value})'
        count = self._unsaid.pop(reason, 0)
        if count:
            text += f'; so {count} more times since this was said last'
        # rclpy knows a place in the code by its line, and wants one severity there.
        if level_of(reason) == DiagnosticStatus.ERROR:
            self._warn(text)
        else:
            self._info(text)
