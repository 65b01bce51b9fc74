# SPDX-License-Identifier: Apache-2.0
"""What the cameras of a bag saw, by time: with commands or without, and as the model sees it."""

from __future__ import annotations

from collections.abc import Iterator

from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.reader import BagReader, Message, with_rescue
from smwm_ros.bags.reading.topics import as_recorded
from smwm_ros.codec.images import compose, read_view, tiles
from smwm_ros.config import Dataset, Robot
from smwm_ros.errors import BagError, CodecError
from smwm_ros.interfaces import Array


def seen_at(bag: Bag, robot: Robot, dataset: Dataset, time: float) -> Array:
    """Return the image (S, S, 3) at a time after the bag began [s], never a later one."""
    robot = as_recorded(robot)

    def look(reader: BagReader) -> Array:
        _require(reader, robot)
        length = (reader.end - 1 - reader.start) / 1e9
        if not 0 <= time <= length:
            raise BagError(f'{reader.where}: {time:g} s is not in it; it is {length:.3f} s long')
        stop = reader.start + nanoseconds(time) + 1
        newest = {m.topic: m for m in reader.messages(robot.camera.topics, reader.start, stop)}
        image = _image(reader, robot, dataset, newest)
        if image is None:
            raise BagError(f'{reader.where}: no image that can be read came before {time:g} s')
        return image

    return with_rescue(bag, look)


def seen_between(
    bag: Bag, robot: Robot, dataset: Dataset, start: float, stop: float | None
) -> list[Array]:
    """Return the images from one time to another [s], one each control period at most."""
    robot = as_recorded(robot)

    def look(reader: BagReader) -> list[Array]:
        _require(reader, robot)
        begin = reader.start + nanoseconds(start)
        end = reader.end if stop is None else reader.start + nanoseconds(stop) + 1
        images = list(_images(reader, robot, dataset, begin, end))
        if not images:
            raise BagError(f'{reader.where}: no images that can be read after {start:g} s')
        return images

    return with_rescue(bag, look)


def _require(reader: BagReader, robot: Robot) -> None:
    """Refuse a bag without the cameras."""
    for topic in robot.camera.topics:
        reader.require(topic, robot.camera.type)


def _images(
    reader: BagReader, robot: Robot, dataset: Dataset, begin: int, end: int
) -> Iterator[Array]:
    """Yield images as they were received; what cannot be read is passed over."""
    newest: dict[str, Message] = {}
    due = begin
    for message in reader.messages(robot.camera.topics, begin, end):
        newest[message.topic] = message
        if message.topic != robot.camera.topic or message.stamp < due:
            continue
        image = _image(reader, robot, dataset, newest)
        if image is not None:
            # A frame that is a little early is not left out.
            due = message.stamp + nanoseconds(0.9 * robot.dt)
            yield image


def _image(
    reader: BagReader, robot: Robot, dataset: Dataset, newest: dict[str, Message]
) -> Array | None:
    """Make one image of the newest views of all cameras, None where one is missing or damaged."""
    camera, size = robot.camera, dataset.image_size
    if len(newest) < len(camera.topics):
        return None
    places = tiles(len(camera.topics), size, camera.tiles)
    try:
        parts = [
            read_view(reader.decode(newest[topic]), place.height, place.width, dataset.resize)
            for topic, place in zip(camera.topics, places, strict=True)
        ]
    except CodecError:
        return None
    return compose(parts, size, camera.tiles)
