# SPDX-License-Identifier: Apache-2.0
"""A ROS node of a program that uses another node for a short time; every wait has a limit."""

from __future__ import annotations

from collections.abc import Callable
import os
import time
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from smwm_ros.errors import SmwmError

_DISCOVERY = 8.0  # longest wait for the discovery of a node [s]
ANSWER = 10.0  # longest wait for the answer of a node [s]


class Connection:
    """Services and topics of a target node, which has to be discovered first."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(
            f'smwm_{os.getpid()}', context=self._context, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.subscribe = self.node.create_subscription

    def close(self) -> None:
        """Destroy the node."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds; return False if it does not within the time [s]."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def discover(self, condition: Callable[[], bool], missing: str) -> None:
        """Spin until a condition holds, or raise with what is missing."""
        if self.wait(condition, _DISCOVERY):
            return
        found = self.node.get_node_names_and_namespaces()
        nodes = sorted({f'{space.rstrip("/")}/{name}' for name, space in found})
        plans = [name for name in nodes if name.endswith('/plan') and name != self._target]
        others = ', '.join(plans)
        hint = f'found {others}; see --namespace' if plans else 'no other plan node was found'
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        raise SmwmError(f'{missing} within {_DISCOVERY:.0f} s; {hint} (ROS_DOMAIN_ID {domain})')

    def client(self, kind: Any, name: str) -> Any:
        """Return a client of a service of the target, or raise if there is no such service."""
        client = self.node.create_client(kind, f'{self._target}/{name}')
        self.discover(client.service_is_ready, f'no service {client.service_name}')
        return client

    def call(self, client: Any, request: Any, attempts: int) -> Any:
        """Return the first answer to a request, which is repeated until there is one."""
        calls: list[Any] = []
        for _ in range(attempts):
            calls.append(client.call_async(request))
            if self.wait(lambda: any(call.done() for call in calls), ANSWER / attempts):
                return next(call.result() for call in calls if call.done())
        raise SmwmError(f'{client.service_name} did not answer within {ANSWER:.0f} s')

    def publisher(self, kind: Any, topic: str, qos: QoSProfile | int) -> Publisher:
        """Return a publisher on a topic, or raise if there is no subscriber."""
        publisher = self.node.create_publisher(kind, topic, qos)
        self.discover(lambda: publisher.get_subscription_count() > 0, f'no subscriber on {topic}')
        return publisher
