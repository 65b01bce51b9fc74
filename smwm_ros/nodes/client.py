# SPDX-License-Identifier: Apache-2.0
"""Call a running plan node: stop and engage it, set goals, read its diagnostics."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
import json
import os
import time
from types import TracebackType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Log
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.errors import SmwmError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

_DISCOVERY = 8.0  # longest wait for the discovery of a node [s]
_ANSWER = 10.0  # longest wait for the answer of a service, or for an accepted goal [s]
_ATTEMPTS = 10  # of a request that may be repeated, within _ANSWER
_LOGGED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_REFUSED = 'goal not used: '


class Client:
    """A client of the plan node in a namespace; use it in a `with` block."""

    def __init__(self, namespace: str, name: str = 'plan') -> None:
        space = namespace.strip('/')
        self._space = f'/{space}' if space else ''
        self.target = f'{self._space}/{name}'
        self._context = Context()

    def __enter__(self) -> Client:
        """Create a ROS node."""
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f'smwm_{os.getpid()}', context=self._context, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Destroy the ROS node."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def stop(self) -> str:
        """Stop the robot; return the answer of the node."""
        return self._call(Trigger, 'stop', repeat=True)

    def engage(self) -> str:
        """Allow the robot to move; return the answer of the node."""
        return self._call(SetBool, 'engage', data=True)

    def capture(self) -> str:
        """Set the camera image as the goal; return its name."""
        return self._call(Trigger, 'goal/capture')

    def record(self, begin: bool) -> str:
        """Begin to record a drive, or end it and save the route; return the answer."""
        return self._call(SetBool, 'route/record', data=begin)

    def set_goal_name(self, name: str) -> dict[str, Any]:
        """Set a goal by its name; return the accepted goal."""
        return self._set_goal(String(data=name), 'goal/name')

    def set_goal_picture(self, rgb: Array) -> dict[str, Any]:
        """Set a picture (H, W, 3) RGB as the goal; return the accepted goal."""
        return self._set_goal(fill_image(Image(), rgb), 'goal/image')

    def set_goal_state(self, numbers: Sequence[float]) -> None:
        """Set a measured state as the goal of the arena node."""
        self._publisher(Float64MultiArray, f'{self._space}/arena/goal_state', 10).publish(
            Float64MultiArray(data=array('d', numbers))
        )
        self._wait(lambda: False, 0.2)  # until it is sent

    def _call(self, kind: Any, name: str, repeat: bool = False, **words: Any) -> str:
        """
        Call a service of the node; return the message of its answer, or raise it.

        A node that has not discovered its client yet serves the request, but the answer is lost.
        Discovery is ordered: once get_state has answered, other services can answer too. A stop is
        sent at once and repeated. An engagement must not be repeated, because another operator
        may have stopped the robot in between.
        """
        client = self._client(kind, name)
        if not repeat:
            self._answer(self._client(GetState, 'get_state'), GetState.Request(), _ATTEMPTS)
        answer = self._answer(client, kind.Request(**words), _ATTEMPTS if repeat else 1)
        if not answer.success:
            raise SmwmError(f'{self.target}: {answer.message}')
        return str(answer.message)

    def _client(self, kind: Any, name: str) -> Any:
        """Return a client of a service, or raise if there is no such service."""
        client = self._node.create_client(kind, f'{self.target}/{name}')
        if not self._wait(client.service_is_ready, _DISCOVERY):
            raise SmwmError(self._not_found(f'no service {client.service_name}'))
        return client

    def _answer(self, client: Any, request: Any, attempts: int) -> Any:
        """Return the first answer to a request, which is repeated until there is one."""
        calls: list[Any] = []
        for _ in range(attempts):
            calls.append(client.call_async(request))
            if self._wait(lambda: any(call.done() for call in calls), _ANSWER / attempts):
                return next(call.result() for call in calls if call.done())
        raise SmwmError(f'{client.service_name} did not answer within {_ANSWER:.0f} s')

    def _set_goal(self, message: Any, topic: str) -> dict[str, Any]:
        """Publish a goal; return the accepted goal, or raise the reason why it is refused."""
        refused: list[str] = []
        accepted: list[dict[str, Any]] = []
        logger = self.target.strip('/').replace('/', '.')

        def on_log(line: Log) -> None:
            if line.name == logger and line.msg.startswith(_REFUSED):
                refused.append(line.msg.removeprefix(_REFUSED))

        def on_accepted(message: String) -> None:
            accepted.append(json.loads(message.data))

        subscribe = self._node.create_subscription
        subscribe(String, f'{self.target}/goal/accepted', on_accepted, LATCHED)
        subscribe(Log, '/rosout', on_log, _LOGGED)
        publisher = self._publisher(type(message), f'{self._space}/{topic}', LATCHED)
        self._wait(lambda: False, 0.5)  # receive what was accepted or refused before
        count = len(accepted)
        refused.clear()
        publisher.publish(message)
        if not self._wait(lambda: bool(accepted[count:] or refused), _ANSWER):
            raise SmwmError(
                f'{self.target} did not accept the goal within {_ANSWER:.0f} s; a goal that is '
                'set already is not accepted again'
            )
        if refused:
            raise SmwmError(f'{self.target}: {refused[-1]}')
        return accepted[-1]

    def _publisher(self, kind: Any, topic: str, qos: QoSProfile | int) -> Publisher:
        """Return a publisher on a topic, or raise if there is no subscriber."""
        publisher = self._node.create_publisher(kind, topic, qos)
        if not self._wait(lambda: publisher.get_subscription_count() > 0, _DISCOVERY):
            raise SmwmError(self._not_found(f'no subscriber on {topic}'))
        return publisher

    def health(self) -> dict[str, str]:
        """Return the values and the message of the node's diagnostics."""
        name = f'{self.target.lstrip("/")}: control'
        found: list[dict[str, str]] = []

        def on_health(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name == name:
                    values = {item.key: item.value for item in status.values}
                    found.append({**values, 'message': status.message})

        self._node.create_subscription(DiagnosticArray, '/diagnostics', on_health, 10)
        if not self._wait(lambda: bool(found), _DISCOVERY):
            raise SmwmError(self._not_found(f'no diagnostics of {self.target}'))
        return found[-1]

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Spin until a condition holds; return False if it does not within the time [s]."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _not_found(self, what: str) -> str:
        """Return an error text with the plan nodes that were found instead."""
        found = self._node.get_node_names_and_namespaces()
        nodes = sorted({f'{space.rstrip("/")}/{name}' for name, space in found})
        plans = [name for name in nodes if name.endswith('/plan') and name != self.target]
        there = f'found {", ".join(plans)}; see --namespace' if plans else 'no plan node was found'
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        return f'{what} within {_DISCOVERY:.0f} s; {there} (ROS_DOMAIN_ID {domain})'
