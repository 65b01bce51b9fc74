# SPDX-License-Identifier: Apache-2.0
"""
Start the planner, and with sim:=true also an arena that poses as its robot.

`ros2 launch smwm_ros plan.launch.py sim:=true` moves a robot with the model in the package.
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
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare

YES = ['true', 'True', '1']
NO = ['false', 'False', '0']
SWITCH = [*YES, *NO]
# launch argument: default, choices, description
ARGUMENTS = {
    'checkpoint': ('', None, 'folder of the trained model; empty for the one in the package'),
    'goal_image': ('', None, 'picture of the goal, PNG or JPEG; empty to wait for /goal/image'),
    'config': ('', None, 'YAML file with ROS parameters of the planner; empty for none'),
    'sim': ('false', SWITCH, 'also start an arena that poses as the robot'),
    'arena': ('two_room', None, 'which arena, with sim:=true'),
    'autostart': ('true', SWITCH, 'configure and activate the planner by itself'),
    'respawn': (
        'false',
        SWITCH,
        'start the planner again when it has ended; a stop outlives that',
    ),
    'namespace': ('', None, 'namespace of nodes and relative topics'),
    'use_sim_time': ('false', SWITCH, 'follow /clock, not the time of the wall'),
    'log_level': ('info', None, 'debug, info, warn, error or fatal'),
}
PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the nodes; what the user did not give stays as the parameter file has it."""
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
    if given['sim'] in YES:  # a camera without noise shows the same while the robot pushes
        parameters['node.frozen_timeout'] = 0.0
    if given['respawn'] in YES:  # what was stopped stays so
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
        # Simulated time needs a clock.
        clock = 'true' if given['use_sim_time'] in YES else 'false'
        # A robot that is stuck gets another task, so that there is always something to see.
        arena = {'arena': given['arena'], 'clock': clock, 'budget': '300'}.items()
        nodes.append(IncludeLaunchDescription(file, launch_arguments=arena))
    return [GroupAction([PushRosNamespace(given['namespace']), *nodes])]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the nodes with them."""
    # Raw camera images need more shared memory than Fast DDS has by itself; yours comes first.
    file = PathJoinSubstitution([FindPackageShare('smwm_ros'), 'config', 'fastdds.xml'])
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    name, default_value=default, choices=choices, description=about
                )
                for name, (default, choices, about) in ARGUMENTS.items()
            ),
            SetEnvironmentVariable(PROFILE, EnvironmentVariable(PROFILE, default_value=file)),
            OpaqueFunction(function=start),
        ]
    )
