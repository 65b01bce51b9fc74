# SPDX-License-Identifier: Apache-2.0
"""Goals as people have them: a picture, a name, what the camera sees now, a drive, a latent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import json
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from smwm_ros import config
from smwm_ros.control.controller import Controller
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.control.route import Event, GoalTolerance, RouteRecorder
from smwm_ros.errors import ConfigError, OutputError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.clocks import RosClock, WallClock
from smwm_ros.nodes.messages import LATCHED
from smwm_ros.nodes.peers import Wanted
from smwm_ros.nodes.planner_thread import GoalInput, PlannerThread, PlanReport
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.nodes.subscriber import IMAGE_BYTES, LATENT_BYTES, Message, Subscriber, TEXT_BYTES
from smwm_ros.share import goals_folder
from smwm_ros.text import count_of, line
from smwm_ros.training.latent_scale import distance_of
from std_msgs.msg import Float32MultiArray, String
from std_srvs.srv import SetBool, Trigger

TOPIC = 'goal'  # below it: image, name, latent
_REMEDY = 'publish the goal reliable'
_MOST_KEPT = 100  # goals that could not be written
_UNMEASURED = (
    'the checkpoint was made by an older version and does not say what near means, so no goal '
    'counts as reached; smwm train with its dataset and run folder adds that, and trains nothing'
)


class Goals:
    """Takes goals, keeps them by name, and tells when one is reached."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Goal,
        clock: WallClock | RosClock,
        planner_thread: PlannerThread,
        controller: Controller,
        complain: Callable[[str], None],
        view: Callable[[], Array],  # what the camera shows (S, S, 3), or raises
    ) -> None:
        self._node, self._setup, self._knobs = node, setup, knobs
        self._planner_thread, self._controller, self._complain = (
            planner_thread,
            controller,
            complain,
        )
        self._view = view
        run = setup.checkpoint.folder
        assert run is not None, 'a checkpoint that a node uses was loaded from somewhere'
        self._library = GoalLibrary(Path(knobs.folder) if knobs.folder else goals_folder(run))
        self._kept: dict[str, Array] = {}  # that could not be written
        self._lock = RLock()  # goals come by topics and by services, in threads of their own
        self.count = 0
        self._source, self._last, self._stamp = '', np.zeros(0), -1.0
        self._progress = (0, 0, float('nan'))
        self.reach: GoalTolerance | None = None
        self._accepted = node.create_publisher(String, '~/goal/accepted', LATCHED)
        self._reached = node.create_publisher(String, '~/goal/reached', LATCHED)
        self._names = node.create_publisher(String, '~/goal/library', LATCHED)
        self._services = [
            node.create_service(Trigger, '~/goal/capture', self._on_capture),
            node.create_service(SetBool, '~/route/record', self._on_record),
        ]
        self.subscriber = Subscriber(node, clock, controller, complain, 'goals')
        self._listen()
        self.configure(knobs)
        if self.reach is None:
            node.get_logger().warning(_UNMEASURED)
        self._tell_names()

    def _listen(self) -> None:
        """Subscribe to the topics that goals come by."""
        topics = {
            'image': (Image, self._on_image, IMAGE_BYTES),
            'name': (String, self._on_name, TEXT_BYTES),
            'latent': (Float32MultiArray, self._on_latent, LATENT_BYTES),
        }
        self.wanted = []  # the topics and their types
        for name, (kind, heard, limit) in topics.items():
            topic = f'{TOPIC}/{name}'
            take = partial(self._try, heard, self._node.resolve_topic_name(topic))
            self.subscriber.subscribe_kept(kind, topic, take, limit, _REMEDY)
            full = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            self.wanted.append(Wanted(topic, full, 'publish that'))

    def close(self) -> None:
        """Give services and publishers back; only from the executor's thread."""
        for service in self._services:
            self._node.destroy_service(service)
        for publisher in (self._accepted, self._reached, self._names):
            self._node.destroy_publisher(publisher)

    def configure(self, knobs: config.Goal) -> None:
        """Take changed live knobs."""
        self._knobs = knobs
        info = self._setup.checkpoint.info
        near, far = distance_of(info, knobs.near), distance_of(info, knobs.far)
        if near is not None and far is not None:
            # Near nothing at all: what is never reached is still driven to.
            self.reach = GoalTolerance(near if knobs.near else -1.0, far, knobs.settle)
        self._planner_thread.judge(self.reach, knobs.stay)

    def aim(self, aim: GoalInput, source: str, stamp: float = 0.0) -> None:
        """Take a goal or a route."""
        places = aim.pixels if aim.pixels is not None else aim.latents
        assert places is not None
        if len(places) > 1 and self.reach is None:
            raise ConfigError(f'a route of {count_of(len(places), "subgoal")}: {_UNMEASURED}')
        with self._lock:
            self._last, self._stamp, self._source = places, stamp, source
            self._planner_thread.aim(aim)
            self._controller.new_goal()
            self.count += 1
            said = {'number': self.count, 'source': source, 'stamp': stamp}
            said['subgoals'] = len(places)
            self._accepted.publish(String(data=json.dumps(said)))

    def on_plan(self, plan_report: PlanReport) -> dict[str, int | bool]:
        """Tell when a goal is reached; return what others are told of the way there."""
        self._progress = (plan_report.at, plan_report.of, plan_report.plan.distance)
        if plan_report.event is Event.REACHED:
            distance = round(plan_report.plan.distance, 4)
            told = {'number': self.count, 'source': self._source, 'distance': distance}
            self._reached.publish(String(data=json.dumps(told)))
            text = f'goal reached: {self._source}, distance {distance}'
            self._node.get_logger().info(line(text))
        return {'goal': self.count, 'subgoal': plan_report.at, 'subgoals': plan_report.of}

    def picture(self, at: int) -> Array | None:
        """Return a subgoal as an image (S, S, 3), None where it is a latent."""
        return self._last[at] if self._last.ndim == 4 and at < len(self._last) else None

    def values(self) -> dict[str, float | int]:
        """Return what diagnostics tell of goals."""
        at, of, distance = self._progress
        return {
            'goals': self.count,
            'subgoal': at,
            'subgoals': of,
            'goal_distance': distance,
            'near_distance': float('nan') if self.reach is None else self.reach.near,
        }

    def _on_image(self, message: Image, topic: str) -> None:
        """Take a goal image."""
        pixels = self._setup.pixels(message)[None]
        stamp = message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
        # The same one again is a publisher that repeats itself.
        if stamp != self._stamp or not np.array_equal(pixels, self._last):
            self.aim(GoalInput(pixels), topic, stamp)

    def _on_name(self, message: String, topic: str) -> None:
        """Take a goal or route by its name."""
        name, checkpoint = message.data, self._setup.checkpoint
        if name in self._kept:
            pictures = self._kept[name]
        else:
            size, how = checkpoint.image_size, checkpoint.dataset.resize
            pictures = self._library.load(name, size, how)
        # `ros2 topic pub` repeats itself: a robot on its way there goes on.
        on_its_way = name == self._source and not self._controller.arrived
        if not (on_its_way and np.array_equal(pictures, self._last)):
            self.aim(GoalInput(pictures), name)

    def _on_latent(self, message: Float32MultiArray, topic: str) -> None:
        """Take a latent, or several one after the other for a route."""
        size = self._setup.checkpoint.model.latent
        numbers = np.array(message.data, np.float32)
        if not numbers.size or numbers.size % size or not np.isfinite(numbers).all():
            raise ConfigError(
                f'expected {size} finite numbers, or a multiple of that for a route, '
                f'found {numbers.size}'
            )
        self.aim(GoalInput(latents=numbers.reshape(-1, size)), topic)

    def _try(self, take: Callable[[Any, str], None], topic: str, heard: Message) -> None:
        """Take a goal from outside, whatever it is; a bad one leaves the old goal standing."""
        try:
            take(heard.read(), topic)
        except Exception as error:  # no message from outside may end the node
            self._complain(f'goal not used: {error}')

    def _on_capture(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        """Make what the camera shows the goal, and keep it by name."""
        try:
            pixels = self._view()[None]
            answer.message = self._keep(pixels, 'view')
            self.aim(GoalInput(pixels), answer.message.partition(':')[0])
            answer.success = True
        except Exception as error:  # as above
            answer.success, answer.message = False, str(error)
        return answer

    def _on_record(self, request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        """Begin to watch a drive, or end it and keep the route."""
        try:
            answer.message = self._watch() if request.data else self._end_drive()
            answer.success = True
        except Exception as error:  # as above
            answer.success, answer.message = False, str(error)
        return answer

    def _watch(self) -> str:
        """Begin to watch a drive, by whoever drives."""
        spacing = distance_of(self._setup.checkpoint.info, self._knobs.spacing)
        if spacing is None:
            raise ConfigError(f'no route can be learnt: {_UNMEASURED}')
        before = self._planner_thread.teach(RouteRecorder(spacing))
        return 'watching' if before is None else 'watching from now on; the drive before is lost'

    def _end_drive(self) -> str:
        """Keep the route that was driven."""
        recorder = self._planner_thread.teach(None)
        if recorder is None:
            raise ConfigError('nothing was recorded; call this with true first')
        pictures = recorder.route()
        if len(pictures) < 2:
            raise ConfigError('the camera saw no drive')
        name = self._keep(np.stack(pictures), 'route')
        return f'{name}: {count_of(len(pictures), "subgoal")}'

    def _keep(self, pictures: Array, kind: str) -> str:
        """Keep pictures by a name; return it, and what is to be said of it."""
        with self._lock:
            name = self._knobs.save_as or self._free_name(kind)
            try:
                self._library.keep(name, list(pictures))
                self._kept.pop(name, None)
            except (ConfigError, OutputError) as error:
                if len(self._kept) >= _MOST_KEPT and name not in self._kept:
                    raise
                self._kept[name] = pictures
                self._complain(f'goal {name} is kept until the node is deactivated only: {error}')
        self._tell_names()
        return name

    def _free_name(self, kind: str) -> str:
        """Return a name that nothing has, neither in the folder nor in memory."""
        taken = {*self._library.names(), *self._kept}
        numbered = (f'{kind}_{number}' for number in range(1, len(taken) + 2))
        return next(name for name in numbered if name not in taken)

    def _tell_names(self) -> None:
        """Publish which goals there are, and how many subgoals each has."""
        names = {**self._library.names(), **{n: len(p) for n, p in self._kept.items()}}
        self._names.publish(String(data=json.dumps(names)))
