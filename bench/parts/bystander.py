# SPDX-License-Identifier: Apache-2.0
"""Publish and subscribe beside the measured node, in this process and a ROS context of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

T = TypeVar('T')


@contextmanager
def bystander(
    make: Callable[[Node], T], jobs: Sequence[Callable[[T, Event], None]]
) -> Iterator[T]:
    """Make an object on a node of its own; its jobs run until the event is set."""
    context, closing = Context(), Event()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('bystander', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    made = make(node)
    threads = [Thread(target=executor.spin, daemon=True)]
    threads += [Thread(target=job, args=(made, closing), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        closing.set()
        executor.shutdown()
        for thread in threads:
            thread.join()
        node.destroy_node()
        context.try_shutdown()
