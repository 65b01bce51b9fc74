# SPDX-License-Identifier: Apache-2.0
"""
Serve ~/stop and ~/engage, which do not wait for anything else that the node does.

They have an executor and a thread of their own, on a second node of this process: rclpy has no
other way to serve some services of a node independently of the others.
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
    """Serves ~/stop and ~/engage of a node until it is closed."""

    def __init__(
        self,
        node: Node,
        latch: StopLatch,
        controller: Callable[[], Controller | None],  # None while the node is not active
    ) -> None:
        self._latch, self._controller = latch, controller
        # The first node resolves the service names, so no remapping is needed here.
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
        """End the services; may be called twice."""
        if not self._end.done():
            self._end.set_result(None)
            self._executor.wake()
            self._thread.join()
            self._executor.shutdown()
            self._node.destroy_node()

    def _run(self) -> None:
        """Spin until closed."""
        self._executor.spin_until_future_complete(self._end)

    def _on_stop(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Stop the robot until it is engaged again, in later activations too."""
        active = self._halt(Reason.STOPPED)
        first = '' if active else 'activate the node, then '
        text = f'stopped; {first}call ~/engage to resume'
        answer.success, answer.message = True, self._save(text)
        return answer

    def _on_engage(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        """Allow motion, or forbid it."""
        if not request.data:
            self._halt(Reason.NOT_ENGAGED)
            answer.success, answer.message = True, self._save('not engaged')
            return answer
        controller = self._controller()
        answer.success = controller is not None and controller.engage()
        answer.message = (
            self._save('engaged')
            if answer.success
            else 'not active; activate the node, then call ~/engage'
        )
        return answer

    def _halt(self, reason: Reason) -> bool:
        """Stop the robot; return whether the node is active."""
        self._latch.set(reason)  # first, for an activation may be running
        controller = self._controller()
        if controller is not None:
            controller.stop(reason)
        return controller is not None

    def _save(self, text: str) -> str:
        """Save the stop, or its end, for a restarted node; return the text with a warning."""
        problem = self._latch.save()
        return f'{text}; {problem}' if problem else text


def stop_file(node: Node) -> Path:
    """Return the file in which a node saves that it was stopped."""
    name = node.get_fully_qualified_name().strip('/').replace('/', '.')
    return state_folder() / 'stopped' / f'{os.environ.get("ROS_DOMAIN_ID", "0")}.{name}'
