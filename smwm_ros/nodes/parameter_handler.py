# SPDX-License-Identifier: Apache-2.0
"""The parameters of the plan node: declare them, check changes, and apply them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from smwm_ros import config
from smwm_ros.nodes.configured_planner import ConfiguredPlanner
from smwm_ros.nodes.parameters import declare_knobs, LiveKnobs, read_knobs

_FILES = {
    'checkpoint': 'folder of the trained model; empty for the one that comes with the package',
    'goal_image': 'picture of the goal, PNG or JPEG; empty to wait for the goal topic',
}


class ParameterHandler:
    """Passes changed parameters on to the configured planner; the others wait for the next one."""

    def __init__(
        self, node: LifecycleNode, planner: Callable[[], ConfiguredPlanner | None]
    ) -> None:
        self._planner = planner
        for name, meaning in _FILES.items():
            node.declare_parameter(name, '', ParameterDescriptor(description=meaning))
        # rclpy calls the newest callback first: parameters change only if all callbacks agree.
        self.live = LiveKnobs(node, self._check, self._update)
        node.add_on_set_parameters_callback(self._on_set_files)
        for section, schema in (('node', config.Node), ('goal', config.Goal)):
            values: Any = read_knobs(node, section, schema)
            declare_knobs(node, section, values)
            self.live.add(section, values)

    @property
    def node(self) -> config.Node:
        """Return the current node parameters."""
        knobs: config.Node = self.live.current('node')
        return knobs

    def _check(self, section: str, values: Any) -> None:
        """Raise SmwmError if changed parameters do not fit."""
        planner = self._planner()
        if planner is not None:
            planner.check(section, values)

    def _update(self, section: str, values: Any) -> None:
        """Apply changed parameters."""
        planner = self._planner()
        if planner is not None:
            planner.update(section, values)

    def _on_set_files(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Refuse to change the files while the node is configured."""
        names = [item.name for item in parameters if item.name in _FILES]
        if names and self._planner() is not None:
            reason = f'{", ".join(names)}: read-only while configured; clean up first'
            return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)
