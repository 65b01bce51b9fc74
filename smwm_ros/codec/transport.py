# SPDX-License-Identifier: Apache-2.0
"""
The two topics of a camera in image_transport: raw images, and compressed ones beside them.

/camera/image_raw has sensor_msgs/msg/Image, and /camera/image_raw/compressed CompressedImage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from smwm_ros.config import Camera, IMAGE_TYPES

RAW, COMPRESSED = IMAGE_TYPES[:2]
_SUFFIX = '/compressed'


def other_transport(topic: str, kind: str) -> tuple[str, str] | None:
    """Return topic and type of the same images by the other transport; None if it has none."""
    if kind == RAW:
        return f'{topic}{_SUFFIX}', COMPRESSED
    if kind == COMPRESSED and topic.endswith(_SUFFIX):
        return topic.removesuffix(_SUFFIX), RAW
    return None


def transport_hint(topic: str, kind: str, types: Mapping[str, Collection[str]]) -> str:
    """Return that the images of a missing topic exist by the other transport, '' if not."""
    other = other_transport(topic, kind)
    if other is None or other[1] not in types.get(other[0], ()):
        return ''
    return (
        f'its images come as {other[0]}: set robot.camera.topic={other[0]} and '
        f'robot.camera.type={other[1]}'
    )


def as_published(camera: Camera, types: Mapping[str, str]) -> Camera:
    """
    Return the camera with the topics on which its images come.

    types: topics that have messages. The other transport is used only if no topic of the camera
    has its type, and each of them comes by the other one.
    """
    others = [other_transport(topic, camera.type) for topic in camera.topics]
    found = [other for other in others if other and types.get(other[0]) == other[1]]
    if any(types.get(topic) == camera.type for topic in camera.topics) or not found:
        return camera
    if len(found) < len(camera.topics):
        return camera
    names = [topic for topic, _ in found]
    return replace(camera, topic=names[0], others=' '.join(names[1:]), type=found[0][1])
