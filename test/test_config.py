# SPDX-License-Identifier: Apache-2.0
"""One schema, three doors: a knob declared once is reached, checked and reported everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from smwm_ros.config import Camera, Command, Config, Goal, Planner, REMOVED
from smwm_ros.data.stored import section
from smwm_ros.errors import ConfigError, did_you_mean
from smwm_ros.load import (
    build,
    describe,
    Knob,
    knobs,
    load_config,
    merge,
    parse_override,
    read_yaml,
    to_dict,
)
import yaml

ROOT = Path(__file__).resolve().parent.parent
KNOBS = {knob.path: knob for knob in knobs(Config)}


def other(knob: Knob) -> Any:
    """Return a valid value that is not the default."""
    default = knob.default
    if knob.choices:
        return next(choice for choice in knob.choices if choice != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple) and knob.high is not None:
        return [*default[:1], knob.high]
    if default == ():
        return ['twist.linear.z'] if knob.kind == tuple[str, ...] else [0.5]
    if isinstance(default, tuple):
        return [0.5 * item if isinstance(item, float) else f'inner.{item}' for item in default]
    if isinstance(default, str):
        return f'other{default}'
    step = 1 if isinstance(default, int) else 0.5 * default or 0.25
    if knob.low is None or knob.high is None or default + step <= knob.high:
        return default + step
    return default - step if default - step >= knob.low else (default + knob.high) / 2


def nested(path: str, value: Any) -> Any:
    for name in reversed(path.split('.')):
        value = {name: value}
    return value


def reach(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split('.'):
        value = getattr(value, name)
    return list(value) if isinstance(value, tuple) else value


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes YAML text to a file, and the file."""

    def write_text(text: str) -> Path:
        path = tmp_path / 'mine.yaml'
        path.write_text(text, encoding='utf-8')
        return path

    return write_text


@pytest.mark.parametrize('path', KNOBS)
def test_a_knob_reaches_the_config_from_yaml_and_from_the_command_line(
    path: str, write: Any
) -> None:
    value = other(KNOBS[path])
    assert value != reach(Config(), path)
    from_file = load_config(write(yaml.safe_dump(nested(path, value))))
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix('...\n').strip()
    from_words = load_config(None, [f'{path}={text}'])
    assert reach(from_file, path) == value
    assert from_words == from_file


def test_a_knob_reaches_the_config_from_ros_parameters() -> None:
    pytest.importorskip('rclpy', reason='no ROS 2 here, so no ROS parameters')
    import rclpy
    from rclpy.context import Context
    from rclpy.parameter import Parameter
    from smwm_ros.nodes.parameters import declare_knobs, parameter_type, read_knobs

    overrides = [
        Parameter(path, parameter_type(knob.kind), other(knob)) for path, knob in KNOBS.items()
    ]
    context = Context()
    rclpy.init(context=context, domain_id=83)
    try:
        node = rclpy.create_node('knobs', context=context, parameter_overrides=overrides)
        for section, default in vars(Config()).items():
            values = read_knobs(node, section, type(default))
            declare_knobs(node, section, values)
        for path, knob in KNOBS.items():
            found = node.get_parameter(path).value
            assert (list(found) if isinstance(knob.default, tuple) else found) == other(knob)
            descriptor = node.describe_parameter(path)
            assert descriptor.description == knob.help
            assert descriptor.read_only is not knob.live
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


@pytest.mark.parametrize('path', KNOBS)
def test_every_knob_is_described_in_full(path: str) -> None:
    knob = KNOBS[path]
    assert knob.help
    assert not knob.help.endswith('.')
    assert describe(knob.kind)
    assert (knob.low is None) == (knob.high is None)
    if knob.low is not None and knob.high is not None:
        numbers = knob.default if isinstance(knob.default, tuple) else (knob.default,)
        assert all(type(number) in (int, float) for number in numbers), 'only they have bounds'
        assert all(knob.low <= number <= knob.high for number in numbers)
    if knob.choices:
        assert knob.default in knob.choices


def test_plain_data_and_config_turn_into_each_other() -> None:
    data = to_dict(Config())
    assert build(Config, data, 'here') == Config()
    changed = dict[str, Any]()
    for path, knob in KNOBS.items():
        changed = merge(changed, nested(path, other(knob)))
    config = build(Config, changed, 'here')
    assert to_dict(config) == merge(data, changed)
    assert build(Config, yaml.safe_load(yaml.safe_dump(to_dict(config))), 'here') == config


@pytest.mark.parametrize('path', sorted(ROOT.glob('config/*.yaml')), ids=lambda path: path.stem)
def test_every_shipped_config_builds_by_path_and_by_name(path: Path) -> None:
    assert load_config(path) == load_config(path.stem)
    assert load_config(path) != Config()


