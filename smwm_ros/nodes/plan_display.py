# SPDX-License-Identifier: Apache-2.0
"""Draw plans for the operator in a thread of its own, while there is a subscriber."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import math
from threading import Thread
from typing import NamedTuple

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from smwm_ros.codec.image_stack import at_rest
from smwm_ros.codec.images import fill_image
from smwm_ros.config import CAMERA_FRAME
from smwm_ros.errors import CheckpointError
from smwm_ros.interfaces import Array
from smwm_ros.model.checkpoint import Checkpoint
from smwm_ros.nodes.latest import Latest
from smwm_ros.nodes.plan_markers import plan_markers
from smwm_ros.nodes.plan_panel import panel
from smwm_ros.nodes.robot_setup import Setup
from smwm_ros.planning.frame_bank import FrameBank, load
from smwm_ros.planning.pilot import PilotPlan
from smwm_ros.planning.predicted_path import predicted_paths
import torch
from torch import Tensor
from visualization_msgs.msg import MarkerArray

IMAGE, MARKERS = '~/plan/image', '~/plan/markers'
_QOS = QoSProfile(depth=1)
_TIMEOUT = 1.0  # until the thread has ended [s]


class PlanSnapshot(NamedTuple):
    """What a plan is drawn from."""

    pixels: Array  # (S, S, 3) the image that the plan was made from
    goal: Array | None  # (S, S, 3); None if the goal is a latent
    number: int  # of the goal
    near: float  # latent distance at which the goal is reached, 0 if unknown
    plan: PilotPlan
    measured: Mapping[str, float]  # of nodes/drive_monitor.py
    frame_id: str = ''  # of the camera


class PlanDisplay:
    """Draws the newest plan as a panel of images, and as markers if positions are known."""

    def __init__(self, node: Node, setup: Setup, warn: Callable[[str], None]) -> None:
        self._node, self._checkpoint, self._warn = node, setup.checkpoint, warn
        self._image = node.create_publisher(Image, IMAGE, _QOS)
        self._marker_array = node.create_publisher(MarkerArray, MARKERS, _QOS)
        self._bank: FrameBank | None = None
        self._no_bank = ''  # the reason
        try:
            self._bank = load(setup.checkpoint.folder, 'the imagined end of a plan')
        except CheckpointError as error:
            self._no_bank = str(error)
        self._markers = plan_markers(setup.robot, self._bank, warn)
        self._snapshots: Latest[PlanSnapshot] = Latest()
        self._goal, self._farthest = 0, 0.0  # number of the goal, largest distance to it
        self._thread = Thread(target=self._run, name='display', daemon=True)
        self._thread.start()

    @property
    def has_subscribers(self) -> bool:
        """Return whether anything subscribes to the drawings."""
        publishers = (self._image, self._marker_array)
        return any(publisher.get_subscription_count() for publisher in publishers)

    def set_model(self, checkpoint: Checkpoint) -> None:
        """Encode the next snapshots with the model of another checkpoint."""
        self._checkpoint = checkpoint

    def update(self, snapshot: PlanSnapshot) -> None:
        """Replace the plan to draw."""
        self._snapshots.put(snapshot)

    def close(self) -> None:
        """End the thread; may be called twice and from any thread."""
        self._snapshots.close()
        self._thread.join(_TIMEOUT)

    def destroy(self) -> None:
        """Destroy the publishers; only from the executor's thread."""
        self._node.destroy_publisher(self._image)
        self._node.destroy_publisher(self._marker_array)

    @torch.inference_mode()
    def draw(self, snapshot: PlanSnapshot) -> None:
        """Publish the panel and the markers of a plan."""
        path = predicted_paths(self._checkpoint, [snapshot.plan])[0]
        stamp = self._node.get_clock().now().to_msg()
        if self._image.get_subscription_count():
            message = fill_image(Image(), self._panel(snapshot, path[-1]))
            message.header.stamp = stamp
            message.header.frame_id = snapshot.frame_id or CAMERA_FRAME
            self._image.publish(message)
        if self._markers is not None and self._marker_array.get_subscription_count():
            goal = None if snapshot.goal is None else self._encode(snapshot.goal).cpu()
            self._marker_array.publish(self._markers.draw(path, goal, stamp))

    def _run(self) -> None:
        """Draw until closed."""
        while (snapshot := self._snapshots.take()) is not None:
            try:
                self.draw(snapshot)
            except Exception as error:  # the robot can move without a drawing
                self._warn(f'plan not drawn: {type(error).__name__}: {error}')

    def _encode(self, pixels: Array) -> Tensor:
        """Return the latent (1, D) of an image (S, S, 3) in which nothing moves."""
        model = self._checkpoint.model
        device = next(model.parameters()).device
        observation = at_rest(pixels, self._checkpoint.model_config.stack)
        image = torch.from_numpy(observation).permute(2, 0, 1).unsqueeze(0).to(device)
        return model.encode(image)

    def _panel(self, snapshot: PlanSnapshot, end: Tensor) -> Array:
        """Return the panel (H, W, 3) of a plan that ends at a latent (D,)."""
        distance = snapshot.plan.distance
        if snapshot.number != self._goal:
            self._goal, self._farthest = snapshot.number, 0.0
        if math.isfinite(distance):
            self._farthest = max(self._farthest, distance)
        frame = None if self._bank is None else self._bank.nearest(end)[0]
        tiles = [
            ('camera', snapshot.pixels, ''),
            ('goal', snapshot.goal, 'the goal is a latent, not an image'),
            ('end of plan: nearest frame', frame, self._no_bank),
        ]
        return panel(tiles, distance, self._farthest, snapshot.near, *_notes(snapshot.measured))


def _notes(measured: Mapping[str, float]) -> tuple[str, bool]:
    """Return novelty and progress in words, and whether the robot is slowed down."""
    words = []
    if 'novelty' in measured:
        words.append(f'novelty {measured["novelty"]:.1f} of {measured["novelty_limit"]:.1f}')
    if 'progress' in measured:
        words.append(f'progress {measured["progress"]:.2f}')
    return ', '.join(words), bool(measured['slowed'])
