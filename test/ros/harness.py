# SPDX-License-Identifier: Apache-2.0
"""A plan node, a robot that it drives, and what a test needs to watch both."""

from contextlib import contextmanager
import gc
import json
import threading
import time
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.msg import Log
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image
from smwm_ros.codec.images import fill_image
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.plan import PlanNode
from smwm_ros.planning.pilot import PilotPlan
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

PATIENCE = 20.0  # nothing here takes a second; a loaded machine may need longer [s]
CAMERA_PERIOD = 0.02
LOGGED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def wait_until(condition, what):
    """Wait for an event, and fail with its name when it does not come."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f'in vain: {what}'
        time.sleep(0.005)


def picture(grey, size=16):
    """Return an Image of one colour."""
    return fill_image(Image(), np.full((size, size, 3), grey, np.uint8))


def png(grey, size=16):
    """Return a CompressedImage of one colour."""
    data = cv2.imencode('.png', np.full((size, size, 3), grey, np.uint8))[1]
    return CompressedImage(format='png', data=data.tobytes())


class FakePilot:
    """Drives the same way whatever it sees, unless made to misbehave."""

    def __init__(self, checkpoint, planner):
        self.planner = planner
        self.action = (0.3, -0.2)
        self.error = None
        self.hang = None  # an event to wait for
        self.delay = 0.0  # of each plan [s]
        self.goals = []
        self.metrics = []
        self.seen = []
        self.sent = []
        self.warm = False
        self.raw_steps = 10
        self.shares = {'goal': 0.75, 'effort': 0.25}
        self.to_go = None
        self.seconds = None  # to any goal

    def warm_up(self):
        """Note that it was called, and take no time."""
        self.warm = True
        return 0.0

    def encode(self, pixels):
        """Return the colours as latents."""
        latents = np.zeros((len(pixels), 8))
        latents[:, 0] = pixels[:, 0, 0, 0]
        return latents

    def seconds_to(self, latent, goals):
        """Return the same time to all goals, if there is one."""
        return None if self.seconds is None else np.full(len(goals), self.seconds)

    def aim(self, latent, metric=None):
        """Note the goal's colour."""
        self.goals.append(int(latent[0]))
        self.metrics.append(metric)

    def plan(self, pixels, elapsed, sent=None, before=None):
        """Note the image's colour and plan, fail or hang."""
        self.sent.append(sent)
        self.seen.append(int(pixels[0, 0, 0]))
        hang = self.hang
        if hang is not None:
            hang.wait(PATIENCE)
        time.sleep(self.delay)
        if self.error is not None:
            raise self.error
        actions = np.tile(np.array(self.action, float), (10, 1))
        latent = self.encode(pixels[None])[0]
        return PilotPlan(actions, 1.0, 0.5, 2.0, self.shares, self.to_go, latent, self.seconds)

    def reset(self):
        """Have nothing to forget."""

    def cancel(self):
        """Have no rounds to end between."""