def test_every_commented_example_of_the_template_builds() -> None:
    lines = (ROOT / 'config/robot.yaml').read_text(encoding='utf-8').splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip() == '# command:']
    kinds = set()
    for start in starts:
        block = []
        for line in lines[start + 1 :]:
            if not line.startswith('  #   '):
                break
            block.append(line.removeprefix('  #   '))
        command = build(Command, yaml.safe_load('\n'.join(block)), 'example')
        kinds.add(command.type)
    assert kinds == {
        'geometry_msgs/msg/Twist',
        'std_msgs/msg/Float64MultiArray',
        'trajectory_msgs/msg/JointTrajectory',
    }


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('planner: {horizn: 3}', r"planner\.horizn: unknown key; did you mean 'horizon'\? valid:"),
        ('planer: {}', r"planer: unknown key; did you mean 'planner'\?"),
        ('robot: {camera: {topc: /a}}', r"robot\.camera\.topc: unknown key; did you mean 'topic'"),
        ('1: 2', r'1: unknown key; valid: arena'),
        ('planner: {horizon: 2.5}', r'planner\.horizon: expected a whole number, found 2\.5'),
        ('planner: {horizon: true}', r'planner\.horizon: expected a whole number, found True'),
        ('train: {lr: fast}', r"train\.lr: expected a number, found 'fast'"),
        ('train: {lr: .nan}', r'train\.lr: expected a number, found nan'),
        ('train: {lr: .inf}', r'train\.lr: expected a number, found inf'),
        (f'train: {{lr: 1{"0" * 400}}}', r'train\.lr: expected a number, found 1000'),
        ('node: {engage: 1}', r'node\.engage: expected true or false, found 1'),
        ('arena: {name: 3}', r'arena\.name: expected a text, found 3'),
        (
            'robot: {command: {low: 1}}',
            r'robot\.command\.low: expected a list of numbers, found 1',
        ),
        (
            'robot: {command: {low: [a, 1]}}',
            r"command\.low: expected a list of numbers, found \['a",
        ),
        ('robot: {command: {fields: x}}', r"fields: expected a list of texts, found 'x'"),
        ('planner: {horizon: 0}', r'planner\.horizon: 0 is out of range; valid: 1 to 100'),
        ('train: {lr: 2}', r'train\.lr: 2\.0 is out of range; valid: 1e-07 to 1\.0'),
        ('planner: {cost: sun}', r"cost: 'sun' is not a choice; did you mean 'sum'\? valid: last"),
        ('planner: 3', r'planner: expected a section of knobs, found 3'),
        ('[1, 2]', r'expected sections of knobs, found a list'),
        ('planner: {elites: 200}', r'planner\.elites: 200 is more than the 128 samples'),
        (
            'robot: {command: {low: [-1.0]}}',
            r'robot\.command\.low: expected one limit for each of',
        ),
        (
            'robot: {command: {high: [-1, 1]}}',
            r'low: -0\.5 of twist\.linear\.x, expected less than its high',
        ),
        ('robot: {command: {fields: []}}', r'robot\.command\.fields: empty'),
        ("robot: {command: {fields: ['a b', c]}}", r"'a b': not a field path"),
        ('robot: {command: {fields: [x, x]}}', r"'x': named more than once"),
        ("robot: {state: {fields: ['p[2:1]']}}", r"'p\[2:1\]': the slice is empty"),
        ('planner: {horizon: 1', r'not valid YAML: '),
        (
            'planner: {horizon: 1, horizon: 2}',
            r"not valid YAML: the key 'horizon' is written twice",
        ),
    ],
)
def test_each_kind_of_mistake_is_reported(text: str, reason: str, write: Any) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)


def test_all_mistakes_are_reported_at_once(write: Any) -> None:
    path = write('planner: {horizn: 3, samples: many}\nrobot: {dt: -1, command: {low: [1]}}')
    with pytest.raises(ConfigError, match='horizn') as caught:
        load_config(path, ['train.steps=0'])
    keys = ('planner.horizn', 'planner.samples', 'robot.dt', 'robot.command.low', 'train.steps')
    for key in keys:
        assert f'{key}: ' in str(caught.value)


