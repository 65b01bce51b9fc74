# SPDX-License-Identifier: Apache-2.0
"""
The nouns. Read this first: everything else in the package makes, turns or consumes them.

Small frozen tuples pass between the steps, and Protocols say what each part promises. Shapes use
B batch, C channels, H height, W width, P state fields, D latent width, A action fields,
K raw actions in a block, T model steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # arenas and bags speak these nouns too, and torch takes seconds to import
    from torch import Tensor

Array: TypeAlias = NDArray[Any]


class Frame(NamedTuple):
    """One instant of a robot or an arena, as numpy sees it."""

    pixels: Array  # (H, W, 3) uint8 RGB; (H, W, 4) of a goal whose alpha channel is a mask
    state: Array  # (P,) float32 measured state; P may be 0


class Obs(NamedTuple):
    """Images and measured states of one instant, as a training batch has them."""

    pixels: Tensor  # (B, 3*H, S, S) uint8, of H images, the oldest first
    state: Tensor  # (B, P) float32; P may be 0


class GoalAhead(NamedTuple):
    """A goal for each window of a batch: a later frame of the same drive, at rest."""

    pixels: Tensor  # (B, 3*H, S, S) uint8
    left: Tensor  # (T, B, K) float32: raw steps from each raw action to the goal; below 1 after it


class Window(NamedTuple):
    """One training batch: o_0, a_0, o_1, ... a_T-1, o_T, where T = 1 is a transition."""

    obs: (
        Obs  # pixels (T+1, B, 3*H, S, S), state (T+1, B, P): time first, so that a frame is a view
    )
    action: Tensor  # (T, B, K*A) normalised: the K raw actions between two frames, in order
    # (T, B) float32: the lowest confidence of the K raw actions; None where all are 1. Where it is
    # 0, an action is unknown and NaN.
    weight: Tensor | None = None
    goal: GoalAhead | None = None  # for models with an actor


class ActionSpec(NamedTuple):
    """What an action vector means, known before the first step."""

    fields: tuple[str, ...]  # one message field per action number: 'twist.linear.x'
    low: tuple[float, ...]  # smallest value of each [SI]
    high: tuple[float, ...]  # largest value of each [SI]
    dt: float  # how long one raw action lasts [s]

    @property
    def size(self) -> int:
        """Return A, the number of action fields."""
        return len(self.fields)

    def clip(self, action: Array) -> Array:
        """Return the action moved inside its limits."""
        clipped: Array = np.minimum(np.maximum(action, self.low), self.high)  # faster than clip
        return clipped


class ActionScaler(NamedTuple):
    """Mean and standard deviation that raw actions are normalised with."""

    mean: Array  # (A,) float64 of the raw actions, physical
    std: Array  # (A,) above 0

    def normalise(self, action: Array) -> Array:
        """Return physical raw actions (..., A) with mean 0 and standard deviation 1."""
        normalised: Array = (action - self.mean) / self.std
        return normalised

    def restore(self, normalised: Array) -> Array:
        """Return normalised raw actions (..., A) in physical units, float64."""
        action: Array = normalised.astype(np.float64) * self.std + self.mean
        return action


class Plan(NamedTuple):
    """What a planner returns."""

    actions: Tensor  # (T, K*A) normalised, best first to be executed in order
    cost: float  # of the returned actions
    spread: float  # mean standard deviation of the samples at the end, 0 when certain


class Plans(NamedTuple):
    """What a planner returns for B problems."""

    actions: Tensor  # (B, T, K*A) normalised
    cost: Tensor  # (B,) of the returned actions; not finite where nothing could be scored
    spread: Tensor  # (B,)
    shares: Mapping[str, Tensor] = MappingProxyType({})  # of each term in the cost, (B,)
    # How far the goals are along a roadmap (B,) [model steps]; inf where no way is known, and the
    # plan goes straight.
    to_go: Tensor | None = None


class WorldModel(Protocol):
    """Encoder f, forward model g and inverse model h of the paper."""

    @property
    def latent(self) -> int:
        """Return D, the width of a latent."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """f: uint8 (B, C, H, W) -> (B, D)."""
        ...

    def predict(self, z: Tensor, action: Tensor) -> Tensor:
        """g: (B, D), (B, K*A) -> (B, D)."""
        ...

    def rollout(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict T steps, each from those before: (..., D), (..., T, K*A) -> (..., T, D)."""
        ...

    def infer(self, z: Tensor, z_next: Tensor) -> Tensor:
        """h: (B, D), (B, D) -> (B, K*A)."""
        ...

    def losses(self, batch: Window) -> dict[str, Tensor]:
        """Return named, weighted terms; training minimises their sum."""
        ...


