# SPDX-License-Identifier: Apache-2.0
"""
Every knob on one page, declared once.

YAML files, `key=value` on the command line, ROS parameters and the tables in the docs are all
made from these classes by `load.py`. Units stand in brackets. `live=True` marks the knobs that a
running node accepts; all others are read-only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import re
from typing import Any

from smwm_ros.fieldpath import expand


def knob(
    default: Any,
    help: str,  # noqa: A002 - the word a reader expects
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    live: bool = False,
    was: str = '',
) -> Any:
    """Declare one knob: its default, what it means, what values it takes, and its former name."""
    meta = {'help': help, 'low': low, 'high': high, 'choices': tuple(choices), 'live': live}
    return field(default=default, metadata={**meta, 'was': was})


# Coordinate frames (REP-103, REP-105) of what an arena measures and shows.
CAMERA_FRAME = 'camera_optical_frame'
STATE_FRAME = 'odom'
BODY_FRAME = 'base_link'

IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')


@dataclass(frozen=True)
class Camera:
    """Where pixels come from."""

    topic: str = knob(
        'camera/image_raw',
        'camera topic; without a leading slash it lies in the namespace of the node',
    )
    type: str = knob(IMAGE_TYPES[0], 'message type of the camera topic', choices=IMAGE_TYPES)
    others: str = knob(
        '', "further camera topics of the same type, with spaces between; '' for a single camera"
    )
    tiles: str = knob(
        'row', 'several views: side by side, or in a square grid', choices=('row', 'grid')
    )

    def __post_init__(self) -> None:
        """Refuse a camera that would be seen twice."""
        if len({topic.lstrip('/') for topic in self.topics}) < len(self.topics):
            raise ValueError('others: every camera topic must be named once')

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics of all cameras, whose views make one image."""
        return (self.topic, *self.others.split())


@dataclass(frozen=True)
class Command:
    """What the robot gets: any message, as a vector of its numeric fields."""

    topic: str = knob('cmd_vel', 'command topic, likewise')
    type: str = knob('geometry_msgs/msg/TwistStamped', 'message type of the command topic')
    fields: tuple[str, ...] = knob(
        ('twist.linear.x', 'twist.angular.z'), 'message fields that make the action vector'
    )
    low: tuple[float, ...] = knob(
        (-0.5, -1.0), 'smallest value of each field [its SI unit]', live=True
    )
    high: tuple[float, ...] = knob(
        (0.5, 1.0), 'largest value of each field [its SI unit]', live=True
    )
    frame_id: str = knob('base_link', 'frame_id written into stamped commands')
    stop: str = knob(
        'zero',
        'what stops the robot: zero velocity, or hold the last position',
        choices=('zero', 'hold'),
    )

    def __post_init__(self) -> None:
        """Check what no single knob can: that the vectors belong together."""
        names = expand(self.fields)
        if not names:
            raise ValueError('fields: empty; name at least one message field')
        if not len(names) == len(self.low) == len(self.high):
            raise ValueError(
                f'low: expected one limit for each of {", ".join(names)} in low and in high, '
                f'found {len(self.low)} and {len(self.high)}'
            )
        for name, low, high in zip(names, self.low, self.high, strict=True):
            if not low < high:
                raise ValueError(f'low: {low} of {name} must lie below its high {high}')


@dataclass(frozen=True)
class State:
    """What the robot measures of itself, kept beside the pixels; empty topic for none."""

    topic: str = knob('', "measured-state topic, likewise; '' for none")
    type: str = knob('nav_msgs/msg/Odometry', 'message type of the state topic')
    fields: tuple[str, ...] = knob(
        ('pose.pose.position.x', 'pose.pose.position.y'), 'message fields that make the state'
    )

    def __post_init__(self) -> None:
        """Refuse what is no field path."""
        expand(self.fields)

    @property
    def frame_id(self) -> str:
        """Return the frame that is measured in: poses in the world, joints in the robot."""
        return BODY_FRAME if self.type == 'sensor_msgs/msg/JointState' else STATE_FRAME


@dataclass(frozen=True)
class Robot:
    """The robot as ROS sees it; copied into the checkpoint, so the node needs nothing else."""

    camera: Camera = field(default_factory=Camera)
    command: Command = field(default_factory=Command)
    state: State = field(default_factory=State)
    dt: float = knob(0.1, 'control period: one raw action lasts this long [s]', 0.001, 10.0)


