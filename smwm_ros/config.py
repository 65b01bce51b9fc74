# SPDX-License-Identifier: Apache-2.0
"""
Every knob on one page, declared once.

YAML files, `key=value` on the command line, ROS parameters and the tables in the docs are all
made from these classes by `load.py`. Units stand in brackets. `live=True` marks the knobs that may
change while a node runs; all others are read-only there. `basic=True` marks those to read first.
`tune` says when to change a knob of the planner, and `was` is a former name.
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
    basic: bool = False,
    tune: str = '',
) -> Any:
    """Declare one knob: its default, its meaning, its valid values, and what load.Knob lists."""
    meta = {'help': help, 'low': low, 'high': high, 'choices': tuple(choices), 'live': live}
    return field(default=default, metadata={**meta, 'was': was, 'basic': basic, 'tune': tune})


# Coordinate frames (REP-103, REP-105) of what an arena measures and shows.
CAMERA_FRAME = 'camera_optical_frame'
STATE_FRAME = 'odom'
BODY_FRAME = 'base_link'

# Packets of H.264 or H.265; a CompressedImage may hold one, too.
VIDEO_TYPES = (
    'foxglove_msgs/msg/CompressedVideo',
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
)
IMAGE_TYPES = ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage', *VIDEO_TYPES)
OWN, CV_BRIDGE = 'own', 'cv_bridge'  # of camera.decoder


@dataclass(frozen=True)
class Camera:
    """Where pixels come from."""

    topic: str = knob(
        'camera/image_raw',
        'camera topic; without a leading slash it is relative to the namespace of the node',
        basic=True,
    )
    type: str = knob(
        IMAGE_TYPES[0], 'message type of the camera topic', choices=IMAGE_TYPES, basic=True
    )
    others: str = knob('', 'further camera topics of the same type, separated by spaces')
    tiles: str = knob(
        'row',
        'how the views of several cameras make one image: side by side (row) or in a square grid',
        choices=('row', 'grid'),
    )
    decoder: str = knob(
        'auto',
        'what converts image messages to pixels, of recordings and of the robot alike: this '
        'package (own, which auto chooses), or the installed cv_bridge (cv_bridge)',
        choices=('auto', OWN, CV_BRIDGE),
    )

    def __post_init__(self) -> None:
        """Refuse a camera topic that is named twice."""
        if len({topic.lstrip('/') for topic in self.topics}) < len(self.topics):
            raise ValueError('others: every camera topic must be named once')

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the topics of all cameras; their views make one image."""
        return (self.topic, *self.others.split())

    @property
    def decoded_by(self) -> str:
        """Return the decoder that `auto` stands for, or the one that was chosen."""
        return CV_BRIDGE if self.decoder == CV_BRIDGE else OWN


@dataclass(frozen=True)
class Command:
    """What the robot receives: any message, as a vector of its numeric fields."""

    topic: str = knob(
        'cmd_vel',
        'command topic; without a leading slash it is relative to the namespace of the node',
        basic=True,
    )
    type: str = knob(
        'geometry_msgs/msg/TwistStamped', 'message type of the command topic', basic=True
    )
    fields: tuple[str, ...] = knob(
        ('twist.linear.x', 'twist.angular.z'),
        'message fields that make up the action vector, in this order',
        basic=True,
    )
    low: tuple[float, ...] = knob(
        (-0.5, -1.0), 'lower limit of each field [its SI unit]', live=True, basic=True
    )
    high: tuple[float, ...] = knob(
        (0.5, 1.0), 'upper limit of each field [its SI unit]', live=True, basic=True
    )
    frame_id: str = knob('base_link', 'frame_id in the header of stamped commands')
    stop: str = knob(
        'zero',
        'command that stops the robot: zero velocity (zero) or the last position (hold)',
        choices=('zero', 'hold'),
        basic=True,
    )

    def __post_init__(self) -> None:
        """Check that fields, low and high fit together."""
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
                raise ValueError(f'low: {low} of {name}, expected less than its high, {high}')


@dataclass(frozen=True)
class State:
    """What the robot measures of itself, stored beside the pixels; empty topic for none."""

    topic: str = knob('', 'topic of the measured state; empty for none', basic=True)
    type: str = knob('nav_msgs/msg/Odometry', 'message type of the state topic', basic=True)
    fields: tuple[str, ...] = knob(
        ('pose.pose.position.x', 'pose.pose.position.y'),
        'message fields that make up the state vector',
        basic=True,
    )

    def __post_init__(self) -> None:
        """Refuse invalid field paths."""
        expand(self.fields)

    @property
    def frame_id(self) -> str:
        """Return the frame of the measured state: that of odometry, or the robot for joints."""
        return BODY_FRAME if self.type == 'sensor_msgs/msg/JointState' else STATE_FRAME


@dataclass(frozen=True)
class Robot:
    """The robot as ROS sees it; copied into the checkpoint, so the node needs nothing else."""

    camera: Camera = field(default_factory=Camera)
    command: Command = field(default_factory=Command)
    state: State = field(default_factory=State)
    dt: float = knob(
        0.1, 'control period, the duration of one raw action [s]', 0.001, 10.0, basic=True
    )


_CLOCKS = ('', 'auto', 'header', 'receive')
_CLOCK = 'clock that orders the messages of {}; empty for that of dataset.time'


