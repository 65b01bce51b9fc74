# SPDX-License-Identifier: Apache-2.0
"""Call a running plan node: stop and engage it, set goals, read its diagnostics."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
import json
from types import TracebackType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Log
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, JointState
from smwm_ros.codec.images import fill_image
from smwm_ros.errors import SmwmError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.connection import ANSWER, Connection
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

_ATTEMPTS = 10  # of a request that may be repeated, within ANSWER
_LOGGED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_REFUSED = 'goal not used: '


class Client:
    """A client of the plan node in a namespace; use it in a `with` block."""

    def __init__(self, namespace: str, name: str = 'plan') -> None:
        space = namespace.strip('/')
        self._space = f'/{space}' if space else ''
        self.target = f'{self._space}/{name}'

    def __enter__(self) -> Client:
        """Create a ROS node."""
        self._connection = Connection(self.target)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Destroy the ROS node."""
        self._connection.close()

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

    def set_goal_name(self, *names: str) -> dict[str, Any]:
        """Set a goal by its name, several as alternatives; return the accepted goal."""
        return self._set_goal(String(data=','.join(names)), 'goal/name')

    def set_goal_fields(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Set values of fields of the measured state as the goal; return the accepted goal."""
        message = JointState(name=list(values), position=list(values.values()))
        return self._set_goal(message, 'goal/state')

    def set_goal_picture(self, rgb: Array) -> dict[str, Any]:
        """
        Set a picture (H, W, 3) RGB as the goal; return the accepted goal.

        The alpha channel of a picture (H, W, 4) is its mask: what is transparent does not count.
        """
        return self._set_goal(fill_image(Image(), rgb), 'goal/image')

    def set_goal_state(self, numbers: Sequence[float]) -> None:
        """Set a measured state as the goal of the arena node."""
        topic = f'{self._space}/arena/goal_state'
        publisher = self._connection.publisher(Float64MultiArray, topic, 10)
        publisher.publish(Float64MultiArray(data=array('d', numbers)))
        try:
            # The arena node may discover this publisher later, and is sent the message again then.
            received = publisher.wait_for_all_acked(Duration(seconds=ANSWER))
        except NotImplementedError:  # other middleware than DDS
            received = not self._connection.wait(lambda: False, 0.5)
        if not received:
            raise SmwmError(f'the subscriber of {topic} did not receive it in {ANSWER:.0f} s')

    def _call(self, kind: Any, name: str, repeat: bool = False, **words: Any) -> str:
        """
        Call a service of the node; return the message of its answer, or raise it.

        A node that has not discovered its client yet serves the request, but the answer is lost.
        Discovery is ordered: once get_state has answered, other services can answer too. A stop is
        sent at once and repeated. An engagement must not be repeated, because another operator
        may have stopped the robot in between.
        """
        connection = self._connection
        services = {name: kind} if repeat else {name: kind, 'get_state': GetState}
        client, *states = connection.clients(services)
        for state in states:
            connection.call(state, GetState.Request(), _ATTEMPTS)
        answer = connection.call(client, kind.Request(**words), _ATTEMPTS if repeat else 1)
        if not answer.success:
            raise SmwmError(f'{self.target}: {answer.message}')
        return str(answer.message)

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

        connection = self._connection
        # First, because a connection that has to join anew loses its subscriptions.
        publisher = connection.publisher(type(message), f'{self._space}/{topic}', LATCHED)
        connection.subscribe(String, f'{self.target}/goal/accepted', on_accepted, LATCHED)
        connection.subscribe(Log, '/rosout', on_log, _LOGGED)
        connection.wait(lambda: False, 0.5)  # receive what was accepted or refused before
        count = len(accepted)
        refused.clear()
        publisher.publish(message)
        if not connection.wait(lambda: bool(accepted[count:] or refused), ANSWER):
            raise SmwmError(
                f'{self.target} did not accept the goal within {ANSWER:.0f} s; a goal that is '
                'set already is not accepted again'
            )
        if refused:
            raise SmwmError(f'{self.target}: {refused[-1]}')
        return accepted[-1]

    def health(self) -> dict[str, str]:
        """Return the values and the message of the node's diagnostics."""
        name = f'{self.target.lstrip("/")}: control'
        found: list[dict[str, str]] = []

        def on_health(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name == name:
                    values = {item.key: item.value for item in status.values}
                    found.append({**values, 'message': status.message})

        connection = self._connection
        connection.discover(
            lambda: connection.subscribe(DiagnosticArray, '/diagnostics', on_health, 10),
            lambda _: bool(found),
            f'no diagnostics of {self.target}',
        )
        return found[-1]