_CLOCKS = ('', 'auto', 'header', 'receive')
_CLOCK = "which clock orders {}, '' for that of dataset.time"


@dataclass(frozen=True)
class Dataset:
    """How a bag becomes transitions."""

    image_size: int = knob(64, 'frames are resized to this square [px]', 16, 1024)
    resize: str = knob(
        'stretch', 'how a frame that is not square fits', choices=('stretch', 'letterbox', 'crop')
    )
    pixels: str = knob(
        'raw',
        'how frames are stored: as they are, or smaller and not exact',
        choices=('raw', 'jpeg'),
    )
    jpeg_quality: int = knob(95, 'quality of stored JPEG frames', 1, 100)
    action_block: int = knob(5, 'raw actions between two frames of a transition (K)', 1, 100)
    action: str = knob(
        'last',
        'the raw action of a tick, from the commands heard during it; or, for a robot without '
        'commands, how the command fields of a measured state change until the next tick',
        choices=('last', 'first', 'mean', 'sum', 'next_state_delta'),
    )
    time: str = knob(
        'auto', 'which clock orders the messages', choices=('auto', 'header', 'receive')
    )
    camera_time: str = knob('', _CLOCK.format('the cameras'), choices=_CLOCKS)
    command_time: str = knob('', _CLOCK.format('the commands'), choices=_CLOCKS)
    state_time: str = knob('', _CLOCK.format('the measured state'), choices=_CLOCKS)
    max_frame_age: float = knob(
        0.15, 'frames further apart are a gap; an older state counts as unknown [s]', 0.0, 60.0
    )
    command_delay: float = knob(
        0.0, 'the robot acts on a command this long after it is heard [s]', -10.0, 10.0
    )
    hold: float = knob(0.5, 'a command is held this long when none follows [s]', 0.0, 60.0)
    after_hold: str = knob(
        'drop',
        'a tick past the hold: drop it, or count it as a zero command',
        choices=('drop', 'zero'),
    )
    max_damaged: float = knob(
        0.1, 'share of the messages of a topic that may be damaged and left out', 0.0, 1.0
    )
    episode_topic: str = knob(
        '',
        'Bool topic, true within an episode, or String topic, where each new text begins one and '
        "'' ends it; '' to use all of a bag",
    )
    min_length: int = knob(10, 'episodes with fewer ticks are left out', 2, 1_000_000)
    val_share: float = knob(
        0.1, 'share of the ticks that is held out: episodes, or stretches of long ones', 0.0, 0.9
    )
    seed: int = knob(0, 'seed of the held-out split', 0, 2**31 - 1)


KINDS = ('smwm', 'forward_only', 'sigreg', 'state_align', 'smwm+sigreg', 'state_align+sigreg')


@dataclass(frozen=True)
class Model:
    """The world model: encoder f, forward model g, inverse model h."""

    preset: str = knob(
        'nano',
        'the networks: small ones for real time on a CPU (nano), those of the paper (tiny), or '
        'those of its demonstrations (toy)',
        choices=('nano', 'tiny', 'toy'),
    )
    kind: str = knob(
        'smwm',
        'what joins the forward loss: the inverse loss (smwm), nothing (collapses), the '
        'regulariser of LeWorldModel (sigreg), or the inverse loss and a head that predicts the '
        'measured state (state_align); a plus joins two',
        choices=KINDS,
    )
    latent: int = knob(32, 'width of the latent z of nano; the others have their own', 1, 4096)
    hidden: int = knob(256, 'width of the hidden layers of nano', 8, 4096)
    history: int = knob(1, 'steps that the forward model of tiny remembers', 1, 64)
    inverse_weight: float = knob(
        1.0, 'lambda in L = L_fwd + lambda * L_inv; 0 collapses', 0.0, 1000.0
    )
    inverse_target: float = knob(
        0.0,
        'lambda is found while training, from inverse_weight on, such that this share of the '
        'actions is not read back; 0 for a fixed lambda',
        0.0,
        1.0,
    )
    sigreg_weight: float = knob(0.09, 'weight of the regulariser of sigreg', 0.0, 1000.0)
    sigreg_directions: int = knob(1024, 'random directions that sigreg projects on', 1, 65536)
    state_weight: float = knob(1.0, 'weight of the state loss of state_align', 0.0, 1000.0)
    heads: int = knob(
        0,
        'small forward models that learn beside g, and shape no latent; where they disagree, the '
        'model is in doubt (planner.doubt_weight)',
        0,
        100,
    )

    @property
    def inverts(self) -> bool:
        """Return whether the inverse loss shapes the latent."""
        return self.kind.startswith(('smwm', 'state_align'))

    @property
    def regularises(self) -> bool:
        """Return whether the latent is kept Gaussian."""
        return self.kind.endswith('sigreg')

    @property
    def aligns_state(self) -> bool:
        """Return whether the measured state is predicted."""
        return self.kind.startswith('state_align')