class Planner(Protocol):
    """Latents and latent goals in, plans out; what it remembers is the plan before."""

    def plan_many(
        self, z: Tensor, goal: Tensor, past: Tensor | None = None, metric: Tensor | None = None
    ) -> Plans:
        """
        Return actions that lead from z (B, D) to goal (B, D), each problem as if alone.

        Every plan begins with the normalised raw actions `past` (B, n, A): they were sent already.
        The distance from a goal is |(z - goal) @ metric| with `metric` (B, D, D).
        """
        ...

    def shift(self, raw_steps: int) -> None:
        """Move the last plans on by the raw actions that were executed since."""
        ...

    def keep(self, problems: Sequence[int]) -> None:
        """Go on with some of the problems of the last plans, in this order."""
        ...

    def reset(self) -> None:
        """Forget the last plans, and begin the noise anew."""
        ...

    def cancel(self) -> None:
        """End the search that runs, or the next one before reset(); from any thread."""
        ...


class ActionCodec(Protocol):
    """ROS message <-> physical action vector."""

    spec: ActionSpec

    def encode(self, msg: Any) -> Array:
        """Read a message into a vector (A,)."""
        ...

    def decode(self, action: Array, msg: Any) -> Any:
        """Write a vector (A,) into a message, and return it."""
        ...


class Arena(Protocol):
    """A simulated robot with a camera, and a goal."""

    spec: ActionSpec  # known before the first step

    def reset(self, seed: int) -> Frame:
        """Begin an episode; the same seed gives the same episode to the bit."""
        ...

    def step(self, action: Array) -> Frame:
        """Apply one raw action (A,) in physical units for spec.dt seconds."""
        ...

    def idle(self) -> Frame:
        """Let spec.dt seconds pass without changing the measured state; images may change."""
        ...

    def randomise(self, seed: int) -> None:
        """Draw new values for what is randomised; keep the measured state and the goal."""
        ...

    def drawn(self) -> dict[str, Any]:
        """Return the values drawn for this episode as plain data; {} if nothing is randomised."""
        ...

    def set_state(self, state: Array) -> Frame:
        """Restore a recorded measured state (P,), at rest."""
        ...

    def set_goal(self, state: Array) -> Frame:
        """Make a state (P,) the goal; return its frame, and change nothing else."""
        ...

    def set_goal_state(self, state: Array) -> None:
        """Make a state (P,) the goal without rendering it."""
        ...

    def save(self) -> Any:
        """Return all that later steps depend on, such as state and goal; it can be pickled."""
        ...

    def restore(self, saved: Any) -> Frame:
        """Restore what save() returned in this arena or in another of its kind."""
        ...

    def distance(self) -> float:
        """Return the distance to the goal; at 1 or less the goal is reached."""
        ...

    def success(self) -> bool:
        """Return whether the goal is reached now."""
        ...

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a state (P,) that may be a start or a goal."""
        ...

    def expert(self) -> Array:
        """Return the raw action (A,) a scripted expert would take towards the goal."""
        ...

    def render(self, size: int) -> Array:
        """Return an antialiased image (size, size, 3) for people."""
        ...

    def close(self) -> None:
        """Free the simulator; legal twice."""
        ...


class Episodes(Protocol):
    """Where a recorder writes; what is not possible raises a SmwmError with the reason."""

    recording: Any  # name, task and counts (messages by topic) of the running episode, or None
    stored: int  # episodes so far

    @property
    def space(self) -> int:
        """Return how much may still be recorded [bytes]."""
        ...

    def start(self, task: str) -> str:
        """Begin an episode; return its name."""
        ...

    def add_topic(self, topic: str, kind: str, texts: Mapping[str, str], latched: bool) -> None:
        """Add a topic to the running episode, with its message definitions."""
        ...

    def write(self, topic: str, data: bytes, received: int) -> None:
        """Add a message to the running episode, at its receive time [ns]."""
        ...

    def flush(self) -> None:
        """Hand what was recorded to the system."""
        ...

    def stop(self) -> str:
        """Store the running episode; return a message for the user, as the others do."""
        ...

    def judge(self, outcome: str) -> str:
        """Set the outcome of the running episode, else of the last one."""
        ...

    def discard(self) -> str:
        """Discard the running episode, else the last one."""
        ...
