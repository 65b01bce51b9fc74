# SPDX-License-Identifier: Apache-2.0
"""Fill the diagnostics message of the plan node."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from smwm_ros.control.reasons import MEANING, Reason

# Waiting for an operator, a goal or the first image is not an error.
_WAITING = {
    Reason.UNCONFIGURED,
    Reason.INACTIVE,
    Reason.NOT_ENGAGED,
    Reason.STOPPED,
    Reason.NO_GOAL,
    Reason.PLANNING,
    Reason.NO_IMAGE,
}


def level_of(reason: Reason) -> bytes:
    """Return OK while the robot follows plans, WARN while it waits, ERROR if a fault stops it."""
    level: bytes = (
        DiagnosticStatus.OK
        if reason in (Reason.RUNNING, Reason.GOAL_REACHED)
        else DiagnosticStatus.WARN
        if reason in _WAITING
        else DiagnosticStatus.ERROR
    )
    return level


def fill(
    message: DiagnosticArray,
    name: str,
    reason: Reason,
    warning: str,
    values: Mapping[str, float | int | bool],
) -> DiagnosticArray:
    """Set the status; a warning raises its level to WARN at least."""
    level = level_of(reason)
    text = MEANING[reason]
    if warning:
        level = max(level, DiagnosticStatus.WARN)
        text = f'{text}; {warning}'
    message.status = [
        DiagnosticStatus(
            level=level,
            name=name,
            message=text,
            hardware_id='smwm_ros',
            values=[
                KeyValue(key='reason', value=reason.value),
                *(KeyValue(key=key, value=_text(value)) for key, value in values.items()),
            ],
        )
    ]
    return message


def _text(value: float | int | bool) -> str:
    """Return a value as text."""
    return f'{value:.3f}' if isinstance(value, float) else str(value).lower()
