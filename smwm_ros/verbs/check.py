# SPDX-License-Identifier: Apache-2.0
"""
Check whether a model fits a robot before it moves, by a recording of it or by listening to it.

BAG holds a minute of driving by hand. --live listens to the running robot for some seconds; it
publishes nothing, so drive it by hand meanwhile. The check compares topics, types, images, rates,
latency, clock, control period and limits with those of the model, its images with those of the
training, and its commands with the motion in the images. --live also checks QoS, whether a node
receives commands, and whether another one publishes them. It prints go or no-go with what to do,
and exits with 1 after a no-go.

--write saves the delay and the gain of each command field, as a configuration that smwm convert,
smwm rehearse and the arena read.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from smwm_ros.config import Config, Robot, State
from smwm_ros.errors import SmwmError
from smwm_ros.text import count_of, echo, line
from smwm_ros.verbs.live import SECONDS
from smwm_ros.verbs.options import add_msgs, converted, positive, require_ros
from smwm_ros.verbs.topic_checks import check_topics, check_traffic

if TYPE_CHECKING:
    from smwm_ros.evaluation.command_response import Commands
    from smwm_ros.evaluation.preflight import Check
    from smwm_ros.model.checkpoint import Checkpoint

# Without these, images and commands cannot be compared with the model.
ESSENTIAL = ('robot', 'topics', 'camera')
EXAMPLE = 'smwm check runs/mine --bag my_bags/monday --robot robot.yaml'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument('run_folder', type=Path, metavar='RUN', help='run folder of smwm train')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument('--bag', type=Path, nargs='+', help='recordings of the robot')
    source.add_argument(
        '--live',
        type=positive,
        nargs='?',
        const=SECONDS,
        metavar='SECONDS',
        help=f'listen to the running robot (default: for {SECONDS} s)',
    )
    parser.add_argument(
        '--robot', metavar='FILE', help='configuration of the robot (default: that of RUN)'
    )
    parser.add_argument(
        '--write',
        type=Path,
        metavar='FILE',
        help='write a configuration with the measured delay and gain of each command field',
    )
    add_msgs(parser)


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    from tempfile import TemporaryDirectory

    from smwm_ros.codec.bridge import check_decoder
    from smwm_ros.files import require_new
    from smwm_ros.load import load_config
    from smwm_ros.model.checkpoint import load

    if args.live:
        require_ros('--live')
    if args.write:
        require_new(args.write)
    checkpoint = load(args.run_folder)
    config = Config(robot=checkpoint.robot)
    if args.robot:
        config = load_config(args.robot)
    check_decoder(config.robot.camera.decoder)
    with TemporaryDirectory(prefix='smwm-check-') as folder:
        seen, bags = None, args.bag
        if args.live:
            seen, bags = _listen(config, args, Path(folder))
        checks, commands = check_robot(checkpoint, config, bags, args.msgs, seen)
    _print(checks)
    if args.write:
        _write(args.write, checkpoint, config.robot, commands)
    failed = sum(not one.go for one in checks)
    echo('go' if not failed else f'no-go: {count_of(failed, "check")} failed')
    return int(failed > 0)


def _listen(
    config: Config, args: argparse.Namespace, folder: Path
) -> tuple[list[Check], list[Path]]:
    """Record the running robot; return what only it shows, and the bag if images came."""
    from smwm_ros.bags.reading.topics import as_recorded
    from smwm_ros.evaluation.preflight import Check
    from smwm_ros.verbs.live import check_nodes, listen

    listed = as_recorded(config.robot)
    heard = listen(listed, config.node.camera_reliability, args.live, folder, args.msgs)
    robot = heard.robot
    checks = [check_topics(robot, heard.graph.published, 'published', live=True)]
    checks += check_nodes(robot, heard.graph)
    if checks[0].go and not heard.bag:
        what = f'no image came on {robot.camera.topic} in {count_of(args.live, "second")}'
        checks.append(Check('camera', False, what, 'see that the camera publishes, and its QoS'))
    return checks, [heard.bag] if heard.bag else []


def _print(checks: Sequence[Check]) -> None:
    """Print each check, with what to do."""
    for one in checks:
        echo(f'{"go" if one.go else "NO-GO":6} {one.name}: {one.what}')
        if one.remedy:
            echo(f'       -> {one.remedy}')


def check_robot(
    checkpoint: Checkpoint,
    config: Config,
    bags: Sequence[Path],
    msgs: Sequence[Path] = (),
    seen: Sequence[Check] | None = None,  # of a running robot; None for a recording
) -> tuple[list[Check], Commands | None]:
    """Check a robot and recordings of it; also return its commands, if its motion answers."""
    from smwm_ros.evaluation.preflight import Check

    live = seen is not None
    checks = [_compare_robots(checkpoint.robot, config.robot), *(seen or ())]
    try:
        checks += _check_topics(checkpoint, config, bags, msgs, live)
        if not bags or not all(one.go for one in checks if one.name in ESSENTIAL):
            return checks, None
        more, commands = _check_data(checkpoint, config, bags, msgs)
    except SmwmError as error:
        remedy = 'record a minute in which the robot is driven, with all topics of robot.yaml'
        return [*checks, Check('recording', False, str(error), remedy)], None
    return [*checks, *more], commands


def _check_topics(
    checkpoint: Checkpoint,
    config: Config,
    bags: Sequence[Path],
    msgs: Sequence[Path],
    live: bool,
) -> list[Check]:
    """Check the topics in each bag; of several bags, show the first no-go of each check."""
    from smwm_ros.bags.reading.find import find_bags
    from smwm_ros.bags.reading.topics import config_as_recorded
    from smwm_ros.bags.survey.traffic import traffic_in
    from smwm_ros.codec.transport import as_published

    found: dict[str, Check] = {}
    decoder = config.robot.camera.decoder
    for bag in find_bags(bags, msgs) if bags else []:
        if bag.is_video:
            continue
        here = config_as_recorded(config, bag)
        robot = here.robot
        seen = traffic_in(bag, [*robot.camera.topics, robot.command.topic], decoder)
        camera = as_published(robot.camera, seen.types)
        if camera != robot.camera:
            robot = replace(robot, camera=camera)
            here = replace(here, robot=robot)
            seen = traffic_in(bag, [*camera.topics, robot.command.topic], decoder)
        types = {topic: [kind] for topic, kind in seen.types.items()}
        checks = [] if live else [check_topics(robot, types, bag.name)]
        if all(one.go for one in checks):
            checks += check_traffic(here, seen.of, checkpoint.image_size, live)
        for one in checks:
            if one.name not in found or (found[one.name].go and not one.go):
                found[one.name] = one
    return list(found.values())


def _compare_robots(known: Robot, robot: Robot) -> Check:
    """Compare what the model was trained for with a configuration."""
    from smwm_ros.evaluation.preflight import judged

    found = {
        'robot.dt': (known.dt, robot.dt),
        'robot.command.fields': (known.command.fields, robot.command.fields),
        'robot.camera.decoder': (known.camera.decoded_by, robot.camera.decoded_by),
    }
    wrong = [
        f'{name} is {now}, and {before} in training'
        for name, (before, now) in found.items()
        if before != now
    ]
    limits = zip(
        robot.command.fields,
        *(robot.command.low, known.command.low, robot.command.high, known.command.high),
        strict=False,
    )
    wrong += [
        f'the limits of {field} are {low:g} to {high:g}, and {least:g} to {most:g} in training'
        for field, low, least, high, most in limits
        if low < least or high > most
    ]
    return judged(
        'robot',
        not wrong,
        '; '.join(wrong) or 'fields, limits and control period are those of the training',
        'use a model of this robot, in this order of fields; narrow the limits to those of the '
        'training, or train with recordings of this robot',
    )


def _check_data(
    checkpoint: Checkpoint, config: Config, bags: Sequence[Path], msgs: Sequence[Path]
) -> tuple[list[Check], Commands | None]:
    """Convert recordings as those of the training, and check images and commands."""
    from tempfile import TemporaryDirectory

    from smwm_ros.evaluation.command_response import compare_commands
    from smwm_ros.evaluation.preflight import check_commands, check_images, check_recording

    robot = replace(config.robot, state=State())  # nothing here needs a measured state
    settings = replace(checkpoint.dataset, after_hold='unknown')
    node = config.node
    delay = node.actuation_delay if node.actuation_delay >= 0 else settings.command_delay
    with TemporaryDirectory(prefix='smwm-check-') as folder:
        data = converted(bags, Path(folder), robot, settings, msgs)
        commands = compare_commands(checkpoint, data)
        asked = check_commands(checkpoint, data, commands, delay)
        checks = [check_recording(data), check_images(checkpoint, data), *asked]
        answers = any(one.name == 'delay' for one in asked)
        return checks, commands if answers else None


def _write(path: Path, checkpoint: Checkpoint, robot: Robot, commands: Commands | None) -> None:
    """Write a configuration with what was measured of the actuators."""
    from smwm_ros.arenas.choose import arenas_of
    from smwm_ros.evaluation.command_response import actuation, later
    from smwm_ros.files import write_atomic
    from smwm_ros.load import to_dict
    import yaml

    if commands is None:
        echo(f'{path}: not written, because the motion does not answer to the commands')
        return
    arena: dict[str, Any] = actuation(checkpoint, commands)
    if names := arenas_of(checkpoint.robot):
        arena = {'name': names[0], 'image_size': checkpoint.image_size, **arena}
    delay = round(later(checkpoint, commands.delay), 9)
    sections = {
        'robot': to_dict(robot),
        'dataset': {**to_dict(checkpoint.dataset), 'command_delay': delay},
        'node': {'actuation_delay': max(delay, 0.0)},
        'arena': arena,
    }
    text = yaml.safe_dump(sections, sort_keys=False, default_flow_style=None)
    unknown = [one.name for one in commands.fields if not one.known]
    head = ['# measured by smwm check: delay and gain of each command field, beside the training']
    head += [f'# not measured, because it did not vary: {name}' for name in unknown]
    if len({one.delay for one in commands.fields if one.known}) > 1:
        head.append('# the delays differ: dataset.command_delay is the one that fits best')
    write_atomic(path, '\n'.join([*map(line, head), text]).encode())
    echo(
        f'{path}: delay and gain of each field, for smwm convert --config and smwm '
        'rehearse --config'
    )