@dataclass(frozen=True)
class Dataset:
    """How a bag becomes transitions."""

    image_size: int = knob(
        64, 'side of the square image that frames are resized to [px]', 16, 1024, basic=True
    )
    resize: str = knob(
        'stretch',
        'how a frame that is not square is fitted: distorted (stretch), with bars (letterbox) or '
        'without its ends (crop)',
        choices=('stretch', 'letterbox', 'crop'),
    )
    pixels: str = knob(
        'raw',
        'how frames are stored: exactly (raw), or smaller and with loss (jpeg)',
        choices=('raw', 'jpeg'),
    )
    jpeg_quality: int = knob(95, 'JPEG quality of stored frames, with pixels=jpeg', 1, 100)
    action_block: int = knob(
        5, 'raw actions between the two frames of a transition (K)', 1, 100, basic=True
    )
    action: str = knob(
        'last',
        'raw action of a tick: last, first, mean or sum of the commands received during it; or, '
        'for a recording without commands, the change of the command fields in the measured state '
        'until the next tick (next_state_delta), or unknown (none: commands are not read)',
        choices=('last', 'first', 'mean', 'sum', 'next_state_delta', 'none'),
    )
    time: str = knob(
        'auto',
        'clock that orders the messages: header stamps, receive times, or the one of both that '
        'makes sense (auto)',
        choices=('auto', 'header', 'receive'),
    )
    camera_time: str = knob('', _CLOCK.format('camera'), choices=_CLOCKS)
    command_time: str = knob('', _CLOCK.format('command'), choices=_CLOCKS)
    state_time: str = knob('', _CLOCK.format('state'), choices=_CLOCKS)
    max_frame_age: float = knob(
        0.15,
        'frames further apart than this end an episode; a measured state older than this counts '
        'as unknown [s]',
        0.0,
        60.0,
    )
    command_delay: float = knob(
        0.0,
        'time from the receipt of a command to its effect on the robot [s]',
        -10.0,
        10.0,
        basic=True,
    )
    hold: float = knob(
        0.5, 'time for which a command stays valid when no other follows [s]', 0.0, 60.0
    )
    after_hold: str = knob(
        'drop',
        'ticks without a valid command: left out (drop), kept with a zero command (zero), or kept '
        'with an unknown action (unknown; recordings without commands are then accepted)',
        choices=('drop', 'zero', 'unknown'),
    )
    max_damaged: float = knob(
        0.1,
        'share of the messages of a topic that may be damaged; they are left out, and more of '
        'them are an error',
        0.0,
        1.0,
    )
    episode_topic: str = knob(
        '',
        'topic that marks episodes: a Bool that is true within one, or a String where a new text '
        'begins one and an empty text ends it; empty to use all of a bag',
        basic=True,
    )
    min_length: int = knob(10, 'shortest episode that is kept [ticks]', 2, 1_000_000)
    val_share: float = knob(
        0.1, 'share of the ticks held out: whole episodes, or stretches of long ones', 0.0, 0.9
    )
    seed: int = knob(0, 'seed of the held-out split', 0, 2**31 - 1)


ENGINES = ('pybullet', 'mujoco')
PATCHES, CONVOLUTIONS = 'patches', 'convolutions'  # of model.stem
NEXT, ALL = 'next', 'all'  # of model.inverse_pairs and model.state_frames
# Knobs of the model that only kinds with state_align have.
ALIGNS = ('state_change_weight', 'state_fields', 'velocity_fields', 'state_frames')
BOTTLENECKS = ('noisy', 'sparse', 'vq', 'pvq', 'prefix', 'none', 'zero')


@dataclass(frozen=True)
class LatentAction:
    """Actions learnt from images alone, with model.kind=latent_action."""

    bottleneck: str = knob(
        'noisy',
        'what keeps a latent action from carrying the next frame: noise and a KL loss (noisy), an '
        'L1 loss (sparse), one code book (vq) or one for each group of numbers (pvq), noise and '
        'random truncation (prefix); or, as references, nothing (none) or no information (zero)',
        choices=BOTTLENECKS,
        basic=True,
    )
    width: int = knob(16, 'numbers in a latent action', 1, 1024, basic=True)
    nats: float = knob(
        16.0,
        'information in a latent action, for noisy and prefix: beta follows; 0 for a fixed beta '
        '[nats per transition]',
        0.0,
        1000.0,
        basic=True,
    )
    strength: float = knob(
        1e-3, 'beta of noisy and prefix, or where it starts; weight of the L1 loss of sparse',
        1e-8, 1e3,
    )  # fmt: skip
    codes: int = knob(64, 'codes in a code book, with vq and pvq', 2, 65536)
    groups: int = knob(4, 'groups of numbers, each with a code book, with pvq', 1, 256)
    paper_exact: bool = knob(
        False,
        'sparse with the norm floor of the paper, which leaves no code for a transition without '
        'motion',
    )
    schedule: bool = knob(
        False,
        'let the information of a transition follow its content: the error of the prediction '
        'without latent action',
    )
    anchor: float = knob(
        1.0, 'weight of the error of decoded actions at labelled transitions', 0.0, 1000.0
    )
    encoder: str = knob(
        'patch_pca',
        'encoder of images: principal components of patches (patch_pca), or convolutions that are '
        'trained with the rest, which needs labels (end_to_end); or a frozen one of encoder_file: '
        'the convolutions of an SMWM of preset nano (smwm), or any module as an ONNX file (onnx) '
        'or as a TorchScript file (torch)',
        choices=('patch_pca', 'end_to_end', 'smwm', 'onnx', 'torch'),
    )
    encoder_file: str = knob(
        '',
        'run folder for encoder=smwm, or the file for onnx and torch: a module that maps images '
        '(B, 3, S, S), float from 0 to 1, to a map (B, C, h, h) or to tokens (B, N, C)',
    )
    patch: int = knob(4, 'side of a cell of the map of patch_pca and end_to_end [px]', 1, 64)
    blur: float = knob(
        3.0,
        'standard deviation of the blur of images, with patch_pca: about half of the motion in a '
        'model step [px]',
        0.0,
        64.0,
        basic=True,
    )
    shift: int = knob(
        6, 'largest random shift of both images of a transition in training [px]', 0, 256
    )
    channels: int = knob(8, 'channels of the map of patch_pca and end_to_end', 1, 1024)
    hidden: int = knob(32, 'channels of hidden layers', 4, 1024)