@dataclass(frozen=True)
class Train:
    """One training run."""

    steps: int = knob(3000, 'optimiser steps', 1, 10_000_000)
    batch: int = knob(128, 'windows in a batch', 2, 65536)
    unroll: int = knob(
        1,
        'model steps in a window: g is trained to predict this far from the first frame on its '
        'own predictions; 1 for single transitions',
        1,
        100,
    )
    lr: float = knob(3e-3, 'peak learning rate', 1e-7, 1.0)
    weight_decay: float = knob(1e-4, 'AdamW weight decay', 0.0, 1.0)
    warmup: float = knob(0.05, 'share of the steps over which the rate rises', 0.0, 0.9)
    clip: float = knob(1.0, 'largest gradient norm', 1e-3, 1e6)
    device: str = knob('auto', 'where to train', choices=('auto', 'cpu', 'cuda'))
    threads: int = knob(
        0,
        'CPU threads; 0 for all where processors are idle, else for what the first steps show to '
        'be faster; looked at again when steps become far slower',
        0,
        1024,
    )
    precision: str = knob(
        'auto',
        'of the arithmetic: bf16 is faster on a GPU and slower on a CPU, which auto knows',
        choices=('auto', 'fp32', 'bf16'),
    )
    compile: bool = knob(False, 'compile the losses first; docs/results.md has what that gains')
    shift: int = knob(
        0, 'each window is moved at random, all its images alike, by up to this much [px]', 0, 256
    )
    brightness: float = knob(
        0.0, 'each image is made up to this share brighter or darker at random', 0.0, 1.0
    )
    seed: int = knob(0, 'seed of weights and batches', 0, 2**31 - 1)
    eval_every: int = knob(100, 'steps between two looks at the held-out episodes', 1, 1_000_000)


SEARCHES = ('cem', 'icem', 'mppi', 'sampling')


