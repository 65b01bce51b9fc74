# SPDX-License-Identifier: Apache-2.0
"""What lives while the plan node is active: ears for images and goals, planner, command thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
import json
from math import isfinite
from threading import Lock
from typing import Any

import numpy as np
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.publisher import Publisher
from rclpy.qos import qos_policy_name_from_kind, QoSProfile
from smwm_ros import config
from smwm_ros.core.control import Controller
from smwm_ros.core.interfaces import Array
from smwm_ros.core.reasons import Reason
from smwm_ros.errors import CodecError
from smwm_ros.nodes.clocks import clock_of
from smwm_ros.nodes.driver import Driver
from smwm_ros.nodes.foresight import Foresight
from smwm_ros.nodes.goals import Goals
from smwm_ros.nodes.messages import camera_qos
from smwm_ros.nodes.mouth import Mouth
from smwm_ros.nodes.painter import Painter, Sketch
from smwm_ros.nodes.setup import Setup
from smwm_ros.nodes.shadow import Shadow
from smwm_ros.nodes.thinker import Pilotlike, Thinker, Thought, View
from std_msgs.msg import String

_STRIDE = 101  # images that differ mostly do so in one of so many bytes
_HANG = 1.0  # a planner that takes longer to end is left behind [s]
_SLOWING = 3.0  # a robot whose commands may not jump is given so long to slow down [s]


class Activity:
    """Begins with the activate transition and ends with a stop command."""

    def __init__(
        self,
        node: LifecycleNode,
        setup: Setup,
        knobs: config.Node,
        pilot: Pilotlike,
        commands: Publisher | None,  # None in a dry run
        goal_knobs: config.Goal,
        report: Callable[[Reason], None],
    ) -> None:
        self._node = node
        self._setup = setup
        self._knobs = knobs
        self._clock = clock_of(node)
        dt = setup.robot.dt
        self.controller = Controller(setup.codec.spec, setup.robot.command.stop, knobs)
        self._foresight = Foresight(node, setup, knobs, self._clock, self.controller)
        note = self._foresight.note
        self._shadow = (
            Shadow(node, setup, self._clock, note, self._complain) if knobs.shadow else None
        )
        self._mouth = Mouth(node, setup, commands, self._shadow, note)
        say = self._mouth.say
        self.driver = Driver(self.controller, self._clock, dt, say, report, self._complain)
        outlook = partial(self._foresight.outlook, self.driver)
        self.thinker = Thinker(
            pilot, self.controller, self._clock, dt, outlook, self._on_plan, self._complain
        )
        self._ending = Lock()
        self._ended = False
        self.hung = False  # the planner did not end, and still holds its pilot
        self._shares: Mapping[str, float] = {}  # of each term in the cost of the last plan
        self._to_go: float | None = None  # of the last plan along a roadmap [model steps]
        self.frames = self.bad_frames = self.lost_frames = self.same_frames = 0
        self._data: Array = np.zeros(0, np.uint8)  # of the last usable image, as it came
        self._newest: tuple[Array, float] | None = None  # usable image, and when it came
        self._stats = node.create_publisher(String, '~/stats', 10)
        self._views: dict[str, tuple[Array, float]] = {}  # of further cameras, and when seen
        self.goals = Goals(
            node, setup, goal_knobs, self.thinker, self.controller, self._complain, self._view
        )
        self.painter = Painter(node, setup, self._complain)
        self._ears = self._open_ears(camera_qos(knobs.camera_reliability))
        self.thinker.start()
        self.driver.start()

    def configure(self, knobs: config.Node) -> None:
        """Take changed live knobs."""
        self._knobs = self._foresight.knobs = knobs
        self.controller.configure(knobs)

    def limit(self, setup: Setup) -> None:
        """Take a setup with other limits of the command's fields."""
        self._setup = self._mouth.setup = setup
        self.controller.limit(setup.codec.spec)

    def look_round(self) -> None:
        """See whether another node publishes commands on our topic."""
        self.controller.contest(self._mouth.is_contested())

    def close(self) -> None:
        """Stop the robot, then everything else; safe to call twice and from any thread."""
        with self._ending:
            if self._ended:
                return
            self._ended = True
            self.controller.stop(Reason.INACTIVE)
            self.driver.rest(_SLOWING)
            self.driver.close()
            action = self.controller.final_stop()
            if action is not None:
                self._mouth.say_last(action)
            self.hung = not self.thinker.close(_HANG)
            if self.hung:
                self._complain('the planner hangs; its thread is left behind')
            self.painter.close()

    def check(self) -> None:
        """Raise if a thread has died; only a mistake of ours can do that."""
        for thread in (self.driver, self.thinker):
            if not (thread.alive or self._ended):
                raise RuntimeError(f'the thread of {type(thread).__name__} has died')

    def deafen(self) -> None:
        """Give the subscriptions and publishers back; only from the executor's thread."""
        for ear in self._ears:
            self._node.destroy_subscription(ear)
        self._node.destroy_publisher(self._stats)
        self.goals.close()
        if self._shadow is not None:
            self._shadow.close()
        self.painter.deafen()

    def values(self) -> dict[str, float | int | bool]:
        """Return what diagnostics tell, in numbers."""
        driver, thinker = self.driver, self.thinker
        return {
            'rate_hz': 1e3 / driver.interval_ms.mean(),
            'commands': driver.commands,
            'deadline_misses': driver.missed,
            'jitter_ms_p50': driver.late_ms.percentile(50),
            'jitter_ms_p99': driver.late_ms.percentile(99),
            'plans': thinker.plan_ms.count,
            'plan_ms_p50': thinker.plan_ms.percentile(50),
            'plan_ms_p99': thinker.plan_ms.percentile(99),
            'planner_errors': thinker.errors,
            'image_age_ms_p50': driver.age_ms.percentile(50),
            'image_age_ms_p99': driver.age_ms.percentile(99),
            **self._foresight.values(),
            'frames': self.frames,
            'frames_bad': self.bad_frames,
            'frames_lost': self.lost_frames,
            'frames_same': self.same_frames,
            **self.goals.values(),
            'guard_hits': self.controller.guard.interventions,
            **self._mouth.values(),
            **{f'cost_{name}': share for name, share in self._shares.items()},
            **({} if self._to_go is None else {'to_go': self._to_go}),
        }

    def _open_ears(self, qos: QoSProfile) -> list[Any]:
        """Listen to the cameras, then to the goal."""
        first, *others = self._setup.robot.camera.topics
        remedy = 'set node.camera_reliability to best_effort'
        views = {first: self._on_image}
        for number, topic in enumerate(others, 1):
            views[topic] = partial(self._on_view, topic, number)
        ears = [
            self._listen(self._setup.camera_type, topic, heard, qos, remedy)
            for topic, heard in views.items()
        ]
        return [*ears, *self.goals.listen(self._listen)]

    def _listen(
        self,
        kind: Any,
        topic: str,
        heard: Callable[[Any], None],
        qos: QoSProfile,
        remedy: str,
    ) -> Any:
        """Subscribe; whoever publishes what cannot be heard is told how to mend it."""

        def deaf(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind).lower()
            self._complain(f'{topic}: a publisher cannot be heard, its {policy} differs; {remedy}')

        def lost(event: Any) -> None:
            if heard == self._on_image:
                self.lost_frames += event.total_count_change

        events = SubscriptionEventCallbacks(incompatible_qos=deaf, message_lost=lost)
        return self._node.create_subscription(kind, topic, heard, qos, event_callbacks=events)

    def _on_image(self, message: Any) -> None:
        """Look at a camera image; the newest one only ever waits for the planner."""
        now = self._clock.now()
        self.frames += 1
        try:
            self._check_stamp(message)
            views = [self._setup.view(message, 0), *self._other_views(now)]
            pixels = self._setup.compose(views)
        except Exception as error:  # no message from outside may end the node
            self.bad_frames += 1
            self._complain(f'image not used: {error}')
            return
        self._newest = pixels, now
        view = View(pixels, self._foresight.taken(message, now), self.controller.era)
        same = self._is_same(message)
        # In the shadow it is not we who drive, and a robot at rest shows the same for long.
        self.controller.saw_image(now, same and self._shadow is None)
        self.thinker.see(view)

    def _view(self) -> Array:
        """Return what the camera shows (S, S, 3), or raise when that was long ago."""
        limit = self._knobs.image_timeout
        if self._newest is None or self._clock.now() - self._newest[1] > limit:
            raise CodecError(f'no camera image came in the last {limit:g} s')
        return self._newest[0]

    def _check_stamp(self, message: Any) -> None:
        """Refuse an image that was not taken about now, where stamps are to be trusted."""
        limit = self._knobs.stamp_timeout
        if not limit:
            return
        stamp = message.header.stamp
        now = self._node.get_clock().now().nanoseconds * 1e-9
        age = now - (stamp.sec + 1e-9 * stamp.nanosec)
        if abs(age) > limit:
            raise CodecError(
                f'its stamp is {age:.3f} s old, node.stamp_timeout allows {limit:g} s; are the '
                'clocks of the camera and of this machine the same?'
            )

    def _is_same(self, message: Any) -> bool:
        """Say whether an image is the one before again, byte for byte, which noise forbids."""
        new = np.frombuffer(message.data, np.uint8)
        old, self._data = self._data, new
        if new.size != old.size or not np.array_equal(new[::_STRIDE], old[::_STRIDE]):
            return False
        same = np.array_equal(new, old)
        self.same_frames += same
        return same

    def _on_view(self, topic: str, number: int, message: Any) -> None:
        """Keep the newest view of a further camera."""
        try:
            self._views[topic] = self._setup.view(message, number), self._clock.now()
        except Exception as error:  # as above
            self.bad_frames += 1
            self._complain(f'image of {topic} not used: {error}')

    def _other_views(self, now: float) -> list[Array]:
        """Return the views of the further cameras, none of them older than in training."""
        limit = self._setup.checkpoint.dataset.max_frame_age
        for topic in self._setup.robot.camera.topics[1:]:
            if topic not in self._views or now - self._views[topic][1] > limit:
                raise CodecError(f'no image of {topic} came in the last {limit:g} s')
        return [self._views[topic][0] for topic in self._setup.robot.camera.topics[1:]]

    def _on_plan(self, thought: Thought) -> None:
        """Let the command thread know, and tell how planning went."""
        self.driver.nudge()
        plan = thought.plan
        self._shares, self._to_go = plan.shares, plan.to_go
        told = {
            'plan_ms': round(thought.plan_ms, 3),
            'image_age_ms': round(thought.age_ms, 3),
            'cost': plan.cost,
            'spread': plan.spread,
            'distance': plan.distance,
            'shares': dict(plan.shares),
            # JSON knows no infinity.
            'to_go': plan.to_go if plan.to_go is None or isfinite(plan.to_go) else 'no way known',
            **self.goals.on_plan(thought),
        }
        self._stats.publish(String(data=json.dumps(told)))
        if self.painter.is_watched:
            goals = self.goals
            near = 0.0 if goals.reach is None else goals.reach.near
            picture = goals.picture(thought.at)
            self.painter.offer(Sketch(thought.pixels, picture, goals.count, near, plan))

    def _complain(self, text: str) -> None:
        """Warn, at most once a second."""
        self._node.get_logger().warning(text, throttle_duration_sec=1.0)
