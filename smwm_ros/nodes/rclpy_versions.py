# SPDX-License-Identifier: Apache-2.0
"""What differs between rclpy of Humble and that of later distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ModuleNotFoundError:  # Humble
    from rclpy.qos_event import (
        PublisherEventCallbacks,
        SubscriptionEventCallbacks,
    )

__all__ = ['PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'with_info']

OnData = Callable[[bytes, Mapping[str, Any]], None]


def with_info(on_data: OnData) -> Callable[..., None]:
    """Return the callback of a subscription that gets a message and its info; Humble has none."""
    if hasattr(Subscription, 'CallbackType'):
        return on_data

    def on_message(data: bytes) -> None:
        on_data(data, {})

    return on_message