@dataclass(frozen=True)
class Planner:
    """Model-predictive control in latent space."""

    kind: str = knob(
        'cem',
        'how actions are found: drawn around the mean of the best, again and again (cem); the '
        'same with smooth samples, the best of which are kept (icem); around their mean weighted '
        'by cost (mppi); around the best one (sampling); not searched, but proposed by a policy '
        '(amortised); with subgoals on the way (roadmap). The last two need smwm prepare',
        choices=(*SEARCHES, 'amortised', 'roadmap'),
    )
    subplanner: str = knob(
        'cem',
        'of roadmap: the kind that plans from subgoal to subgoal',
        choices=(*SEARCHES, 'amortised'),
        was='legs',
    )
    proposals: bool = knob(
        False, 'searches begin with what the policy of smwm prepare proposes, too'
    )
    horizon: int = knob(5, 'model steps looked ahead', 1, 100, live=True)
    samples: int = knob(128, 'action sequences tried in an iteration', 2, 100_000, live=True)
    iterations: int = knob(4, 'refinements of a plan', 1, 1000, live=True)
    elites: int = knob(
        16, 'best sequences that the next iteration is drawn around', 1, 100_000, live=True
    )
    cost: str = knob(
        'sum',
        'latent distance to the goal: squared and summed over the horizon, squared at its last '
        'step or at the nearest one (min), or at the nearest one plus time_weight times that of '
        'all steps (nearest)',
        choices=('sum', 'last', 'min', 'nearest'),
    )
    time_weight: float = knob(
        0.1,
        'of cost nearest: weight of the distances of all steps beside that of the nearest one; '
        'less allows detours',
        0.0,
        10.0,
        live=True,
        was='hurry',
    )
    focus: tuple[str, ...] = knob(
        (),
        'fields of robot.state that the goal is about first of all, such as '
        'position[name=cube_x,cube_y]: what the model reads of them off its latents '
        '(model.kind state_align) counts beside the latent distance; [] for none',
    )
    focus_weight: float = knob(
        1.0,
        'what they count: a standard deviation of theirs as much as this squared latent distance',
        0.0,
        1e6,
        live=True,
    )
    effort_weight: float = knob(
        0.0, 'cost of the mean squared raw action, where 1 is half its range', 0.0, 1e6, live=True
    )
    change_weight: float = knob(
        0.0, 'cost of the mean squared change between raw actions, likewise', 0.0, 1e6, live=True
    )
    doubt_weight: float = knob(
        0.0,
        'cost of what the heads of the model disagree on, see model.heads',
        0.0,
        1e6,
        live=True,
    )
    keep_out: str = knob('', "folder with images of places to avoid, '' for none")
    keep_out_weight: float = knob(5.0, 'cost of a step to a place to avoid', 0.0, 1e6, live=True)
    keep_out_radius: float = knob(
        0.5, 'latent distance at which 0.6 of that cost is left', 1e-3, 1e3, live=True
    )
    init_std: float = knob(
        1.0, 'first spread of the samples [standard deviations of the data]', 0.01, 10.0, live=True
    )
    smooth: float = knob(
        0.0,
        'share of the variance of the samples that all raw actions of a model step have in common',
        0.0,
        1.0,
        live=True,
    )
    min_std: float = knob(0.05, 'spread never falls below this [same]', 0.0, 10.0, live=True)
    noise_beta: float = knob(
        2.0,
        'of icem: exponent of the coloured noise, whose power falls with frequency to this; 0 is '
        'white noise',
        0.0,
        10.0,
        live=True,
        was='colour',
    )
    elite_keep: float = knob(
        0.3,
        'of icem: share of the elites that the next iteration tries again',
        0.0,
        1.0,
        live=True,
        was='kept',
    )
    temperature: float = knob(
        0.5,
        'of mppi: how much worse than the best an elite may be and count [mean of the elites]',
        0.001,
        1000.0,
        live=True,
    )
    max_rate: tuple[float, ...] = knob(
        (),
        'plans change a command field no faster than this in a second [its SI unit/s]: one for '
        'all fields, one for each, or [] for no limit',
    )
    refine: int = knob(0, 'steps down the gradient that each elite takes', 0, 1000, live=True)
    budget_ms: float = knob(
        0.0,
        'no iteration begins that would take the search longer than this, 0 for no limit [ms]',
        0.0,
        60_000.0,
        live=True,
    )
    precision: str = knob(
        'fp32',
        'of the matrix products that imagine: bf16 ranks plans nearly alike, and is faster on '
        'GPUs and on CPUs that know it',
        choices=('fp32', 'bf16'),
    )
    device: str = knob(
        'auto',
        'where plans are made; auto takes a CUDA GPU, where there is one, for models of preset '
        'tiny, the others are as fast on the processor',
        choices=('auto', 'cpu', 'cuda'),
    )
    warm_start: bool = knob(True, 'begin from the last plan, shifted by the time that passed')
    seed: int = knob(0, 'seed of the samples', 0, 2**31 - 1)

    def __post_init__(self) -> None:
        """Refuse what no search can do."""
        if self.horizon < 1:
            raise ValueError(f'horizon: {self.horizon} model steps; a plan has at least 1')
        if self.elites > self.samples:
            raise ValueError(f'elites: {self.elites} is more than the {self.samples} samples')


@dataclass(frozen=True)
class Prepare:
    """Roadmap and proposals, made of the drives of a dataset."""

    steps: int = knob(3000, 'optimiser steps of the policy', 1, 10_000_000)


@dataclass(frozen=True)
class Arena:
    """A simulated world, and what is collected in it."""

    name: str = knob('two_room', 'which world')
    image_size: int = knob(64, 'camera image, square [px]', 16, 1024)
    episodes: int = knob(180, 'episodes to collect', 1, 10_000_000)
    length: int = knob(100, 'raw steps in an episode', 2, 100_000)
    policy: str = knob(
        'mixed',
        'who drives: the expert with a little noise, or also with fits of random actions; chance; '
        'or expert and chance in turns',
        choices=('expert', 'restless', 'random', 'mixed'),
    )
    seed: int = knob(0, 'seed of everything random in the arena', 0, 2**31 - 1)
    distractors: int = knob(0, 'balls that are only seen, and roll about by themselves', 0, 100)