INTENT, STEPS_LEFT = 'intent', 'steps_left'  # of model.actor
KINDS = (
    'smwm', 'forward_only', 'sigreg', 'state_align', 'smwm+sigreg', 'state_align+sigreg',
    'latent_action',
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """The world model: encoder f, forward model g, inverse model h."""

    preset: str = knob(
        'nano',
        'networks: small ones for real time on a CPU (nano), those of the paper (tiny), or those '
        'of its toy demonstrations (toy)',
        choices=('nano', 'tiny', 'toy'),
        basic=True,
    )
    kind: str = knob(
        'smwm',
        'loss beside the forward loss: the inverse loss (smwm), none (forward_only; collapses), '
        'the regulariser of LeWorldModel (sigreg), or the inverse loss and a head that predicts '
        'the measured state (state_align); + joins two; or actions learnt from images alone '
        '(latent_action)',
        choices=KINDS,
        basic=True,
    )
    latent_action: LatentAction = field(default_factory=LatentAction)
    latent: int = knob(32, 'width of the latent z, with preset nano', 1, 4096)
    hidden: int = knob(256, 'width of the hidden layers, with preset nano', 8, 4096)
    stem: str = knob(
        PATCHES,
        'first layers of the encoder, with preset nano: patches of 4 px, which are fastest, or '
        'two overlapping convolutions, which learn more from few recordings and find small '
        'things on textured ground, but train longer',
        choices=(PATCHES, CONVOLUTIONS),
    )
    history: int = knob(
        0,
        'how much of the past the model reads, the current image included; more than 1 shows '
        'velocities: with preset nano images, a raw step apart, whose latents and their changes '
        'make one; with preset tiny latents that the forward model reads, a model step apart; 0 '
        'lets smwm train choose: 3 with preset nano where earlier images help to predict, else 1',
        0,
        64,
    )
    inverse_weight: float = knob(
        10.0,
        'lambda in L = L_fwd + lambda * L_inv; 0 collapses',
        0.0,
        1000.0,
        basic=True,
    )
    inverse_target: float = knob(
        0.0,
        'share of the variance of the actions that the inverse model leaves unexplained; training '
        'adapts lambda to reach it, from inverse_weight on; 0 for a fixed lambda',
        0.0,
        1.0,
    )
    sigreg_weight: float = knob(0.09, 'weight of the loss of sigreg', 0.0, 1000.0)
    sigreg_directions: int = knob(
        1024, 'random directions that sigreg projects latents on', 1, 65536
    )
    picture_weight: float = knob(
        0.0,
        'weight of the error of a head that reads a coarse picture off a latent, so that the '
        'latent keeps how objects lie, which actions seldom tell; 0 for no such head',
        0.0,
        1000.0,
    )
    inverse_pairs: str = knob(
        NEXT,
        'frames of a window (train.unroll) that actions are inferred from: neighbours (next), or '
        'any two (all), of which those further apart infer the actions of the first model step',
        choices=(NEXT, ALL),
    )
    state_weight: float = knob(1.0, 'weight of the state loss of state_align', 0.0, 1000.0)
    state_change_weight: float = knob(
        0.0,
        'weight of the error of a head that reads the change of the measured state from any two '
        'frames of a window (train.unroll), for state_align',
        0.0,
        1000.0,
    )
    state_fields: tuple[str, ...] = knob(
        (), 'fields of robot.state that state_align reads off latents; [] for all'
    )
    velocity_fields: tuple[str, ...] = knob(
        (),
        'fields of robot.state whose velocity state_align reads off two latents, too; it is their '
        'change in the raw step before, in each second',
    )
    state_frames: str = knob(
        NEXT,
        'frames of a window whose state state_align reads: those with a frame before them (next), '
        'or all, where the first is read from itself alone and shows no velocities (all)',
        choices=(NEXT, ALL),
    )
    readout: str = knob(
        'relu',
        'layers that read two latents, of the inverse model and of state_align: two hidden ones '
        'with ReLU (relu), or one with layer normalisation and GELU (layernorm)',
        choices=('relu', 'layernorm'),
    )
    actor: str = knob(
        'none',
        'policy that is trained with the model, on goals ahead in the same drive, for '
        'planner.kind=direct and guarded: none; from latent and difference to the goal (intent); '
        'or also from the raw steps left until the goal (steps_left)',
        choices=('none', INTENT, STEPS_LEFT),
    )
    actor_weight: float = knob(
        0.05, 'weight of the loss of the actor for goals ahead in the drive', 0.0, 1000.0
    )
    actor_local_weight: float = knob(
        0.1,
        'weight of the loss of the actor for the next frame as the goal, with actor=intent',
        0.0,
        1000.0,
    )
    actor_reach: int = knob(
        50, 'goals of the actor are up to this far ahead in training [raw steps]', 1, 10_000
    )
    heads: int = knob(
        0,
        'small forward models trained beside g, without effect on the latent; their disagreement '
        'measures the uncertainty of the model (planner.doubt_weight)',
        0,
        100,
    )

    def __post_init__(self) -> None:
        """Refuse invalid field paths."""
        for name in ('state_fields', 'velocity_fields'):
            try:
                expand(getattr(self, name))
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from None

    @property
    def stack(self) -> int:
        """Return H, the number of images that make one observation."""
        return max(self.history, 1) if self.preset == 'nano' else 1

    @property
    def context(self) -> int:
        """Return the number of latents that the forward model reads."""
        return max(self.history, 1) if self.preset == 'tiny' else 1

    @property
    def acts(self) -> bool:
        """Return whether an actor is trained with the model."""
        return self.actor != 'none'

    @property
    def reach(self) -> int:
        """Return how far ahead of a window its goal may be [raw steps]; 0 without an actor."""
        return self.actor_reach if self.acts else 0

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


SUCCESS, FAILURE = 'success', 'failure'  # outcomes of an episode, in bags and datasets
EVERY, NOT_FAILED, SUCCEEDED = OUTCOMES = ('all', 'not_failed', 'succeeded')


@dataclass(frozen=True)
class Train:
    """One training run."""

    steps: int = knob(3000, 'optimiser steps', 1, 10_000_000, basic=True)
    batch: int = knob(128, 'windows in a batch', 2, 65536, basic=True)
    unroll: int = knob(
        1,
        'model steps in a window: g is trained on its own predictions up to this many steps from '
        'the first frame; 1 for single transitions',
        1,
        100,
        basic=True,
    )
    outcomes: str = knob(
        EVERY,
        'episodes that are trained on, by the outcome that was recorded with them (smwm record): '
        'all, those that did not fail, also without an outcome (not_failed), or those that '
        'succeeded',
        choices=OUTCOMES,
    )
    lr: float = knob(3e-3, 'peak learning rate', 1e-7, 1.0)
    from_lr: float = knob(0.3, 'peak learning rate with --from, as a share of lr', 1e-4, 1.0)
    old_share: float = knob(
        0.5, 'share of a batch that comes from the old datasets, with --from', 0.0, 0.99
    )
    weight_decay: float = knob(1e-4, 'weight decay of AdamW', 0.0, 1.0)
    warmup: float = knob(
        0.05, 'share of the steps in which the learning rate rises to its peak', 0.0, 0.9
    )
    clip: float = knob(1.0, 'largest norm of the gradient', 1e-3, 1e6)
    device: str = knob('auto', 'device that trains', choices=('auto', 'cpu', 'cuda'), basic=True)
    threads: int = knob(
        0,
        'CPU threads; 0 takes all where the processors are idle, else the number that is fastest '
        'in the first steps, measured again when steps become much slower',
        0,
        1024,
    )
    precision: str = knob(
        'auto',
        'number format of the arithmetic; auto takes bf16 on a GPU and fp32 on a CPU, where bf16 '
        'is slower',
        choices=('auto', 'fp32', 'bf16'),
    )
    compile: bool = knob(
        False, 'compile the losses with torch.compile; docs/results.md has the gain'
    )
    warp: float = knob(
        1.0,
        'how much a third of the windows are turned, zoomed, moved and tilted at random, all '
        'images of a window alike, so that the model tolerates a camera that moved; all windows '
        'are shifted if the dataset is so small that it is seen more than 40 times; 0 for nothing '
        '(latent-action models have latent_action.shift instead)',
        0.0,
        3.0,
    )
    colour_jitter: float = knob(
        1.0,
        'how much contrast, brightness, colours, illumination and noise change at random in a '
        'third of the windows, in each image differently, so that the model tolerates another '
        'camera, light or renderer; 0 for nothing (not in latent-action models)',
        0.0,
        3.0,
    )
    forward_steps: int = knob(
        0,
        'optimiser steps after these in which the forward model alone learns on, on latents that '
        'are computed once, so that it predicts whole plans better; only for preset nano',
        0,
        10_000_000,
    )
    forward_unroll: int = knob(
        7, 'model steps in a window of train.forward_steps; the horizon of plans, or more', 1, 100
    )
    seed: int = knob(0, 'seed of weights and batches', 0, 2**31 - 1, basic=True)
    eval_every: int = knob(
        100, 'optimiser steps between two evaluations on held-out episodes', 1, 1_000_000
    )


SEARCHES = ('cem', 'icem', 'mppi', 'sampling')
DIRECT, GUARDED = ACTING = ('direct', 'guarded')  # planners that need model.actor


@dataclass(frozen=True)
class Planner:
    """Model-predictive control in latent space."""

    kind: str = knob(
        'cem',
        'how actions are found: samples around the mean of the best (cem); the same with smooth '
        'samples, of which the best are kept (icem); around their mean weighted by cost (mppi); '
        'around the best one (sampling); by the actor of the model (model.actor), without search '
        '(direct), or by cem around what it does (guarded); proposed by a policy, without search '
        '(amortised); or by way of subgoals (roadmap). The last two need smwm prepare',
        choices=(*SEARCHES, *ACTING, 'amortised', 'roadmap'),
        basic=True,
        tune='begin with cem; icem for fewer than 100 samples; roadmap when walls stop the robot',
    )
    subplanner: str = knob(
        'cem',
        'kind that plans from subgoal to subgoal, with kind=roadmap',
        choices=(*SEARCHES, *ACTING, 'amortised'),
        was='legs',
        tune='amortised when a search takes too long',
    )
    space: str = knob(
        'actions',
        'what is searched: actions, which the controller of a latent-action model turns into '
        'latent actions; or latent actions, drawn from a Gaussian fitted to those of the dataset '
        '(gaussian) or from a flow that also reads the state (flow). The last two need '
        'model.kind=latent_action',
        choices=('actions', 'gaussian', 'flow'),
        tune='flow or gaussian when few moments are labelled, so that the controller is poor',
    )
    proposals: bool = knob(
        False,
        'the first samples of a search include proposals of the policy of smwm prepare',
        tune='true when samples are few, or random samples seldom touch the object',
    )
    retrieval: bool = knob(
        False,
        'the first samples of a search include what was done on the most similar stretches of '
        'recorded drives, which smwm prepare stores; nothing is trained',
        tune='true when a policy would propose too little, because drives are few or varied',
    )
    horizon: int = knob(
        5,
        'length of a plan [model steps]',
        1,
        100,
        live=True,
        basic=True,
        tune='raise when the way to the goal first leads away from it; costs time linearly, and '
        'predictions grow worse with each step',
    )
    samples: int = knob(
        128,
        'action sequences in an iteration',
        2,
        100_000,
        live=True,
        basic=True,
        tune='raise when plans for the same image differ; costs time linearly',
    )
    iterations: int = knob(
        4,
        'iterations of a search',
        1,
        1000,
        live=True,
        basic=True,
        tune='raise when more of them still lower the cost of plans; costs time linearly',
    )
    elites: int = knob(
        16,
        'best sequences of an iteration, from which the next one is drawn',
        1,
        100_000,
        live=True,
        tune='about a tenth of samples; fewer converge sooner, and to worse plans',
    )
    cost: str = knob(
        'sum',
        'latent distance to the goal: squared and summed over all steps (sum), squared after the '
        'last step (last) or at the nearest one (min), or at the nearest one plus time_weight '
        'times that of all steps (nearest); or the time to the goal, learnt from drives by smwm '
        'prepare and summed over all steps (time)',
        choices=('sum', 'last', 'min', 'nearest', 'time'),
        basic=True,
        tune='time when walls or wheels make near goals far; nearest when the way leads round '
        'something; sum for straight ways',
    )
    time_weight: float = knob(
        0.1,
        'weight of the distances of all steps, with cost=nearest',
        0.0,
        10.0,
        live=True,
        was='hurry',
        tune='lower when the robot takes no detours, raise when it dawdles',
    )
    focus: tuple[str, ...] = knob(
        (),
        'fields of robot.state that matter most, such as position[name=cube_x,cube_y]: they are '
        'read off the latents (model.kind state_align) and compared with those of the goal, '
        'beside the latent distance; [] for none',
        tune='name the object when plans move the robot to the goal and forget the object',
    )
    focus_weight: float = knob(
        1.0,
        'weight of the squared difference from the goal in the fields of focus [squared standard '
        'deviations of the data]',
        0.0,
        1e6,
        live=True,
        tune='raise when the object still stays behind',
    )
    effort_weight: float = knob(
        0.0,
        'weight of the mean squared raw action, where 1 is half the range of a field',
        0.0,
        1e6,
        live=True,
        tune='raise when commands are larger than needed',
    )
    change_weight: float = knob(
        0.0,
        'weight of the mean squared change between raw actions, where 1 is half the range',
        0.0,
        1e6,
        live=True,
        tune='raise when commands jitter',
    )
    doubt_weight: float = knob(
        0.0,
        'weight of the disagreement of the heads of the model (model.heads)',
        0.0,
        1e6,
        live=True,
        tune='raise when plans lead where the dataset has nothing',
    )
    novel_weight: float = knob(
        0.0,
        'weight of predicted latents that are farther from all recorded ones than the frames of '
        'other drives; needs the drives that smwm prepare stores',
        0.0,
        1e6,
        tune='1 with cost=time when the robot pushes against walls or door frames',
    )
    keep_out: str = knob(
        '',
        'folder with images of places to avoid; empty for none',
        tune='set when the robot must stay away from places that its camera can recognise',
    )
    keep_out_weight: float = knob(
        5.0,
        'cost of a step at a place to avoid',
        0.0,
        1e6,
        live=True,
        tune='raise when plans cross such a place',
    )
    keep_out_radius: float = knob(
        0.5,
        'latent distance from a place to avoid at which 0.6 of keep_out_weight is charged',
        1e-3,
        1e3,
        live=True,
        tune='lower when the robot does not pass such a place',
    )
    init_std: float = knob(
        1.0,
        'standard deviation of the first samples [standard deviations of the data]',
        0.01,
        10.0,
        live=True,
        tune='lower when plans are noisy, raise when they are small',
    )
    guard_std: float = knob(
        0.25,
        'standard deviation of the first samples of guarded, around what the actor does '
        '[standard deviations of the data]',
        0.01,
        10.0,
        live=True,
        tune='raise when the actor fails and the search should correct more of it',
    )
    smooth: float = knob(
        0.0,
        'share of the variance of the samples that is common to all raw actions of a model step',
        0.0,
        1.0,
        live=True,
        tune='raise when raw actions within a model step cancel out',
    )
    min_std: float = knob(
        0.05,
        'smallest standard deviation of the samples [standard deviations of the data]',
        0.0,
        10.0,
        live=True,
        tune='raise when the robot gets stuck, lower when it trembles at the goal',
    )
    noise_beta: float = knob(
        2.0,
        'exponent of the coloured noise of icem, whose power falls as 1/f^beta; 0 is white noise',
        0.0,
        10.0,
        live=True,
        was='colour',
        tune='raise when commands jitter, lower when the robot must react fast',
    )
    elite_keep: float = knob(
        0.3,
        'share of the elites of icem that the next iteration tries again',
        0.0,
        1.0,
        live=True,
        was='kept',
        tune='raise when samples are few',
    )
    temperature: float = knob(
        0.5,
        'excess cost at which mppi weights an elite by 1/e [mean excess of the elites]',
        0.001,
        1000.0,
        live=True,
        tune='lower to follow the best samples, raise to average over more of them',
    )
    max_rate: tuple[float, ...] = knob(
        (),
        'largest change of each command field within plans [its SI unit/s]: one number for all '
        'fields, one for each, or [] for no limit',
        tune='as node.max_rate, so that plans are sent unchanged',
    )
    refine: int = knob(
        0,
        'gradient steps of each elite',
        0,
        1000,
        live=True,
        tune='try 2 with samples=32; a gradient step takes about as long as three samples',
    )
    budget_ms: float = knob(
        0.0,
        'a search begins no iteration that would end later than this; 0 for no limit [ms]',
        0.0,
        60_000.0,
        live=True,
        basic=True,
        tune='set when other programs use the processor and plans come late',
    )
    precision: str = knob(
        'fp32',
        'number format of matrix products in rollouts; with bf16 the ranking of plans is nearly '
        'the same',
        choices=('fp32', 'bf16'),
        tune='bf16 on a GPU, or on a CPU with bf16 instructions, when plans take too long',
    )
    device: str = knob(
        'auto',
        'device that plans; auto takes a CUDA GPU for models of preset tiny, if there is one',
        choices=('auto', 'cpu', 'cuda'),
        tune='cpu when the GPU is needed for something else',
    )
    warm_start: bool = knob(
        True,
        'a search begins from the last plan, shifted by the time that has passed',
        tune='false to plan as the paper does; then use more iterations',
    )
    seed: int = knob(0, 'seed of the samples', 0, 2**31 - 1, tune='any number')

    @property
    def inner_kind(self) -> str:
        """Return the kind that plans actions: with kind=roadmap that of the subplanner."""
        return self.subplanner if self.kind == 'roadmap' else self.kind

    def __post_init__(self) -> None:
        """Check that a search is possible."""
        if self.horizon < 1:
            raise ValueError(f'horizon: {self.horizon} model steps; a plan has at least 1')
        if self.elites > self.samples:
            raise ValueError(f'elites: {self.elites} is more than the {self.samples} samples')


@dataclass(frozen=True)
class Prepare:
    """Roadmap, policy and time to go, made from the drives of a dataset."""

    steps: int = knob(
        3000,
        'optimiser steps of the policy, and of the time to go; their seed is train.seed',
        1,
        10_000_000,
        basic=True,
    )


FIELD_GAINS = (0.1, 3.0)  # smallest and largest of arena.field_gain


@dataclass(frozen=True)
class Arena:
    """A simulated world, and what is collected in it."""

    name: str = knob('two_room', 'name of the arena', basic=True)
    engine: str = knob(
        'pybullet',
        'what simulates and renders it; a model that was trained in one engine can be tested in '
        'the other, which looks and moves a little differently (mujoco needs the extra mujoco, '
        'and EGL or OSMesa)',
        choices=ENGINES,
    )
    image_size: int = knob(64, 'side of the square camera image [px]', 16, 1024)
    episodes: int = knob(180, 'episodes to collect', 1, 10_000_000, basic=True)
    length: int = knob(100, 'raw steps in an episode', 2, 100_000)
    policy: str = knob(
        'mixed',
        'policy that drives: the expert with a little noise (expert), the same with short spells '
        'of random actions (restless), random actions (random), or expert and random in turns '
        '(mixed)',
        choices=('expert', 'restless', 'random', 'mixed'),
        basic=True,
    )
    seed: int = knob(0, 'seed of everything random in the arena', 0, 2**31 - 1)
    distractors: int = knob(0, 'balls that roll about by themselves and touch nothing', 0, 100)
    field_delay: tuple[int, ...] = knob(
        (),
        'delay from a command to its effect, for each field of the command; smwm check --write '
        'measures it on a robot; [] for none [raw steps]',
        0,
        50,
    )
    field_gain: tuple[float, ...] = knob(
        (),
        'motion over that commanded, for each field of the command, likewise; [] for 1 [factor]',
        *FIELD_GAINS,
    )
    lag: float = knob(
        0.0,
        'inertia: time constant with which velocities follow commands, added to that of '
        'randomise.lag [s]',
        0.0,
        10.0,
    )
    acceleration: tuple[float, ...] = knob(
        (),
        'inertia: largest acceleration of all fields of the command (one number), or of each; [] '
        'for no limit [SI unit of the field per second]',
        0.001,
        1e6,
    )


@dataclass(frozen=True)
class Record:
    """
    How an arena is recorded: by default like a robot whose clocks and messages are perfect.

    Everything else is drawn by the seed of the arena; what really happened is then written into
    each bag, as JSON on the String topic /recording/truth.
    """

    storage: str = knob('mcap', 'storage format of the bags', choices=('mcap', 'sqlite3'))
    commands: bool = knob(
        True, 'record the command topic; false for recordings of the camera only'
    )
    camera_rate: float = knob(
        0.0, 'rate of the frames; 0 for one in each control period [Hz]', 0.0, 1000.0
    )
    command_rate: float = knob(
        0.0, 'rate of the commands; 0 for one in each control period [Hz]', 0.0, 1000.0
    )
    state_rate: float = knob(
        0.0, 'rate of the measured states; 0 for one in each control period [Hz]', 0.0, 1000.0
    )
    camera_jitter: float = knob(0.0, 'a frame is taken up to this early or late [s]', 0.0, 1.0)
    command_jitter: float = knob(0.0, 'a command is sent up to this early or late [s]', 0.0, 1.0)
    camera_latency: float = knob(
        0.0, 'time from the exposure of a frame to its receipt [s]', 0.0, 2.0
    )
    command_phase: float = knob(
        0.001, 'time from the start of a control period to the effect of its command [s]', 0.0, 1.0
    )
    command_latency: float = knob(
        0.0, 'time from the sending of a command to its effect [s]', 0.0, 2.0
    )
    camera_stamp: str = knob(
        'taken',
        'header stamp of frames: the time of exposure (taken) or receipt (received), or zero',
        choices=('taken', 'received', 'zero'),
    )
    command_stamp: str = knob(
        'sent',
        'header stamp of commands: the time of sending, or zero',
        choices=('sent', 'zero'),
    )
    camera_offset: float = knob(0.0, 'lead of the clock that stamps frames [s]', -1e9, 1e9)
    camera_drift: float = knob(
        0.0, 'growth of camera_offset in each second of the recording [s]', -0.01, 0.01
    )
    camera_loss: float = knob(0.0, 'share of the frames that is not recorded', 0.0, 0.95)
    command_loss: float = knob(0.0, 'share of the commands that is not recorded', 0.0, 0.95)
    repeated: float = knob(0.0, 'share of all messages that is recorded twice', 0.0, 0.95)
    overtaken: float = knob(
        0.0, 'share of all messages that is received just after the next of its topic', 0.0, 0.95
    )
    pauses: int = knob(0, 'pauses of the recorder in an episode', 0, 100)
    pause: float = knob(2.0, 'duration of each pause [s]', 0.0, 3600.0)


@dataclass(frozen=True)
class Randomise:
    """What differs from episode to episode in an arena: ranges, [low, high], to draw from."""

    usual: bool = knob(False, 'the usual range for each knob that is not set', basic=True)
    room: bool = knob(
        False,
        'the looks of a real room for each knob that is not set: a floor, clutter, uneven light '
        'and a tilted camera',
    )
    once: bool = knob(
        False,
        'draw once, by arena.seed: a robot with looks of its own, rather than another one in each '
        'episode',
    )
    light: tuple[float, ...] = knob((1.0, 1.0), 'strength of the light [factor]', 0.1, 4.0)
    light_turn: tuple[float, ...] = knob(
        (0.0, 0.0), 'rotation of the light about the vertical [deg]', -180.0, 180.0
    )
    light_tilt: tuple[float, ...] = knob(
        (0.0, 0.0), 'tilt of the light towards the horizon [deg]', -60.0, 60.0
    )
    shadow: tuple[float, ...] = knob(
        (0.0, 0.0),
        'share of the light that is missing in shadows; mujoco always casts full ones',
        0.0,
        1.0,
    )
    colour: tuple[float, ...] = knob(
        (0.0, 0.0), 'change of red, green and blue of each colour, which are 0 to 1', -1.0, 1.0
    )
    texture: tuple[float, ...] = knob(
        (0.0, 0.0), 'contrast of a pattern on everything that does not move', 0.0, 1.0
    )
    floor: tuple[float, ...] = knob(
        (0.0, 0.0),
        'contrast of a drawn floor of wood, tiles, carpet, concrete, terrazzo or linoleum; 0 for '
        'the plain floor of the arena',
        0.0,
        1.0,
    )
    photos: str = knob('', 'folder of photographs to take floors from, rather than drawn ones')
    clutter: tuple[int, ...] = knob(
        (0, 0), 'number of things that lie around, outside the area of the task', 0, 12
    )
    vignette: tuple[float, ...] = knob(
        (0.0, 0.0), 'share of the brightness that is missing in the corners of the image', 0.0, 1.0
    )
    uneven: tuple[float, ...] = knob(
        (0.0, 0.0), 'contrast of light and dark regions in the image', 0.0, 1.0
    )
    camera_eye: tuple[float, ...] = knob(
        (0.0, 0.0), 'shift of the camera along x, y and z [share of its distance]', -0.5, 0.5
    )
    camera_target: tuple[float, ...] = knob(
        (0.0, 0.0),
        'shift of the point in the middle of the image [share of the distance of the camera]',
        -0.5,
        0.5,
    )
    camera_roll: tuple[float, ...] = knob(
        (0.0, 0.0), 'rotation of the camera about its optical axis [deg]', -180.0, 180.0
    )
    camera_tilt: tuple[float, ...] = knob(
        (0.0, 0.0),
        'angles by which the camera swings about the middle of the image, forwards and sideways '
        '[deg]',
        -45.0,
        45.0,
    )
    fov: tuple[float, ...] = knob((1.0, 1.0), 'field of view [factor]', 0.5, 2.0)
    noise: tuple[float, ...] = knob(
        (0.0, 0.0),
        'standard deviation of the noise on pixel values, which are 0 to 255',
        0.0,
        128.0,
    )
    friction: tuple[float, ...] = knob(
        (1.0, 1.0), 'friction of everything that moves [factor]', 0.0, 10.0
    )
    mass: tuple[float, ...] = knob((1.0, 1.0), 'mass of everything that moves [factor]', 0.1, 10.0)
    gain: tuple[float, ...] = knob(
        (1.0, 1.0), 'velocity of the motors over that commanded [factor]', 0.1, 3.0
    )
    latency: tuple[int, ...] = knob(
        (0, 0), 'delay from an action to its effect [raw steps]', 0, 50
    )
    lag: tuple[float, ...] = knob(
        (0.0, 0.0), 'time constant with which velocities follow commands: inertia [s]', 0.0, 10.0
    )
    frame_drop: tuple[float, ...] = knob(
        (0.0, 0.0), 'share of the frames that show the frame before', 0.0, 0.95
    )

    def __post_init__(self) -> None:
        """Check that every range is [low, high]."""
        for name, value in vars(self).items():
            if isinstance(value, tuple) and not (len(value) == 2 and value[0] <= value[1]):
                raise ValueError(f'{name}: expected [low, high], found {list(value)}')


@dataclass(frozen=True)
class Evaluate:
    """The protocol of closed-loop evaluation."""

    pairs: int = knob(100, 'pairs of start and goal', 1, 100_000, basic=True)
    offset: int = knob(
        25, 'raw steps between start and goal in the recorded episode', 1, 100_000, basic=True
    )
    budget: int = knob(
        50, 'raw steps within which the goal must be reached', 1, 100_000, basic=True
    )
    execute: int = knob(
        1, 'raw steps executed of a plan before the next plan', 1, 100_000, basic=True
    )
    delay: int = knob(0, 'raw steps from an image to the first action planned from it', 0, 1000)
    repeats: int = knob(5, 'attempts of the random policy at each pair', 1, 1000)
    strict_share: float = knob(
        0.5,
        "with --strict: share of the arena's tolerance within which each axis must be by itself",
        0.01,
        1.0,
    )
    lanes: int = knob(8, 'pairs tried in parallel; the result does not depend on it', 1, 1000)
    seed: int = knob(0, 'seed of the pairs', 0, 2**31 - 1)


@dataclass(frozen=True)
class Node:
    """The plan node at run time."""

    autostart: bool = knob(
        True,
        'configure and activate at start; the process ends when that fails',
    )
    engage: bool = knob(
        True, 'move as soon as there is a goal; false waits for ~/engage', basic=True
    )
    dry_run: bool = knob(False, 'plan and report, but publish no command', basic=True)
    unfit: str = knob(
        'refuse',
        'whether a model that training found unfit for planning is refused, or accepted with a '
        'warning',
        choices=('refuse', 'accept'),
    )
    shadow: bool = knob(
        False,
        'publish on ~/shadow/command only, and compare with the commands of another controller',
    )
    calibrate: bool = knob(
        False,
        'fit the encoder to the camera, as smwm adapt does, from images that come while the node '
        'does not command the robot: drive it by hand before ~/engage',
    )
    keep_stop: bool = knob(
        False, 'a stop persists: a node restarted under the same name stays stopped until engaged'
    )
    image_timeout: float = knob(
        0.5,
        'age of an image that stops the robot, also of the image that the current plan was made '
        'from [s]',
        0.01,
        60.0,
        live=True,
        basic=True,
    )
    stamp_timeout: float = knob(
        0.0,
        'largest difference between the stamp of an image and now; an image beyond it is '
        'discarded; 0 ignores stamps [s]',
        0.0,
        60.0,
        live=True,
    )
    frozen_timeout: float = knob(
        2.0,
        'time of identical images that stops a moving robot; 0 for never [s]',
        0.0,
        60.0,
        live=True,
    )
    novel_limit: float = knob(
        2.0,
        'images that differ from those of the training by this many times what 1 % of held-out '
        'frames exceed slow the robot down, then stop it; 0 only warns',
        0.0,
        1000.0,
        live=True,
    )
    progress_limit: float = knob(
        0.3,
        'least share of the predicted motion of the last second, and of the usual motion of the '
        'same commands, that latents must show; below it the robot slows down, then stops; 0 for '
        'never',
        0.0,
        1.0,
        live=True,
    )
    slow_speed: float = knob(
        0.5, 'factor on commands while the robot is slowed down', 0.05, 1.0, live=True
    )
    slow_time: float = knob(
        0.5,
        'time for which the robot is slowed down before it is stopped [s]',
        0.0,
        60.0,
        live=True,
    )
    compensate: bool = knob(
        True,
        'plans begin with the commands sent since their image was taken; false plans as if the '
        'image were of now',
        live=True,
    )
    camera_delay: float = knob(
        -1.0,
        'age of an image on arrival, shorter than a plan; below 0 it is taken from the stamp, '
        'unless that is older than node.image_timeout or in the future [s]',
        -10.0,
        10.0,
        live=True,
    )
    actuation_delay: float = knob(
        -1.0,
        'time from the sending of a command to its effect; below 0 for dataset.command_delay of '
        'the checkpoint [s]',
        -10.0,
        10.0,
        live=True,
    )
    coast: int = knob(
        3,
        'control periods for which the last plan may continue when the next one is late',
        0,
        100,
        live=True,
    )
    stop_duration: float = knob(
        1.0, 'time for which the stop command is repeated after a stop [s]', 0.0, 60.0, live=True
    )
    max_rate: tuple[float, ...] = knob(
        (),
        'largest change of each command field, stops included [its SI unit/s]: one number for all '
        'fields, one for each, or [] for no limit',
        live=True,
        basic=True,
    )
    max_jerk: tuple[float, ...] = knob(
        (),
        'largest change of the rate of each command field [its SI unit/s^2]: one number for all '
        'fields, one for each, or [] for no limit',
        live=True,
    )
    exclusive: bool = knob(
        True, 'stop while another node publishes on the command topic', live=True
    )
    camera_reliability: str = knob(
        'best_effort',
        'QoS reliability of the camera subscription; best_effort receives from every publisher, '
        'reliable from reliable ones only',
        choices=('best_effort', 'reliable'),
    )
    threads: int = knob(1, 'CPU threads of the planner', 1, 64)


GOAL_NAME = re.compile(r'[A-Za-z0-9][\w-]{0,63}')


@dataclass(frozen=True)
class Goal:
    """When the plan node reports a goal as reached, and where named goals are stored."""

    near: float = knob(
        2.0,
        'a goal is reached within the latent distance that training measured between frames this '
        'far apart; 0 for never [control periods]',
        0.0,
        25.0,
        live=True,
        basic=True,
    )
    near_time: float = knob(
        0.0,
        'a goal is reached within this predicted time to it instead, if the run has a time to go '
        'that passed its test (smwm prepare); 0 for goal.near [s]',
        0.0,
        60.0,
        live=True,
    )
    settle: int = knob(
        3, 'images within goal.near or goal.near_time before a goal is reached', 1, 1000, live=True
    )
    stay: bool = knob(
        False,
        'drive back when the robot leaves a goal that it reached; false waits for the next goal',
        basic=True,
    )
    folder: str = knob(
        '',
        'folder of named goals; empty for goals/ beside the checkpoint, or a folder in '
        '~/.local/state/smwm_ros for the checkpoint of the package',
    )
    save_as: str = knob(
        '',
        'name under which the next view or route is stored: letters, digits, _ and -; empty for '
        'numbered names',
        live=True,
    )
    spacing: float = knob(
        6.0,
        'subgoals of a recorded route have the latent distance of frames this far apart [control '
        'periods]',
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
    """The arena node: an arena with the topics of a robot."""

    real_time_factor: float = knob(1.0, 'simulated seconds in a second', 0.01, 100.0, basic=True)
    clock: bool = knob(False, 'publish simulated time on /clock; stamps and timeouts then use it')
    command_timeout: float = knob(
        0.5, 'time for which a command acts when no other follows [s]', 0.01, 60.0
    )
    tasks: str = knob('', 'JSON file with a list of {start, goal} states; empty for random tasks')
    budget: int = knob(
        0, 'raw steps within which a goal must be reached; 0 for no limit', 0, 1_000_000
    )
    auto_next: float = knob(
        0.0, 'time from the end of a task to the next one; 0 for never [s]', 0.0, 3600.0
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


# What to do about knobs that this version no longer has, by section. A file, a word or a parameter
# that sets one is refused with this text; checkpoints and datasets that hold one are read without.
REMOVED: dict[type, dict[str, str]] = {
    Model: {'sigreg_knots': 'delete the key; the value is always 17, as in LeWorldModel'},
    Train: {
        'feed': 'delete the key; the feed follows from the device and its free memory',
        'shift': 'set train.warp instead, a strength',
        'brightness': 'set train.colour_jitter instead, a strength',
    },
    Planner: {
        'momentum': 'delete the key; the value is always 0.1',
        'refine_step': 'delete the key; the value is always 0.3',
    },
    Prepare: {
        'nodes': 'delete the key; a roadmap has at most 1000 nodes',
        'seed': 'set train.seed instead',
    },
    Evaluate: {
        'compensate': 'delete the key; plans always begin with the actions already sent',
    },
    Goal: {'far': 'delete the key; the distance is twice goal.near, and at least 4 periods'},
}
