# SPDX-License-Identifier: Apache-2.0
"""Convert stamps and durations of messages, which hold seconds and nanoseconds apart."""

from __future__ import annotations

from typing import Any


def in_seconds(stamp: Any) -> float:
    """Return a Time or a Duration [s]."""
    return float(stamp.sec + 1e-9 * stamp.nanosec)


def in_nanoseconds(stamp: Any) -> int:
    """Return a Time or a Duration [ns], without rounding."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
