# SPDX-License-Identifier: Apache-2.0
"""Read camera frames of a bag by time, resized and composed as the model receives them."""

from __future__ import annotations

from collections.abc import Iterator

from smwm_ros.bags.reading.clock import nanoseconds
from smwm_ros.bags.reading.find import Bag
from smwm_ros.bags.reading.packets import decoded
from smwm_ros.bags.reading.reader import BagReader, Message, read_or_recover
from smwm_ros.bags.reading.topics import as_recorded, by_transport
from smwm_ros.codec.images import compose, read_view, tiles
from smwm_ros.config import Dataset, Robot
from smwm_ros.errors import BagError, CodecError
from smwm_ros.interfaces import Array


def image_at(bag: Bag, robot: Robot, dataset: Dataset, time: float) -> Array:
    """Return the latest image (S, S, 3) at or before a time since the start of the bag [s]."""
    recorded = as_recorded(robot, bag)

    def read(reader: BagReader) -> Array:
        robot = _require(reader, recorded)
        length = (reader.end - 1 - reader.start) / 1e9
        if not 0 <= time <= length:
            raise BagError(
                f'{reader.where}: time {time:g} s, expected 0 to {length:.3f} s, the length of '
                'the bag'
            )
        stop = reader.start + nanoseconds(time) + 1
        newest = {m.topic: m for m in reader.messages(robot.camera.topics, reader.start, stop)}
        image = _image(reader, robot, dataset, newest)
        if image is None:
            raise BagError(f'{reader.where}: no readable image at or before {time:g} s')
        return image

    return read_or_recover(bag, read)


def images_between(
    bag: Bag, robot: Robot, dataset: Dataset, start: float, stop: float | None
) -> list[Array]:
    """Return the images from start to stop [s], at most one per control period."""
    recorded = as_recorded(robot, bag)

    def read(reader: BagReader) -> list[Array]:
        robot = _require(reader, recorded)
        begin = reader.start + nanoseconds(start)
        end = reader.end if stop is None else reader.start + nanoseconds(stop) + 1
        images = list(_images(reader, robot, dataset, begin, end))
        if not images:
            raise BagError(f'{reader.where}: no readable image after {start:g} s')
        return images

    return read_or_recover(bag, read)


def _require(reader: BagReader, recorded: Robot) -> Robot:
    """Require the topics of all cameras; return the robot with those that the bag has."""
    robot = by_transport(recorded, reader)
    for topic in robot.camera.topics:
        reader.require(topic, robot.camera.type)
    return robot


def _images(
    reader: BagReader, robot: Robot, dataset: Dataset, begin: int, end: int
) -> Iterator[Array]:
    """Yield images in the order of receive time; skip those that cannot be read."""
    newest: dict[str, Message] = {}
    due = begin
    for message in decoded(reader, robot.camera.topics, begin, end):
        newest[message.topic] = message
        if message.topic != robot.camera.topic or message.stamp < due:
            continue
        image = _image(reader, robot, dataset, newest)
        if image is not None:
            # 0.9: a frame that arrives a little early is not skipped.
            due = message.stamp + nanoseconds(0.9 * robot.dt)
            yield image


def _image(
    reader: BagReader, robot: Robot, dataset: Dataset, newest: dict[str, Message]
) -> Array | None:
    """Return one image composed of the newest frame of each camera; None if one is unusable."""
    camera, size = robot.camera, dataset.image_size
    if len(newest) < len(camera.topics):
        return None
    places = tiles(len(camera.topics), size, camera.tiles)
    how = dataset.resize
    try:
        parts = [
            read_view(reader.decode(newest[topic]), place.height, place.width, how, camera.decoder)
            for topic, place in zip(camera.topics, places, strict=True)
        ]
    except CodecError:
        return None
    return compose(parts, size, camera.tiles)
