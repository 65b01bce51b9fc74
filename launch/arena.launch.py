# SPDX-License-Identifier: Apache-2.0
"""Start the arena node, which simulates a robot: commands in, camera images and odometry out."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# launch argument: parameter of the node, its type, default, description
ARGUMENTS = {
    'arena': ('arena.name', str, 'two_room', 'name of the arena'),
    'image_size': ('arena.image_size', int, '64', 'camera image, square [px]'),
    'seed': ('arena.seed', int, '0', 'seed of the random tasks'),
    'real_time_factor': ('sim.real_time_factor', float, '1.0', 'simulated seconds in a second'),
    'clock': ('sim.clock', bool, 'false', 'publish simulated time on /clock'),
    'randomise': ('randomise.usual', bool, 'false', 'randomise tasks within the usual ranges'),
    'distractors': ('arena.distractors', int, '0', 'number of balls that roll in view'),
    'tasks': ('sim.tasks', str, '', 'JSON file with a list of {start, goal}; empty for random'),
    'budget': ('sim.budget', int, '0', 'raw steps to reach a goal, 0 for no limit'),
    'auto_next': ('sim.auto_next', float, '2.0', 'pause before the next task [s], 0 for none'),
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, and start the node with them."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=about)
        for name, (_, _, default, about) in ARGUMENTS.items()
    ]
    parameters = {
        parameter: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (parameter, kind, _, _) in ARGUMENTS.items()
    }
    node = Node(package='smwm_ros', executable='arena', parameters=[parameters], output='screen')
    return LaunchDescription([*arguments, node])
