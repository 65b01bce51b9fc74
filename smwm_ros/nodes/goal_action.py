# SPDX-License-Identifier: Apache-2.0
"""
Serve the action ~/go_to_image, if the package smwm_interfaces is installed.

Its goals take the way of the goal topics: the thread of the goals' subscriber reads them, and
GoalSetter sets them. A timer watches goals that are accepted. Nothing blocks the executor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math
from typing import Any, NamedTuple

from rclpy.action import ActionServer, CancelResponse
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from smwm_ros.codec.stamps import in_seconds
from smwm_ros.control.reasons import Reason
from smwm_ros.control.stop_latch import StopLatch
from smwm_ros.errors import CodecError, ConfigError
from smwm_ros.nodes.active import ActiveSession
from smwm_ros.nodes.clocks import clock_of
from smwm_ros.nodes.current_goal import GoalProgress
from smwm_ros.nodes.messages import action_class
from smwm_ros.nodes.status import StatusPublisher
from smwm_ros.nodes.subscriber import IMAGE_BYTES
from smwm_ros.text import line

ACTION = '~/go_to_image'
_PERIOD = 0.1  # of feedback [s]
_STUCK = 'the robot did not move as predicted'
KINDS = ('image', 'compressed_image', 'name', 'latent', 'state')  # exactly one in each goal


class GoalOutcome(NamedTuple):
    """How a goal of the action ended."""

    code: int  # error_code of the result
    text: str  # error_msg of the result


class AcceptedGoal:
    """A goal of the action from its acceptance to its result."""

    def __init__(self, handle: Any, session: ActiveSession | None, began: float) -> None:
        self.handle, self.session, self.began = handle, session, began
        self.stops = 0 if session is None else session.controller.stops
        self.number = 0  # in its session, 0 until it is set
        self.problem = ''  # why it cannot be used
        self.progress = GoalProgress()  # as long as it was the current goal
        self.ended = False
        self.outcome: Future[GoalOutcome] = Future()

    @property
    def replaced(self) -> bool:
        """Return whether another goal was set after this one."""
        return self.session is not None and self.session.goals.current.number != self.number

    def set(self, source: str) -> None:
        """Set the goal, in the thread of the goals' subscriber; it may have ended meanwhile."""
        assert self.session is not None
        if self.ended:
            return
        try:
            self.number = _set(self.session, self.handle.request, source)
        except Exception as error:  # no received message may end the node
            self.problem = str(error)
        if self.ended:
            self.drop()

    def drop(self) -> None:
        """Stop the robot, unless another goal is set."""
        if self.session is not None and self.number:
            self.session.goals.current.drop(self.number)


