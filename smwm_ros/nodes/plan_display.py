# SPDX-License-Identifier: Apache-2.0
"""What the operator sees of a plan, made only while somebody looks, in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
import math
from threading import Condition, Thread
from typing import Any, NamedTuple

from geometry_msgs.msg import Point
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from smwm_ros.codec.images import fill_image
from smwm_ros.config import CAMERA_FRAME
from smwm_ros.errors import CheckpointError
from smwm_ros.fieldpath import expand
from smwm_ros.interfaces import Array
from smwm_ros.nodes.plan_panel import panel
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.planning.frame_bank import FrameBank, load
from smwm_ros.planning.pilot import PilotPlan
from std_msgs.msg import ColorRGBA
import torch
from torch import Tensor
from visualization_msgs.msg import Marker, MarkerArray

IMAGE, MARKERS = '~/plan/image', '~/plan/markers'
_QOS = QoSProfile(depth=1)
_TRUSTED = 0.5  # a position that is read off latents worse than this (R2) is not drawn
_HANG = 1.0  # until the thread has ended [s]


class PlanSnapshot(NamedTuple):
    """What the picture and the markers of a plan are made from."""

    pixels: Array  # (S, S, 3) what the plan was made from
    goal: Array | None  # (S, S, 3); None for a goal that is a latent
    number: int  # of the goal
    near: float  # latent distance at which it is reached, 0 for unknown
    plan: PilotPlan
    frame_id: str = ''  # of the camera


class PlanDisplay:
    """Draws the newest plan: a panel of images, and markers where a pose can be read."""

    def __init__(self, node: Node, setup: Setup, complain: Callable[[str], None]):
        self._node = node
        self._setup = setup
        self._complain = complain
        self._image = node.create_publisher(Image, IMAGE, _QOS)
        self._markers = node.create_publisher(MarkerArray, MARKERS, _QOS)
        self._why = ''  # there is no album
        self._bank: FrameBank | None = None
        try:
            self._bank = load(setup.checkpoint.folder, 'the imagined end of a plan')
        except CheckpointError as error:
            self._why = str(error)
        self._pose = self._find_pose()
        self._news = Condition()
        self._sketch: PlanSnapshot | None = None
        self._number, self._farthest = 0, 0.0  # of the goal, and how far it was at most
        self._closing = False
        self._thread = Thread(target=self._run, name='display', daemon=True)
        self._thread.start()

    @property
    def is_watched(self) -> bool:
        """Say whether anybody would see a drawing."""
        return bool(self._image.get_subscription_count() or self._markers.get_subscription_count())

    def offer(self, sketch: PlanSnapshot) -> None:
        """Offer a plan to draw; one that is not drawn yet is gone."""
        with self._news:
            self._sketch = sketch
            self._news.notify()

    def close(self) -> None:
        """End the thread; safe to call twice and from any thread."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(_HANG)

    def deafen(self) -> None:
        """Give the publishers back; only from the executor's thread."""
        self._node.destroy_publisher(self._image)
        self._node.destroy_publisher(self._markers)

    def _run(self) -> None:
        """Draw until closed."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._closing or self._sketch is not None)
                if self._closing:
                    return
                sketch, self._sketch = self._sketch, None
            assert sketch is not None
            try:
                self._paint(sketch)
            except Exception as error:  # a drawing that fails is no reason to stop a robot
                self._complain(f'plan not drawn: {type(error).__name__}: {error}')

    @torch.inference_mode()
    def _paint(self, sketch: PlanSnapshot) -> None:
        """Publish the panel and the markers."""
        latents = self._imagine(sketch)
        stamp = self._node.get_clock().now().to_msg()
        if self._image.get_subscription_count():
            message = fill_image(Image(), self._panel(sketch, latents[-1]))
            message.header.stamp = stamp
            message.header.frame_id = sketch.frame_id or CAMERA_FRAME
            self._image.publish(message)
        if self._pose and self._markers.get_subscription_count():
            self._markers.publish(self._marks(sketch, latents, stamp))

    def _imagine(self, sketch: PlanSnapshot) -> Tensor:
        """Return the latents (T+1, D) of now and after each model step of the plan."""
        made = self._setup.checkpoint
        z = self._encode(sketch.pixels)
        width = made.action_block * made.spec.size
        normal = made.scaler.normalise(sketch.plan.actions).reshape(-1, width)
        actions = torch.from_numpy(normal).float().to(z.device)
        return torch.cat([z, made.model.rollout(z, actions.unsqueeze(0))[0]]).cpu()

    def _encode(self, pixels: Array) -> Tensor:
        """Return the latent (1, D) of an image."""
        model = self._setup.checkpoint.model
        device = next(model.parameters()).device
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).to(device)
        return model.encode(image)

    def _panel(self, sketch: PlanSnapshot, end: Tensor) -> Array:
        """Return the panel (H, W, 3)."""
        distance = sketch.plan.distance
        if sketch.number != self._number:
            self._number, self._farthest = sketch.number, 0.0
        if math.isfinite(distance):
            self._farthest = max(self._farthest, distance)
        imagined = None if self._bank is None else self._bank.nearest(end)[0]
        tiles = [
            ('camera', sketch.pixels, ''),
            ('goal', sketch.goal, 'the goal is no image'),
            ('end of plan: nearest frame', imagined, self._why),
        ]
        return panel(tiles, distance, self._farthest, sketch.near)

    def _find_pose(self) -> tuple[int, int] | None:
        """Return which of the measured states are x and y, where they can be read off a latent."""
        robot = self._setup.robot
        fields = list(expand(robot.state.fields)) if robot.state.topic else []
        places = [
            next((n for n, field in enumerate(fields) if field.endswith(f'position.{axis}')), None)
            for axis in 'xy'
        ]
        x, y = places
        if x is None or y is None or self._bank is None:
            return None
        skill = min(self._bank.skill[x], self._bank.skill[y])
        if not skill >= _TRUSTED:
            self._complain(f'no markers: positions are read off latents with R2 {skill:.2f} only')
            return None
        return x, y

    def _marks(self, sketch: PlanSnapshot, latents: Tensor, stamp: Any) -> MarkerArray:
        """Return the way of the plan as a line, and its end and the goal as balls."""
        way = self._points(latents)
        marks = [
            self._mark(0, Marker.LINE_STRIP, (0.12, 0.44, 0.92), way),
            self._mark(1, Marker.SPHERE_LIST, (0.12, 0.44, 0.92), way[-1:]),
        ]
        if sketch.goal is not None:
            goal = self._points(self._encode(sketch.goal).cpu())
            marks.append(self._mark(2, Marker.SPHERE_LIST, (0.16, 0.55, 0.29), goal))
        for mark in marks:
            mark.header.stamp = stamp
        return MarkerArray(markers=marks)

    def _points(self, latents: Tensor) -> list[Point]:
        """Return about where latents (n, D) are, in the frame of the measured state."""
        assert self._bank is not None
        assert self._pose is not None
        states = self._bank.read(latents)
        return [Point(x=float(row[self._pose[0]]), y=float(row[self._pose[1]])) for row in states]

    def _mark(
        self, number: int, kind: int, colour: tuple[float, float, float], points: list[Point]
    ) -> Marker:
        """Return one marker."""
        mark = Marker(ns='plan', id=number, type=kind, action=Marker.ADD, points=points)
        mark.header.frame_id = self._setup.robot.state.frame_id
        mark.pose.orientation.w = 1.0
        size = 0.02 if kind == Marker.LINE_STRIP else 0.08  # [m]
        mark.scale.x = mark.scale.y = mark.scale.z = size
        mark.color = ColorRGBA(r=colour[0], g=colour[1], b=colour[2], a=1.0)
        mark.lifetime.sec = 1
        return mark
