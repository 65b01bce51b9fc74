# SPDX-License-Identifier: Apache-2.0
"""
Start the plan node, and with sim:=true also the arena node, which simulates its robot.

`ros2 launch smwm_ros plan.launch.py sim:=true` moves a simulated robot with the packaged model.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare
from smwm_ros.share import fast_dds_profile

YES = ['true', 'True', '1']
NO = ['false', 'False', '0']
SWITCH = [*YES, *NO]
# launch argument: default, choices, description
ARGUMENTS = {
    'checkpoint': ('', None, 'folder of the trained model; empty for the one in the package'),
    'goal_image': ('', None, 'picture of the goal, PNG or JPEG; empty to wait for /goal/image'),
    'config': ('', None, 'YAML file with ROS parameters of the plan node; empty for none'),
    'sim': ('false', SWITCH, 'also start the arena node, which simulates the robot'),
    'arena': ('two_room', None, 'name of the arena, with sim:=true'),
    'autostart': ('true', SWITCH, 'configure and activate the plan node at its start'),
    'respawn': (
        'false',
        SWITCH,
        'restart the plan node when it ends; a stopped robot stays stopped',
    ),
    'namespace': ('', None, 'namespace of nodes and relative topics'),
    'use_sim_time': ('false', SWITCH, 'follow the simulated time on /clock instead of wall time'),
    'log_level': ('info', None, 'debug, info, warn, error or fatal'),
}


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the nodes; arguments that are not given do not override the parameter file."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    if given['config'] and not Path(given['config']).is_file():
        raise RuntimeError(
            f'config:={given["config"]}: no such file; expected a YAML file with ROS parameters'
        )
    parameters = {name: given[name] for name in ('checkpoint', 'goal_image') if given[name]}
    if given['autostart'] in NO:
        parameters['node.autostart'] = False
    if given['use_sim_time'] in YES:
        parameters['use_sim_time'] = True
    if given['sim'] in YES:  # without noise images do not change while the robot pushes
        parameters['node.frozen_timeout'] = 0.0
    if given['respawn'] in YES:  # the restarted node stays stopped
        parameters['node.keep_stop'] = True
    plan = Node(
        package='smwm_ros',
        executable='plan',
        name='plan',
        output='screen',
        parameters=[*filter(None, [given['config'], parameters])],
        respawn=given['respawn'] in YES,
        respawn_delay=1.0,
        ros_arguments=['--log-level', given['log_level']],
    )
    nodes = [plan]
    if given['sim'] in YES:
        file = PathJoinSubstitution(
            [FindPackageShare('smwm_ros'), 'launch', 'arena.launch.py']
        ).perform(context)
        # The arena node publishes simulated time.
        clock = 'true' if given['use_sim_time'] in YES else 'false'
        # With a budget a robot that is stuck gets another task.
        arena = {'arena': given['arena'], 'clock': clock, 'budget': '300'}.items()
        nodes.append(IncludeLaunchDescription(file, launch_arguments=arena))
    # Raw images need more shared memory than the default.
    profile = fast_dds_profile(context.environment).items()
    variables = [SetEnvironmentVariable(name, file) for name, file in profile]
    return [*variables, GroupAction([PushRosNamespace(given['namespace']), *nodes])]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the nodes with them."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name, default_value=default, choices=choices, description=about
                )
                for name, (default, choices, about) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=start),
        ]
    )
