# SPDX-License-Identifier: Apache-2.0
"""
A ROS node of a program that uses another node for a short time; every wait has a limit.

DDS announces a participant a few times when it joins, and then rarely. On a busy machine all of
these announcements can be lost, and waiting longer finds nothing. A participant that joins anew is
announced anew, so a target that was not discovered is looked for twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import os
import time
from typing import Any, TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from smwm_ros.errors import SmwmError

_DISCOVERY = 6.0  # longest wait for the discovery of a node, after each join [s]
_JOINS = 2  # of the ROS graph, until the target is discovered
PREFIX = 'smwm_'  # of the names of these nodes; they drive no robot
ANSWER = 10.0  # longest wait for the answer of a node [s]
Made = TypeVar('Made')


class Connection:
    """Services and topics of a target node, which has to be discovered first."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._found = False  # whether anything of the target was discovered
        self._join()

    def _join(self) -> None:
        """Create a node in a context of its own, which is a new DDS participant."""
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(
            f'{PREFIX}{os.getpid()}', context=self._context, start_parameter_services=False
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

    def discover(
        self, make: Callable[[], Made], ready: Callable[[Made], bool], missing: str
    ) -> Made:
        """
        Return what `make` created when it is ready, or raise with what is missing.

        Unless something of the target was discovered before, join anew once and make it again.
        What else was created by then is destroyed.
        """
        joins = 1 if self._found else _JOINS
        plans = set[str]()  # other plan nodes; discovery may miss one in a join
        for join in range(joins):
            if join:
                self.close()
                self._join()
            made = make()
            if self.wait(lambda made=made: ready(made), _DISCOVERY):  # type: ignore[misc]
                self._found = True
                return made
            found = self.node.get_node_names_and_namespaces()
            nodes = {f'{space.rstrip("/")}/{name}' for name, space in found}
            plans |= {name for name in nodes if name.endswith('/plan') and name != self._target}
        others = ', '.join(sorted(plans))
        hint = f'found {others}; see --namespace' if plans else 'no other plan node was found'
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        raise SmwmError(
            f'{missing} within {joins * _DISCOVERY:.0f} s; {hint} (ROS_DOMAIN_ID {domain})'
        )

    def clients(self, services: Mapping[str, Any]) -> list[Any]:
        """Return clients of services by name and type, or raise if one is missing."""
        names = {f'{self._target}/{name}': kind for name, kind in services.items()}
        return self.discover(
            lambda: [self.node.create_client(kind, name) for name, kind in names.items()],
            lambda made: all(client.service_is_ready() for client in made),
            f'no service {" or ".join(names)}',
        )

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
        return self.discover(
            lambda: self.node.create_publisher(kind, topic, qos),
            lambda publisher: publisher.get_subscription_count() > 0,
            f'no subscriber on {topic}',
        )