@dataclass(frozen=True)
class Record:
    """
    How an arena is recorded: by default like a robot whose clocks and messages are perfect.

    Whatever else is asked for is drawn by the seed of the arena; what really happened is then
    written into each bag, as JSON on the String topic /recording/truth.
    """

    storage: str = knob('mcap', 'what bags are stored as', choices=('mcap', 'sqlite3'))
    camera_rate: float = knob(
        0.0, 'frames in a second, 0 for one each control period [Hz]', 0.0, 1000.0
    )
    command_rate: float = knob(0.0, 'commands in a second, 0 for the same [Hz]', 0.0, 1000.0)
    state_rate: float = knob(0.0, 'measured states in a second, 0 for the same [Hz]', 0.0, 1000.0)
    camera_jitter: float = knob(0.0, 'a frame is taken up to this early or late [s]', 0.0, 1.0)
    command_jitter: float = knob(0.0, 'a command is sent up to this early or late [s]', 0.0, 1.0)
    camera_latency: float = knob(
        0.0, 'a frame is received this long after it was taken [s]', 0.0, 2.0
    )
    command_phase: float = knob(
        0.001, 'a command takes effect this long after its control period began [s]', 0.0, 1.0
    )
    command_latency: float = knob(
        0.0, 'the robot acts on a command this long after it was sent [s]', 0.0, 2.0
    )
    camera_stamp: str = knob(
        'taken',
        'headers of frames tell when they were taken, when they were received, or nothing',
        choices=('taken', 'received', 'zero'),
    )
    command_stamp: str = knob(
        'sent',
        'headers of commands tell when they were sent, or nothing',
        choices=('sent', 'zero'),
    )
    camera_offset: float = knob(
        0.0, 'the clock in the headers of frames is this far ahead [s]', -1e9, 1e9
    )
    camera_drift: float = knob(
        0.0, 'and gains this much in each second of the recording [s]', -0.01, 0.01
    )
    camera_loss: float = knob(0.0, 'share of the frames that is not recorded', 0.0, 0.95)
    command_loss: float = knob(0.0, 'share of the commands that is not recorded', 0.0, 0.95)
    repeated: float = knob(0.0, 'share of all messages that is recorded twice', 0.0, 0.95)
    overtaken: float = knob(
        0.0, 'share of all messages that is received just after the next of its topic', 0.0, 0.95
    )
    pauses: int = knob(0, 'times in an episode that nothing is recorded for a while', 0, 100)
    pause: float = knob(2.0, 'how long each of them is [s]', 0.0, 3600.0)


@dataclass(frozen=True)
class Randomise:
    """What differs from episode to episode in an arena: ranges, [low, high], to draw from."""

    usual: bool = knob(False, 'usual ranges for all that is not given below')
    light: tuple[float, ...] = knob((1.0, 1.0), 'strength of the light [factor]', 0.1, 4.0)
    light_turn: tuple[float, ...] = knob(
        (0.0, 0.0), 'light turned about the vertical by [deg]', -180.0, 180.0
    )
    light_tilt: tuple[float, ...] = knob(
        (0.0, 0.0), 'light nearer to the horizon by [deg]', -60.0, 60.0
    )
    colour: tuple[float, ...] = knob(
        (0.0, 0.0), 'red, green and blue of each colour, 0 to 1, changed by', -1.0, 1.0
    )
    texture: tuple[float, ...] = knob(
        (0.0, 0.0), 'contrast of a pattern on all that never moves', 0.0, 1.0
    )
    camera_eye: tuple[float, ...] = knob(
        (0.0, 0.0), 'camera moved along x, y and z by [share of its distance]', -0.5, 0.5
    )
    camera_target: tuple[float, ...] = knob(
        (0.0, 0.0), 'point in the middle of the image moved by [same]', -0.5, 0.5
    )
    camera_roll: tuple[float, ...] = knob(
        (0.0, 0.0), 'camera turned about its axis by [deg]', -180.0, 180.0
    )
    fov: tuple[float, ...] = knob((1.0, 1.0), 'field of view [factor]', 0.5, 2.0)
    noise: tuple[float, ...] = knob(
        (0.0, 0.0), 'standard deviation of the noise on pixel values, 0 to 255', 0.0, 128.0
    )
    friction: tuple[float, ...] = knob(
        (1.0, 1.0), 'friction of all that moves [factor]', 0.0, 10.0
    )
    mass: tuple[float, ...] = knob((1.0, 1.0), 'mass of all that moves [factor]', 0.1, 10.0)
    gain: tuple[float, ...] = knob(
        (1.0, 1.0), 'velocity of the motors, where 1 is as commanded [factor]', 0.1, 3.0
    )
    latency: tuple[int, ...] = knob((0, 0), 'an action acts so much later [raw steps]', 0, 50)
    lag: tuple[float, ...] = knob(
        (0.0, 0.0), 'velocities follow commands with this time constant: inertia [s]', 0.0, 10.0
    )
    frame_drop: tuple[float, ...] = knob(
        (0.0, 0.0), 'share of the frames that show the one before', 0.0, 0.95
    )

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        for name, value in vars(self).items():
            if name != 'usual' and not (len(value) == 2 and value[0] <= value[1]):
                raise ValueError(f'{name}: expected [low, high], found {list(value)}')


