# SPDX-License-Identifier: Apache-2.0
"""
Record episodes of a robot, one rosbag for each, with their task and outcome.

The node /record subscribes to --topics, to the camera, command and state topics of --config, and
to /clock and /tf_static where they are published. Between start and stop it writes their messages
to DIR/episode_0001, episode_0002 and so on, which smwm convert reads. Without a configuration,
smwm inspect proposes one from the first episodes. Keys in the terminal, and services
(std_srvs/Trigger):

  space  ~/start, ~/stop         start an episode, or stop and store it
  s, f   ~/success, ~/failure    set the outcome of the running episode, else of the last one
  d      ~/discard               discard the running episode, else the last one
  q                              quit; like Ctrl-C it stores a running episode

The task is the parameter `task` or the last text on ~/task (std_msgs/String), when an episode
starts. ~/status (std_msgs/String, JSON) has messages and rates, and warnings. A discarded episode
stays in DIR/.discarded until the next one is discarded. An episode that a crash interrupted is
stored as far as it was written when the recorder starts again.

ROS arguments follow --ros-args: a namespace, remappings, -p task:="open the drawer".
"""

from __future__ import annotations

import argparse
from pathlib import Path

from smwm_ros.text import count_of, echo
from smwm_ros.verbs.options import add_config, config_of, require_ros

EXAMPLE = 'smwm record --config robot.yaml --out my_bags/monday'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the words of this verb."""
    parser.add_argument(
        '--out', required=True, type=Path, metavar='DIR', help='folder of the episodes'
    )
    parser.add_argument(
        '--topics', nargs='+', default=[], metavar='TOPIC', help='record these topics, too'
    )
    parser.add_argument('--task', default='', metavar='TEXT', help='task of the episodes')
    parser.add_argument(
        '--compress', action='store_true', help='compress the bags (zstd); takes a processor'
    )
    parser.add_argument(
        '--reserve',
        type=_gigabytes,
        default=1.0,
        metavar='GB',
        help='space of the disk that stays free: below it recording ends (default: 1)',
    )
    add_config(parser, ['robot'])
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], help='arguments of ROS follow'
    )


def run(args: argparse.Namespace) -> int:
    """Run the recorder until it is interrupted."""
    config = config_of(args)
    require_ros('recording')
    from smwm_ros.bags.writing.episodes import EpisodeFolder
    from smwm_ros.nodes.keyboard import keyboard
    from smwm_ros.nodes.recorder import RecorderNode
    from smwm_ros.nodes.spin import run_node

    # The topics of the defaults are hardly those of a robot that was not described.
    described = args.config or any(word.startswith('robot.') for word in args.settings)
    robot = config.robot if described else None
    topics = [topic for topic in (*args.topics, config.dataset.episode_topic) if topic]
    with (
        EpisodeFolder(args.out, round(args.reserve * 1e9), args.compress) as episodes,
        keyboard() as keys,
    ):
        echo(*episodes.recovered)

        def record() -> RecorderNode:
            return RecorderNode(episodes, robot, topics, args.task, keys)

        code = run_node(record, ['record', '--ros-args', *args.ros_args])
    echo(f'{args.out}: {count_of(episodes.stored, "episode")} stored')
    return code


def _gigabytes(word: str) -> float:
    """Read a number of gigabytes."""
    try:
        number = float(word)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"'{word}': expected a number of gigabytes")
    return number
