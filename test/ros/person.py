# SPDX-License-Identifier: Apache-2.0
"""A person who gives goals to a plan node, as several test files need it."""

from array import array
import json
import time

from geometry_msgs.msg import PoseStamped
from harness import wait_until
import numpy as np
from sensor_msgs.msg import Image, JointState
from smwm_ros.nodes.messages import LATCHED, VOLATILE
from std_msgs.msg import Float32MultiArray, String
from std_srvs.srv import SetBool, Trigger


class Person:
    """Gives goals to a node, moves its robot by hand, and hears what it says of them."""

    def __init__(self, here):
        self.here = here
        node = here.robot
        self.reached, self.names = [], {}
        hear = node.create_subscription
        hear(String, '/plan/goal/reached', self._on_reached, LATCHED)
        hear(String, '/plan/goal/library', self._on_names, LATCHED)
        self._name = node.create_publisher(String, '/goal/name', LATCHED)
        self._latent = node.create_publisher(Float32MultiArray, '/goal/latent', LATCHED)
        self._state = node.create_publisher(JointState, '/goal/state', VOLATILE)
        self._pose = node.create_publisher(PoseStamped, '/goal_pose', VOLATILE)
        self.grey = 0
        self.here.spoil = self._look
        self.here.camera_on = True
        self._noise = 0

    def _look(self):
        self._noise += 1  # in a corner that the pilot does not look at: no camera is frozen
        pixels = np.full((16, 16, 3), self.grey, np.uint8)
        pixels[-1, -1] = self._noise % 256
        data = array('B', pixels.tobytes())
        return Image(height=16, width=16, step=48, encoding='rgb8', data=data)

    def _on_reached(self, message):
        self.reached.append(json.loads(message.data))

    def _on_names(self, message):
        self.names = json.loads(message.data)

    def go(self, grey):
        """Put the robot where it sees this grey, and wait until it has seen it."""
        self.grey = grey
        pixels = np.full((16, 16, 3), grey)

        def seen():
            view = self.here.active.cameras.newest
            return view is not None and np.array_equal(view[0][0], pixels[0])

        wait_until(seen, f'the robot to see {grey}')

    def name(self, name):
        """Name a goal."""
        self._name.publish(String(data=name))

    def latent(self, *numbers):
        """Give a goal as a latent."""
        self._latent.publish(Float32MultiArray(data=[float(number) for number in numbers]))

    def state(self, **fields):
        """Give a goal as values of measured fields."""
        wait_until(self._state.get_subscription_count, 'the node')
        values = [float(value) for value in fields.values()]
        self._state.publish(JointState(name=list(fields), position=values))

    def pose(self, x, y, frame='odom'):
        """Give a goal as RViz does."""
        wait_until(self._pose.get_subscription_count, 'the node')
        message = PoseStamped()
        message.header.frame_id = frame
        message.pose.position.x, message.pose.position.y = x, y
        message.pose.orientation.w = 1.0
        self._pose.publish(message)

    def insist(self, publish, reason):
        """Publish until the node logs this; it logs at most one warning a second."""

        def logged():
            publish()
            time.sleep(0.1)
            return any(reason in text for text in list(self.here.log))

        wait_until(logged, reason)

    def aimed_near(self, grey):
        """Wait until the pilot aimed near to this grey."""
        near = lambda: self.here.pilot.goals and abs(self.here.pilot.goals[-1] - grey) <= 1  # noqa: E731
        wait_until(near, f'a goal near {grey}; {self.here.pilot.goals}')

    def capture(self):
        """Call ~/goal/capture."""
        return self.here.call(Trigger, '/plan/goal/capture')

    def record(self, yes):
        """Call ~/route/record."""
        return self.here.call(SetBool, '/plan/route/record', data=yes)

    def aimed(self, *greys):
        """Wait until the pilot aimed at these greys, one after the other."""
        wait_until(lambda: self.here.pilot.goals[-len(greys) :] == list(greys), f'goals {greys}')