@dataclass(frozen=True)
class Evaluate:
    """The protocol of closed-loop evaluation."""

    pairs: int = knob(100, 'start and goal pairs', 1, 100_000)
    offset: int = knob(25, 'raw steps between start and goal in the recorded episode', 1, 100_000)
    budget: int = knob(50, 'raw steps within which the goal must be reached', 1, 100_000)
    execute: int = knob(1, 'raw steps executed of a plan before the next plan', 1, 100_000)
    delay: int = knob(0, 'raw steps from an image to the first action planned from it', 0, 1000)
    repeats: int = knob(5, 'attempts of the random policy at each pair', 1, 1000)
    lanes: int = knob(8, 'pairs tried at the same time, each as if it were alone', 1, 1000)
    seed: int = knob(0, 'seed of the pairs', 0, 2**31 - 1)


@dataclass(frozen=True)
class Node:
    """The plan node at run time."""

    autostart: bool = knob(
        True, 'configure and activate without being asked; the process ends where that fails'
    )
    engage: bool = knob(True, 'move as soon as there is a goal; false waits for ~/engage')
    dry_run: bool = knob(False, 'plan and report, but publish no command')
    unfit: str = knob(
        'refuse',
        'a model that training found unfit to plan with is refused, or accepted with a warning',
        choices=('refuse', 'accept'),
    )
    shadow: bool = knob(
        False,
        'publish to ~/shadow/command only, and compare with the commands that somebody else gives',
    )
    keep_stop: bool = knob(
        False,
        'a stop outlives the process: a node that is started again under the same name stays '
        'stopped until it is engaged',
    )
    image_timeout: float = knob(
        0.5,
        'an image older than this stops the robot, and so does a plan that was made from one [s]',
        0.01,
        60.0,
        live=True,
    )
    stamp_timeout: float = knob(
        0.0,
        'an image whose stamp is further from now than this is not used [s], 0 to trust no stamp',
        0.0,
        60.0,
        live=True,
    )
    frozen_timeout: float = knob(
        2.0,
        'the same image again and again stops a robot that moves after this long [s], 0 for never',
        0.0,
        60.0,
        live=True,
    )
    compensate: bool = knob(
        True,
        'plans begin with the commands that were sent since the image was taken, as it was then',
        live=True,
    )
    camera_delay: float = knob(
        -1.0,
        'age of an image when it comes [s]; below 0 it is measured by the stamp, where that is no '
        'older than node.image_timeout and not of the future. Must be shorter than a plan',
        -10.0,
        10.0,
        live=True,
    )
    actuation_delay: float = knob(
        -1.0,
        'the robot acts on a command so long after it is sent [s]; below 0 as the checkpoint has '
        'it in dataset.command_delay',
        -10.0,
        10.0,
        live=True,
    )
    coast: int = knob(
        3, 'ticks that an old plan may play on when the planner is late', 0, 100, live=True
    )
    stop_duration: float = knob(
        1.0, 'after a stop, the stop command is repeated this long [s]', 0.0, 60.0, live=True
    )
    max_rate: tuple[float, ...] = knob(
        (),
        'largest change of a command field in a second, stops included [its SI unit/s]: one for '
        'all fields, one for each, or [] for no limit',
        live=True,
    )
    max_jerk: tuple[float, ...] = knob(
        (), 'largest change of that in a second [its SI unit/s^2], likewise', live=True
    )
    exclusive: bool = knob(
        True, 'stop while another node publishes on the command topic', live=True
    )
    camera_reliability: str = knob(
        'best_effort',
        'best_effort hears every camera; reliable only those that are',
        choices=('best_effort', 'reliable'),
    )
    threads: int = knob(1, 'CPU threads of the planner', 1, 64)


