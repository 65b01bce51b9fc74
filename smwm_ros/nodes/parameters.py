# SPDX-License-Identifier: Apache-2.0
"""The third door of the schema: every knob is a typed, described and bounded ROS parameter."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter
from smwm_ros.errors import SmwmError
from smwm_ros.load import build, Knob, knobs, merge, to_dict

T = TypeVar('T')
_SCALARS = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}
_ARRAYS = {
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}
_REASON = 2000  # characters that say why a parameter is refused


def parameter_type(kind: Any) -> Parameter.Type:
    """Return the ROS type of a knob's Python type."""
    return _ARRAYS[get_args(kind)[0]] if get_origin(kind) is tuple else _SCALARS[kind]


def given(node: Node, section: str) -> dict[str, Any]:
    """Return what the user set in one section, by command line or file, as nested plain data."""
    # rclpy tells of values that nobody declared yet in no public way.
    overrides: Mapping[str, Parameter] = node._parameter_overrides
    data: dict[str, Any] = {}
    for name, parameter in overrides.items():
        if name.startswith(f'{section}.'):
            data = merge(data, _nested(name.removeprefix(f'{section}.'), parameter.value))
    return data


def read_knobs(
    node: Node,
    section: str,
    schema: type[T],
    defaults: T | None = None,
    changed: Mapping[str, Any] | None = None,  # since the start, as nested plain data
) -> T:
    """Build a section from what the user gave, over the defaults; all mistakes come at once."""
    base = {} if defaults is None else to_dict(defaults)
    return _build(section, schema, merge(merge(base, given(node, section)), changed or {}))


def declare_knobs(node: Node, section: str, values: Any) -> None:
    """Declare every knob of a built section as a parameter that holds the built value."""
    for knob in knobs(type(values)):
        name = f'{section}.{knob.path}'
        value = _look_up(values, knob.path)
        if node.has_parameter(name):  # configured again, maybe with another checkpoint
            plain = list(value) if isinstance(value, tuple) else value
            # rclpy lets nobody, not even the node itself, change what is read-only.
            node._parameters[name] = Parameter(name, parameter_type(knob.kind), plain)
        else:
            _declare(node, name, knob, value)


def _declare(node: Node, name: str, knob: Knob, value: Any) -> None:
    """Declare one parameter. The user's words are in the value already, checked by the schema."""
    descriptor = describe(knob)
    if value != ():
        plain = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(name, plain, descriptor, ignore_override=True)
        return
    # From an empty list rclpy cannot tell what it is a list of, unless it is told first.
    kind = parameter_type(knob.kind)
    open_to_change = ParameterDescriptor(type=kind.value)
    node.declare_parameter(name, kind, open_to_change, ignore_override=True)
    node.set_parameters([Parameter(name, kind, [])])
    node.set_descriptor(name, descriptor)


def describe(knob: Knob) -> ParameterDescriptor:
    """Say type, meaning, bounds and choices of a knob in ROS's words."""
    descriptor = ParameterDescriptor(
        type=parameter_type(knob.kind).value,
        description=knob.help,
        read_only=not knob.live,
        additional_constraints=f'one of {", ".join(knob.choices)}' if knob.choices else '',
    )
    if knob.low is not None and knob.high is not None:
        if get_origin(knob.kind) is tuple:  # ROS has no ranges for lists
            descriptor.additional_constraints = f'each from {knob.low} to {knob.high}'
        elif knob.kind is int:
            descriptor.integer_range = [
                IntegerRange(from_value=int(knob.low), to_value=int(knob.high), step=1)
            ]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(knob.low), to_value=float(knob.high))
            ]
    return descriptor


class LiveKnobs:
    """Sections whose live knobs may change while the node runs, all of a request or none."""

    def __init__(
        self,
        node: Node,
        check: Callable[[str, Any], None],  # raises SmwmError against what may not be
        changed: Callable[[str, Any], None],
    ) -> None:
        self._sections: dict[str, Any] = {}
        self._since: dict[str, dict[str, Any]] = {}
        self._check = check
        self._changed = changed
        # rclpy itself refuses wrong types, values out of range and read-only parameters.
        node.add_on_set_parameters_callback(self._on_set)

    def watch(self, section: str, values: Any) -> None:
        """Accept changes to a section from now on."""
        self._sections[section] = values

    def current(self, section: str) -> Any:
        """Return a section as it is now."""
        return self._sections[section]

    def changed(self, section: str) -> Mapping[str, Any]:
        """Return what was set of a section since the start; it holds for whatever comes."""
        return self._since.get(section, {})

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        """Check a request as a whole, then hand over each section that it changes."""
        changed: dict[str, dict[str, Any]] = {}
        for parameter in parameters:
            section, _, path = parameter.name.partition('.')
            if section in self._sections and path:
                nested = _nested(path, parameter.value)
                changed[section] = merge(changed.get(section, {}), nested)
        try:
            built = {
                section: _build(
                    section,
                    type(self._sections[section]),
                    merge(to_dict(self._sections[section]), data),
                )
                for section, data in changed.items()
            }
            for section, values in built.items():
                self._check(section, values)
        except SmwmError as error:
            return SetParametersResult(successful=False, reason=str(error)[:_REASON])
        self._since = merge(self._since, changed)
        for section, values in built.items():
            if values != self._sections[section]:
                self._sections[section] = values
                self._changed(section, values)
        return SetParametersResult(successful=True)


def _build(section: str, schema: type[T], data: Mapping[str, Any]) -> T:
    """Build a section; its mistakes name the parameters as the user knows them."""
    return build(schema, data, f'parameters of {section}')


def _nested(path: str, value: Any) -> dict[str, Any]:
    """Turn 'camera.topic' and a parameter's value into nested plain data."""
    if value is None:  # an empty list in YAML has no type and comes without a value
        value = []
    data: Any = list(value) if isinstance(value, (array, list, tuple)) else value
    for name in reversed(path.split('.')):
        data = {name: data}
    nested: dict[str, Any] = data
    return nested


def _look_up(values: Any, path: str) -> Any:
    """Follow a dotted path through nested sections."""
    for name in path.split('.'):
        values = getattr(values, name)
    return values