class World:
    """The plan node under test, and a node that is camera, motor and operator at once."""

    def __init__(self, plan, robot, pilots, command_type=TwistStamped):
        self.plan, self.robot, self.pilots = plan, robot, pilots
        self.commands, self.statuses = list[Any](), list[str]()
        self.health = dict[str, Any]()
        self.accepted, self.stats, self.log = list[Any](), list[Any](), list[Any]()
        self.camera_on = False
        self.grey = 0
        self.spoil = None  # makes other images than a changing grey
        self.age = None  # of the images' stamps [s]; None for no stamp
        self._image = robot.create_publisher(Image, '/camera/image_raw', 1)
        self._goal = robot.create_publisher(Image, '/goal/image', LATCHED)
        robot.create_timer(CAMERA_PERIOD, self._on_camera)
        hear = robot.create_subscription
        hear(command_type, '/cmd_vel', self.commands.append, 100)
        hear(String, '/plan/status', lambda m: self.statuses.append(m.data), LATCHED)
        hear(String, '/plan/goal/accepted', lambda m: self.accepted.append(m.data), LATCHED)
        hear(DiagnosticArray, '/diagnostics', self._on_health, 10)
        hear(String, '/plan/stats', lambda m: self.stats.append(json.loads(m.data)), 100)
        hear(Log, '/rosout', lambda m: self.log.append(m.msg), LOGGED)

    @property
    def pilot(self):
        """Return the pilot that was made last."""
        return self.pilots[-1]

    @property
    def status(self):
        """Return the last reason heard."""
        return self.statuses[-1] if self.statuses else ''

    def wait_for_log(self, *texts):
        """Wait until the node has said all of these."""
        wait_until(lambda: all(any(text in m for m in list(self.log)) for text in texts), texts)

    def values(self):
        """Return the numbers of the diagnostics, which are published only once a second."""
        return self.active.values()

    @property
    def active(self):
        """Return what lives while the node is active; its first words come before it is whole."""
        wait_until(lambda: self.plan.session, 'the activation')
        return self.plan.session

    @property
    def frames(self):
        """Return how many images the node has heard."""
        return self.active.cameras.count

    def frames_more(self, count):
        """Wait until the node has heard so many more images."""
        goal = self.frames + count
        wait_until(lambda: self.frames >= goal, 'images')

    def show(self, message):
        """Publish one camera image."""
        self._image.publish(message)

    def restart_camera(self, qos):
        """Go on with another publisher of images, or with none."""
        self.robot.destroy_publisher(self._image)
        if qos is not None:
            self._image = self.robot.create_publisher(Image, '/camera/image_raw', qos)

    def aim(self, grey=200):
        """Publish a goal image."""
        self.publish_goal(picture(grey))

    def publish_goal(self, message):
        """Publish a message as the goal image."""
        self._goal.publish(message)

    def drive(self):
        """Let the robot run towards a goal."""
        self.camera_on = True
        self.aim()
        self.wait_for('RUNNING')
        wait_until(lambda: self.commands, 'a command')

    def wait_for(self, reason):
        """Wait for a reason code."""
        wait_until(lambda: self.status == reason, f'{reason}; heard {self.statuses}')

    def last(self, number=-1):
        """Return the latest command, or another one, as a vector."""
        twist = self.commands[number].twist
        return (twist.linear.x, twist.linear.y)

    def wait_for_rest(self):
        """Wait for a stop command after motion."""
        wait_until(lambda: self.commands and self.last() == (0.0, 0.0), 'a stop command')

    def wait_for_motion(self):
        """Wait for motion after a stop command."""
        wait_until(lambda: self.commands and self.last() != (0.0, 0.0), 'motion')

    def call(self, kind, name, **words):
        """Call a service and return its answer."""
        client = self.robot.create_client(kind, name)
        assert client.wait_for_service(PATIENCE), f'no service {name}'
        future = client.call_async(kind.Request(**words))
        wait_until(future.done, f'an answer of {name}')
        return future.result()

    def transition(self, name):
        """Ask for a lifecycle transition, and say whether it succeeded."""
        number = getattr(Transition, f'TRANSITION_{name.upper()}')
        return self.call(
            ChangeState, '/plan/change_state', transition=Transition(id=number)
        ).success

    def state(self):
        """Return the lifecycle state, from the node itself."""
        return self.call(GetState, '/plan/get_state').current_state.label

    def set(self, *parameters, together=False):
        """Set parameters over ROS, and return one (success, reason) for each."""
        messages = [parameter.to_parameter_msg() for parameter in parameters]
        if together:
            kind, name = SetParametersAtomically, '/plan/set_parameters_atomically'
            answers = [self.call(kind, name, parameters=messages).result]
        else:
            kind, name = SetParameters, '/plan/set_parameters'
            answers = self.call(kind, name, parameters=messages).results
        return [(answer.successful, answer.reason) for answer in answers]

    def stop(self):
        """Call ~/stop."""
        return self.call(Trigger, '/plan/stop')

    def engage(self, yes=True):
        """Call ~/engage."""
        return self.call(SetBool, '/plan/engage', data=yes)

    def _on_camera(self):
        if self.camera_on:
            self.grey = (self.grey + 1) % 250
            message = self.spoil() if self.spoil else picture(self.grey)
            if self.age is not None:
                time = self.robot.get_clock().now() - Duration(seconds=self.age)
                message.header.stamp = time.to_msg()
            self.show(message)

    def _on_health(self, message):
        status = message.status[0]
        self.health = {item.key: item.value for item in status.values}
        self.health['level'], self.health['message'] = status.level, status.message


@contextmanager
def world(checkpoint, *words, make_pilot=None, command_type=TwistStamped):
    """Start a plan node with parameters such as 'node.engage:=false', and a robot for it."""
    # What is left of a node that is gone answers for it, until Python has thrown it away.
    gc.collect()
    pilots = []

    def make_fake(made, planner):
        pilots.append(FakePilot(made, planner))
        return pilots[-1]

    arguments = ['--ros-args', '-p', f'checkpoint:={checkpoint}']
    arguments += [part for word in words for part in ('-p', word)]
    rclpy.init(args=arguments)
    plan = PlanNode(make_pilot or make_fake)
    robot = rclpy.create_node('robot', use_global_arguments=False)
    made = World(plan, robot, pilots, command_type)
    # As in two processes: what one of them is busy with does not hold up the other.
    executors = {node: SingleThreadedExecutor() for node in (plan, robot)}
    end = Future()
    threads = []
    for node, executor in executors.items():
        executor.add_node(node)
        threads.append(threading.Thread(target=executor.spin_until_future_complete, args=(end,)))
        threads[-1].start()
    executors[plan].create_task(plan.start)
    try:
        yield made
    finally:
        for pilot in pilots:
            if pilot.hang is not None:
                pilot.hang.set()
        plan.finish()
        end.set_result(None)
        for executor, thread in zip(executors.values(), threads, strict=True):
            executor.wake()
            thread.join()
            executor.shutdown()
        robot.destroy_node()
        plan.destroy_node()
        rclpy.try_shutdown()
