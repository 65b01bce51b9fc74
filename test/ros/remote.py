# SPDX-License-Identifier: Apache-2.0
"""An arena node as a process, and a node that hears and drives it."""

from contextlib import contextmanager
import json
import signal
import subprocess
import sys
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from harness import PATIENCE, wait_until
from nav_msgs.msg import Odometry
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import String
from std_srvs.srv import Trigger

QUICK = ('arena.image_size:=16', 'sim.real_time_factor:=5.0')
SERVICES = ('next', 'reset', 'set_goal', 'randomise')


class Remote:
    """Hears and drives an arena node."""

    def __init__(self, node, process, camera, state, command):
        self.node, self.process = node, process
        self.images, self.states, self.goals = list[Image](), list[Any](), list[Image]()
        self.tasks, self.health, self.drawn = list[Any](), list[Any](), list[Any]()
        node.create_subscription(*camera, self.images.append, 10)
        node.create_subscription(*state, self.states.append, 10)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, 10)
        node.create_subscription(String, '/arena/randomisation', self._on_drawn, LATCHED)
        node.create_subscription(Image, '/goal/image', self.goals.append, LATCHED)
        node.create_subscription(
            String,
            '/arena/task',
            lambda message: self.tasks.append(json.loads(message.data)),
            LATCHED,
        )
        self.command = node.create_publisher(*command, 10)
        self._clients = {name: node.create_client(Trigger, f'/arena/{name}') for name in SERVICES}
        self.wait(lambda: self.tasks and self.task['goal_shown'], 'a task')
        self.wait(self.command.get_subscription_count, 'somebody who listens')
        self.wait(lambda: self.states and self.images, 'the camera')

    def _on_health(self, message):
        status = message.status[0]
        if status.name == 'arena: physics':
            self.health.append({item.key: float(item.value) for item in status.values})

    def _on_drawn(self, message):
        self.drawn.append(json.loads(message.data))

    @property
    def task(self):
        """Return the last thing heard of the task."""
        return self.tasks[-1]

    @property
    def place(self):
        """Return where the robot was seen last."""
        position = self.states[-1].pose.pose.position
        return position.x, position.y

    def wait(self, condition, what):
        """Wait for an event, or fail with what the node said when it died."""

        def check():
            assert self.process.poll() is None, self.process.stderr.read()
            return condition()

        wait_until(check, what)

    def ticks(self, count):
        """Wait for so many more states."""
        goal = len(self.states) + count
        self.wait(lambda: len(self.states) >= goal, f'{count} ticks')

    def send(self, velocity):
        """Send one command."""
        command = TwistStamped()
        command.twist.linear.x, command.twist.linear.y = velocity
        self.command.publish(command)

    def drive(self, velocity, until, what):
        """Send a command every tick until something happens."""
        self.wait(lambda: self.send(velocity) or self.ticks(1) or until(), what)

    def call(self, name):
        """Call one of the services."""
        client = self._clients[name]
        self.wait(client.service_is_ready, 'the service')
        future = client.call_async(Trigger.Request())
        self.wait(future.done, 'the answer')
        return future.result()


@contextmanager
def arena(
    *words,
    camera=(Image, '/camera/image_raw'),
    state=(Odometry, '/odom'),
    command=(TwistStamped, '/cmd_vel'),
):
    """Start an arena node, and listen to it; it must end well."""
    parameters = [part for word in (*QUICK, *words) for part in ('-p', word)]
    process = subprocess.Popen(
        [sys.executable, '-m', 'smwm_ros.nodes.arena', '--ros-args', *parameters],
        stderr=subprocess.PIPE,
        text=True,
    )
    rclpy.init()
    node = rclpy.create_node('remote')
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        yield Remote(node, process, camera, state, command)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert 'Traceback' not in said
    finally:
        process.kill()
        process.wait()
        executor.shutdown()
        thread.join()
        node.destroy_node()
        rclpy.try_shutdown()