GOAL_NAME = re.compile(r'[A-Za-z0-9][\w-]{0,63}')


@dataclass(frozen=True)
class Goal:
    """What the plan node calls reached, and where named goals lie."""

    near: float = knob(
        2.0,
        'a goal is reached within the latent distance of so many control periods of driving, as '
        'training has measured it; 0 for never',
        0.0,
        25.0,
        live=True,
    )
    settle: int = knob(3, 'images near a goal before it is reached', 1, 1000, live=True)
    stay: bool = knob(
        False, 'drive back to a goal that was reached and is left; false waits for the next goal'
    )
    folder: str = knob(
        '',
        "folder of named goals, '' for goals/ in that of the checkpoint, or for one in "
        '~/.local/state/smwm_ros where the checkpoint came with the package',
    )
    save_as: str = knob(
        '',
        "name of the next view or route that is kept: letters, digits, _ and -; '' for numbered "
        'ones',
        live=True,
    )
    spacing: float = knob(
        10.0,
        'subgoals of a route that is taught are the distance of so many periods apart',
        1.0,
        25.0,
        live=True,
    )

    @property
    def far(self) -> float:
        """Return how many control periods away a goal is left, or a subgoal passed."""
        return max(4.0, 2 * self.near)

    def __post_init__(self) -> None:
        """Check the name of a goal."""
        if self.save_as and not GOAL_NAME.fullmatch(self.save_as):
            raise ValueError(
                f'save_as: {self.save_as[:80]!r} is no name for a goal; expected letters, digits, '
                '_ and -, 64 at most'
            )


@dataclass(frozen=True)
class Sim:
    """The arena node: an arena that poses as a robot."""

    real_time_factor: float = knob(1.0, 'simulated seconds in a second', 0.01, 100.0)
    clock: bool = knob(False, 'publish simulated time on /clock; stamps and timeouts follow it')
    command_timeout: float = knob(
        0.5, 'a command is obeyed this long when none follows [s]', 0.01, 60.0
    )
    tasks: str = knob('', "JSON file with a list of {start, goal} states, '' for random tasks")
    budget: int = knob(0, 'raw steps within which a goal must be reached, 0 for any', 0, 1_000_000)
    auto_next: float = knob(
        0.0, 'an ended task gives way to the next after this long [s], 0 for never', 0.0, 3600.0
    )


@dataclass(frozen=True)
class Config:
    """All sections."""

    robot: Robot = field(default_factory=Robot)
    dataset: Dataset = field(default_factory=Dataset)
    model: Model = field(default_factory=Model)
    train: Train = field(default_factory=Train)
    planner: Planner = field(default_factory=Planner)
    prepare: Prepare = field(default_factory=Prepare)
    arena: Arena = field(default_factory=Arena)
    record: Record = field(default_factory=Record)
    randomise: Randomise = field(default_factory=Randomise)
    evaluate: Evaluate = field(default_factory=Evaluate)
    node: Node = field(default_factory=Node)
    goal: Goal = field(default_factory=Goal)
    sim: Sim = field(default_factory=Sim)


# What replaces the knobs that this version no longer has, by key path. Files and words that set
# one are refused with this text; checkpoints and datasets that hold one are read without it.
REMOVED = {
    'model.sigreg_knots': 'always 17, as in LeWorldModel',
    'train.feed': 'chosen by device and free memory, as auto did',
    'planner.momentum': 'always 0.1',
    'planner.refine_step': 'always 0.3 standard deviations of the data',
    'prepare.nodes': 'always 1000 at most',
    'prepare.seed': 'set train.seed',
    'evaluate.compensate': 'plans always begin with the actions that were sent during the delay',
    'goal.far': 'always twice goal.near, and 4 at least',
}
