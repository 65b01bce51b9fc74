# SPDX-License-Identifier: Apache-2.0
"""Named goals and routes: in a folder, or in memory where the folder cannot be written."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from threading import RLock

from rclpy.node import Node
from smwm_ros.control.goal_library import GoalLibrary
from smwm_ros.errors import ConfigError, OutputError
from smwm_ros.interfaces import Array
from smwm_ros.nodes.messages import LATCHED
from std_msgs.msg import String

_MOST_IN_MEMORY = 100  # goals


class GoalStore:
    """Loads and saves goals by name, and publishes their names on ~/goal/library."""

    def __init__(self, node: Node, folder: Path, warn: Callable[[str], None]) -> None:
        self._node, self._warn = node, warn
        self._library = GoalLibrary(folder)
        self._in_memory: dict[str, Array] = {}  # goals that could not be written
        self._lock = RLock()
        self._names = node.create_publisher(String, '~/goal/library', LATCHED)
        self._publish_names()

    def load(self, name: str, size: int, how: str) -> Array:
        """Return the pictures (N, S, S, 3) of a goal or route."""
        if name in self._in_memory:
            return self._in_memory[name]
        return self._library.load(name, size, how)

    def mask(self, name: str, size: int, how: str) -> Array | None:
        """Return the mask (S, S) bool of a goal, None if all of its picture counts."""
        return None if name in self._in_memory else self._library.mask(name, size, how)

    def save(self, pictures: Array, kind: str, name: str) -> str:
        """Save pictures (N, S, S, 3) as a name, '' for a new one of the kind; return the name."""
        with self._lock:
            name = name or self._free_name(kind)
            try:
                self._library.save(name, list(pictures))
                self._in_memory.pop(name, None)
            except (ConfigError, OutputError) as error:
                if len(self._in_memory) >= _MOST_IN_MEMORY and name not in self._in_memory:
                    raise
                self._in_memory[name] = pictures
                self._warn(f'goal {name} is lost when the node is deactivated: {error}')
        self._publish_names()
        return name

    def destroy(self) -> None:
        """Destroy the publisher; only from the executor's thread."""
        self._node.destroy_publisher(self._names)

    def _free_name(self, kind: str) -> str:
        """Return a name such as view_1 that no goal has."""
        taken = {*self._library.names(), *self._in_memory}
        numbered = (f'{kind}_{number}' for number in range(1, len(taken) + 2))
        return next(name for name in numbered if name not in taken)

    def _publish_names(self) -> None:
        """Publish the name of each goal with its number of pictures."""
        in_memory = {name: len(pictures) for name, pictures in self._in_memory.items()}
        names = {**self._library.names(), **in_memory}
        self._names.publish(String(data=json.dumps(names)))