@pytest.mark.parametrize(
    ('word', 'reason'),
    [
        ('planner.samples', r"'planner\.samples': expected key=value"),
        ('=3', r"'=3': expected key=value"),
        ('planner.samples=[1', r"'planner\.samples=\[1': the value is not valid YAML"),
        ('planner.sample=3', r"planner\.sample: unknown key; did you mean 'samples'\?"),
    ],
)
def test_a_word_that_is_no_setting_is_refused(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(None, [word])


def test_a_word_wins_over_the_file_and_the_file_over_the_base(write: Any) -> None:
    path = write('planner: {samples: 20, horizon: 7}')
    base = {'planner': {'samples': 40, 'horizon': 4, 'iterations': 9}}
    config = load_config(path, ['planner.samples=30', 'planner.samples=50'], base)
    assert config.planner == Planner(samples=50, horizon=7, iterations=9)


def test_an_empty_file_and_an_empty_section_mean_the_defaults(write: Any) -> None:
    assert load_config(write('')) == Config()
    assert load_config(write('planner:\nrobot:\n  camera:\n')) == Config()


@pytest.mark.parametrize('text', ['1e-3', '0.001', '1.0e-3'])
def test_a_number_may_be_written_as_people_write_it(text: str, write: Any) -> None:
    assert load_config(write(f'train: {{lr: {text}}}')).train.lr == 0.001
    assert load_config(None, [f'train.lr={text}']).train.lr == 0.001


def test_a_setting_with_an_empty_value_is_an_empty_text() -> None:
    assert parse_override('robot.state.topic=') == {'robot': {'state': {'topic': ''}}}


def test_a_file_that_is_not_there_is_reported_with_the_valid_names(tmp_path: Path) -> None:
    missing = tmp_path / 'missing.yaml'
    with pytest.raises(ConfigError, match=r'missing\.yaml: no such config file; .*two_room'):
        load_config(missing)
    with pytest.raises(ConfigError, match=r"two_rom: .*did you mean 'two_room'\?"):
        load_config('two_rom')
    with pytest.raises(ConfigError, match=r'cannot be read: Is a directory'):
        read_yaml(tmp_path)


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / 'bag.yaml'
    path.write_bytes(b'\xff\xfe\x00\x01')
    with pytest.raises(ConfigError, match=r'bag\.yaml: not valid YAML'):
        load_config(path)


def test_sections_are_frozen() -> None:
    with pytest.raises(AttributeError, match='cannot assign'):
        Camera().topic = '/other'  # type: ignore[misc]


def test_did_you_mean_names_the_nearest_and_all_choices() -> None:
    assert did_you_mean('colr', ['size', 'color']) == "did you mean 'color'? valid: color, size"
    assert did_you_mean('xyz', ['size', 'color']) == 'valid: color, size'
    assert did_you_mean('xyz', []) == 'there are no valid choices'


@pytest.mark.parametrize(
    ('was', 'name', 'value'),
    [
        ('legs', 'subplanner', 'icem'), ('hurry', 'time_weight', 0.5),
        ('colour', 'noise_beta', 1.0), ('kept', 'elite_keep', 0.5),
    ],
)  # fmt: skip
def test_the_former_name_of_a_knob_is_answered_with_its_name_and_old_files_are_read(
    was: str, name: str, value: object
) -> None:
    with pytest.raises(
        ConfigError, match=f'planner.{was}: this knob is now called planner.{name}$'
    ):
        load_config(None, [f'planner.{was}={value}'])
    assert getattr(section(Planner, {was: value}, 'planner'), name) == value


@pytest.mark.parametrize(
    ('kind', 'key'), [(kind, key) for kind, keys in REMOVED.items() for key in keys]
)
def test_a_removed_knob_is_refused_with_what_to_do_and_old_files_are_read(
    kind: type, key: str
) -> None:
    (name,) = (name for name, value in vars(Config()).items() if type(value) is kind)
    assert f'{name}.{key}' not in KNOBS
    reason = f'{key}: this knob was removed; (set|delete) '
    with pytest.raises(ConfigError, match=rf'command line: {name}\.{reason}'):
        load_config(None, [f'{name}.{key}=1'])
    with pytest.raises(ConfigError, match=f'parameters: {reason}'):
        build(kind, {key: 1}, 'parameters')
    stored = {**to_dict(kind()), key: 1}
    assert section(kind, stored, name) == kind()
    with pytest.raises(ValueError, match=f'unknown {kind.__name__} knobs: no_{key}$'):
        section(kind, {**stored, f'no_{key}': 1}, name)


@pytest.mark.parametrize(('near', 'far'), [(0.0, 4.0), (2.0, 4.0), (3.0, 6.0)])
def test_a_goal_is_never_left_where_it_counts_as_reached(near: float, far: float) -> None:
    assert Goal(near=near).far == far


def test_basic_knobs_are_few_enough_to_be_read_first() -> None:
    assert 30 <= sum(knob.basic for knob in KNOBS.values()) <= 50
