# SPDX-License-Identifier: Apache-2.0
"""
The services ~/stop and ~/engage, which wait for nothing else that the node does.

They have an executor and a thread of their own, on a second node of this process: rclpy knows no
other way to serve some services of a node apart from the rest.
"""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
from threading import Thread

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future
from smwm_ros.control.controller import Controller
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.share import state_folder
from std_srvs.srv import SetBool, Trigger


class StopServer:
    """Serves ~/stop and ~/engage of a node until closed."""

    def __init__(
        self,
        node: Node,
        latch: StopLatch,
        controller: Callable[[], Controller | None],  # None while the node is not active
    ) -> None:
        self._latch, self._controller = latch, controller
        # Remapping was done by the node that the services belong to.
        self._node = Node(
            f'{node.get_name()}_stop',
            namespace=node.get_namespace(),
            context=node.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter('start_type_description_service', value=False)],
        )
        for kind, name, serve in (
            (Trigger, 'stop', self._on_stop),
            (SetBool, 'engage', self._on_engage),
        ):
            self._node.create_service(kind, node.resolve_service_name(f'~/{name}'), serve)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._node)
        self._end: Future[None] = Future()
        self._thread = Thread(target=self._run, name='stop server', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the services; legal twice."""
        if not self._end.done():
            self._end.set_result(None)
            self._executor.wake()
            self._thread.join()
            self._executor.shutdown()
            self._node.destroy_node()

    def _run(self) -> None:
        self._executor.spin_until_future_complete(self._end)

    def _on_stop(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Stop the robot until it is engaged again, in activations to come as well."""
        active = self._halt(Reason.STOPPED)
        first = '' if active else 'activate, then '
        answer.success, answer.message = (
            True,
            self._save(f'stopped; {first}call ~/engage to go on'),
        )
        return answer

    def _on_engage(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        """Let the robot move, or not."""
        if not request.data:
            self._halt(Reason.NOT_ENGAGED)
            answer.success, answer.message = True, self._save('not engaged')
            return answer
        controller = self._controller()
        answer.success = controller is not None and controller.engage()
        answer.message = (
            self._save('engaged')
            if answer.success
            else 'not active: activate first, then call ~/engage'
        )
        return answer

    def _halt(self, reason: Reason) -> bool:
        """Stop the robot; say whether the node is active."""
        self._latch.set(reason)  # first of all, for an activation may be under way
        controller = self._controller()
        if controller is not None:
            controller.stop(reason)
        return controller is not None

    def _save(self, text: str) -> str:
        """Write the stop, or its end, down for a process to come; say where that fails."""
        problem = self._latch.save()
        return f'{text}; {problem}' if problem else text


def stop_file(node: Node) -> Path:
    """Return where a node writes down that it was stopped."""
    name = node.get_fully_qualified_name().strip('/').replace('/', '.')
    return state_folder() / 'stopped' / f'{os.environ.get("ROS_DOMAIN_ID", "0")}.{name}'