class GoalAction:
    """Accepts every goal, because a rejection has no text, and aborts those it cannot use."""

    def __init__(
        self,
        node: Node,
        kind: Any,  # the class GoToImage
        session: Callable[[], ActiveSession | None],  # None while the node is not active
        status: StatusPublisher,
        latch: StopLatch,
    ) -> None:
        self._node, self._kind, self._session = node, kind, session
        self._status, self._latch, self._clock = status, latch, clock_of(node)
        self._source = node.resolve_service_name(ACTION)
        self._goals: dict[bytes, AcceptedGoal] = {}
        # Goals end while simulated time does not advance, too.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_PERIOD, self._watch, clock=steady)
        self._timer.cancel()
        self._server = ActionServer(
            node,
            kind,
            ACTION,
            self._execute,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        """Destroy the action server."""
        self._server.destroy()

    def _on_accepted(self, handle: Any) -> None:
        """Set a goal, and watch it from now on."""
        session = self._session()
        goal = AcceptedGoal(handle, session, self._clock.now())
        self._goals[bytes(handle.goal_id.uuid)] = goal
        if session is not None:
            session.goals.subscriber.call(goal, partial(goal.set, self._source))
        self._timer.reset()
        handle.execute()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        """Stop the robot at once; the result follows."""
        goal = self._goals.get(bytes(handle.goal_id.uuid))
        if goal is not None:
            goal.drop()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> Any:
        """Return the result of a goal when it has ended; the executor runs other callbacks."""
        result = self._kind.Result
        goal = self._goals[bytes(handle.goal_id.uuid)]
        outcome = await goal.outcome
        assert outcome is not None
        if outcome.code == result.NONE:
            handle.succeed()
        elif outcome.code == result.CANCELED:
            handle.canceled()
        else:
            handle.abort()
        return result(
            error_code=outcome.code, error_msg=outcome.text, distance=goal.progress.distance
        )

    def _watch(self) -> None:
        """Publish feedback, and end the goals whose time has come."""
        for goal in list(self._goals.values()):
            if goal.session is not None and goal.number:
                # In this order: a new goal has its number before it has progress.
                progress = goal.session.goals.current.progress
                goal.progress = goal.progress if goal.replaced else progress
            outcome = self._outcome(goal)
            if outcome is not None:
                self._end(goal, outcome)
            elif goal.number:
                self._publish(goal)
        if not self._goals:
            self._timer.cancel()

    def _outcome(self, goal: AcceptedGoal) -> GoalOutcome | None:
        """Return how a goal has ended, or None."""
        result, limit = self._kind.Result, in_seconds(goal.handle.request.time_limit)
        if goal.handle.is_cancel_requested:
            return GoalOutcome(result.CANCELED, 'canceled')
        if goal.session is None or self._session() is not goal.session:
            was = 'is not' if goal.session is None else 'is no longer'
            return GoalOutcome(result.INACTIVE, f'the node {was} active; activate it')
        if goal.problem:
            return GoalOutcome(result.INVALID_GOAL, goal.problem)
        if goal.number and goal.replaced:
            return GoalOutcome(result.ANOTHER_GOAL, 'another goal came')
        controller = goal.session.controller
        if controller.stops != goal.stops or self._latch.reason is Reason.STOPPED:
            return GoalOutcome(
                result.STOPPED, 'stopped by ~/stop; call ~/engage with true to resume'
            )
        end = controller.goal_end if goal.number else None
        if end is not None:
            reached = end is Reason.GOAL_REACHED
            return (
                GoalOutcome(result.NONE, '')
                if reached
                else GoalOutcome(result.NO_PROGRESS, _STUCK)
            )
        if 0 < limit < self._clock.now() - goal.began:
            return GoalOutcome(result.TIME_LIMIT, f'not reached within {limit:g} s')
        return None

    def _end(self, goal: AcceptedGoal, outcome: GoalOutcome) -> None:
        """End a goal; unless it is reached or replaced, the robot stops until the next one."""
        result = self._kind.Result
        goal.ended = True  # before drop(), for it may be set at this moment
        if outcome.code not in (result.NONE, result.ANOTHER_GOAL):
            goal.drop()
        logger = self._node.get_logger()
        if outcome.code == result.INVALID_GOAL:
            logger.warning(line(f'goal not used: {outcome.text}'))
        elif outcome.code != result.NONE:
            logger.info(line(f'{self._source}: {outcome.text}'))
        goal.outcome.set_result(outcome)
        del self._goals[bytes(goal.handle.goal_id.uuid)]

    def _publish(self, goal: AcceptedGoal) -> None:
        """Publish the feedback of a goal."""
        subgoal, subgoals, distance, seconds = goal.progress
        reason = self._status.reason
        goal.handle.publish_feedback(
            self._kind.Feedback(
                distance=distance,
                seconds_to_go=math.nan if seconds is None else seconds,
                subgoal=subgoal,
                subgoals=subgoals,
                reason='' if reason is Reason.RUNNING else reason.value,
            )
        )


def serve_goals(
    node: Node,
    session: Callable[[], ActiveSession | None],
    status: StatusPublisher,
    latch: StopLatch,
) -> GoalAction | None:
    """Return the action server, None without the package smwm_interfaces."""
    name = node.resolve_service_name(ACTION)
    kind = action_class('smwm_interfaces', 'GoToImage')
    if kind is None:
        node.get_logger().info(
            line(f'no action {name}: the package smwm_interfaces is not built or not sourced')
        )
        return None
    try:
        return GoalAction(node, kind, session, status, latch)
    except Exception as error:  # whatever a package raises that was built for another ROS
        node.get_logger().warning(line(f'no action {name}: smwm_interfaces: {error}'))
        return None


def _set(session: ActiveSession, request: Any, source: str) -> int:
    """Set the one goal that a request holds; return its number."""
    kind = _kind_of(request)
    if not 0 <= in_seconds(request.time_limit) < math.inf:
        raise ConfigError(f'{source}: time_limit: expected 0 s or more')
    setter = session.goals.setter
    if kind == 'name':
        return setter.set_name(request.name, again=True)
    if kind == 'latent':
        return setter.set_latent(request.latent, source)
    if kind == 'state':
        return setter.set_state(request.state, source, again=True)
    image = getattr(request, kind)
    if len(image.data) > IMAGE_BYTES:
        raise CodecError(
            f'{kind}: an image of {len(image.data)} bytes, expected at most {IMAGE_BYTES}'
        )
    return setter.set_image(image, source, again=True)


def _kind_of(request: Any) -> str:
    """Return the name of the one field that is set, or raise."""
    image, compressed, state = request.image, request.compressed_image, request.state
    contents = (
        len(image.data) or image.height or image.width or image.encoding,
        len(compressed.data) or compressed.format,
        request.name,
        len(request.latent),
        len(state.name) or len(state.position),
    )
    found = [kind for kind, content in zip(KINDS, contents, strict=True) if content]
    if len(found) != 1:
        raise ConfigError(
            f'expected exactly one of {", ".join(KINDS)}; found {" and ".join(found) or "none"}'
        )
    return found[0]
