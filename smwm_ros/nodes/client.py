# SPDX-License-Identifier: Apache-2.0
"""Speak to a plan node that runs: stop and engage it, give it goals, ask how it is."""

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
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.errors import SmwmError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

_FOUND = 8.0  # until nodes have found each other [s]
_ANSWER = 10.0  # until a service has answered, or a goal is accepted [s]
_ATTEMPTS = 10  # of a request that may be repeated, within that time
_LOGGED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_REFUSED = 'goal not used: '


class Client:
    """A node beside the plan node of a namespace; use it in a `with` block."""

    def __init__(self, namespace: str, name: str = 'plan') -> None:
        space = namespace.strip('/')
        self._space = f'/{space}' if space else ''
        self.target = f'{self._space}/{name}'
        self._context = Context()

    def __enter__(self) -> Client:
        """Join the network."""
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
        """Leave it."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def stop(self) -> str:
        """Stop the robot; return what the node says."""
        return self._call(Trigger, 'stop', repeat=True)

    def engage(self) -> str:
        """Let the robot move."""
        return self._call(SetBool, 'engage', data=True)

    def capture(self) -> str:
        """Make what the camera shows the goal; return its name."""
        return self._call(Trigger, 'goal/capture')

    def record(self, begin: bool) -> str:
        """Watch a drive, or keep it."""
        return self._call(SetBool, 'route/record', data=begin)

    def aim_at_name(self, name: str) -> dict[str, Any]:
        """Give a goal by its name; return what was accepted."""
        return self._aim(String(data=name), 'goal/name')

    def aim_at_picture(self, rgb: Array) -> dict[str, Any]:
        """Give a picture (H, W, 3) as a goal; return what was accepted."""
        return self._aim(fill_image(Image(), rgb), 'goal/image')

    def aim_at_state(self, numbers: Sequence[float]) -> None:
        """Give the arena node a measured state as the goal."""
        self._publish(Float64MultiArray(data=array('d', numbers)), 'arena/goal_state')

    def _call(self, kind: Any, name: str, repeat: bool = False, **words: Any) -> str:
        """
        Call a service of the node; return its message, or raise it.

        A node may serve a client that it has not discovered yet, and its answer is lost. Discovery
        goes in order: a service asked later answers only a client that the one before can answer.
        A stop waits for nothing and is repeated; an engagement must not be, for between the two
        somebody else may have stopped the robot.
        """
        client = self._client(kind, name)
        if not repeat:
            self._answer(self._client(GetState, 'get_state'), GetState.Request(), _ATTEMPTS)
        answer = self._answer(client, kind.Request(**words), _ATTEMPTS if repeat else 1)
        if not answer.success:
            raise SmwmError(f'{self.target}: {answer.message}')
        return str(answer.message)

    def _client(self, kind: Any, name: str) -> Any:
        """Return a client of a service that is there."""
        client = self._node.create_client(kind, f'{self.target}/{name}')
        if not self._wait(client.service_is_ready, _FOUND):
            raise SmwmError(self._absent(f'no service {client.service_name}'))
        return client

    def _answer(self, client: Any, request: Any, attempts: int) -> Any:
        """Return the first answer to a request, which is sent again until there is one."""
        calls: list[Any] = []
        for _ in range(attempts):
            calls.append(client.call_async(request))
            if self._wait(lambda: any(call.done() for call in calls), _ANSWER / attempts):
                return next(call.result() for call in calls if call.done())
        raise SmwmError(f'{client.service_name} did not answer within {_ANSWER:.0f} s')

    def _aim(self, message: Any, topic: str) -> dict[str, Any]:
        """Publish a goal; return what the node has accepted, or raise why it has not."""
        refused: list[str] = []
        accepted: list[dict[str, Any]] = []
        logger = self.target.strip('/').replace('/', '.')

        def on_log(line: Log) -> None:
            if line.name == logger and line.msg.startswith(_REFUSED):
                refused.append(line.msg.removeprefix(_REFUSED))

        hear, full = self._node.create_subscription, f'{self._space}/{topic}'
        hear(String, f'{self.target}/goal/accepted', lambda m: accepted.append(_json(m)), LATCHED)
        hear(Log, '/rosout', on_log, _LOGGED)
        publisher = self._node.create_publisher(type(message), full, LATCHED)
        if not self._wait(lambda: publisher.get_subscription_count() > 0, _FOUND):
            raise SmwmError(self._absent(f'nobody hears {full}'))
        self._wait(lambda: False, 0.5)  # what was accepted, or refused, before
        count = len(accepted)
        refused.clear()
        publisher.publish(message)
        if not self._wait(lambda: bool(accepted[count:] or refused), _ANSWER):
            raise SmwmError(f'{self.target} did not take the goal; is it the same as before?')
        if refused:
            raise SmwmError(f'{self.target}: {refused[-1]}')
        return accepted[-1]

    def _publish(self, message: Any, topic: str) -> None:
        """Publish one message where somebody hears it."""
        full = f'{self._space}/{topic}'
        publisher = self._node.create_publisher(type(message), full, 10)
        if not self._wait(lambda: publisher.get_subscription_count() > 0, _FOUND):
            raise SmwmError(self._absent(f'nobody hears {full}'))
        publisher.publish(message)
        self._wait(lambda: False, 0.2)  # until it is on its way

    def health(self) -> dict[str, str]:
        """Return the diagnostics of the node, with its message and level."""
        name = f'{self.target.lstrip("/")}: control'
        found: list[dict[str, str]] = []

        def on_health(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name == name:
                    values = {item.key: item.value for item in status.values}
                    found.append({**values, 'message': status.message})

        self._node.create_subscription(DiagnosticArray, '/diagnostics', on_health, 10)
        if not self._wait(lambda: bool(found), _FOUND):
            raise SmwmError(self._absent(f'no diagnostics of {self.target}'))
        return found[-1]

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Serve callbacks until something is so; False when it does not come to be."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.05)
        return True

    def _absent(self, what: str) -> str:
        """Say what may be the matter with a node that is not there."""
        found = self._node.get_node_names_and_namespaces()
        nodes = sorted({f'{space.rstrip("/")}/{name}' for name, space in found})
        plans = [name for name in nodes if name.endswith('/plan') and name != self.target]
        there = f'there is {", ".join(plans)}; see --namespace' if plans else 'there is no other'
        domain = os.environ.get('ROS_DOMAIN_ID', '0')
        return f'{what} within {_FOUND:.0f} s; {there} (ROS_DOMAIN_ID {domain})'


def _json(message: String) -> dict[str, Any]:
    """Read what the node says in JSON."""
    read: dict[str, Any] = json.loads(message.data)
    return read
