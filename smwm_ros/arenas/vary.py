# SPDX-License-Identifier: Apache-2.0
"""
Domain randomisation: an arena that differs from episode to episode, and distractor balls.

The wrapper changes how a scene looks and moves by values drawn from ranges at the start of each
episode. The same seed gives the same episode to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from smwm_ros.arenas.actuation import Actuation, Actuators, AS_COMMANDED
from smwm_ros.arenas.appearance import appearance_of
from smwm_ros.arenas.balls import Balls
from smwm_ros.arenas.collection_policies import noisy_expert
from smwm_ros.arenas.furnishing import Looks
from smwm_ros.arenas.illumination import Illumination
from smwm_ros.arenas.ranges import draw, NEUTRAL, Ranges, shift_of, SHIFTS, stream
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.textures import Floors
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Array, Frame

_NEUTRAL: Ranges = {knob: (only,) for knob, only in NEUTRAL.items()}
DYNAMICS = {'friction', 'mass'}  # knobs that have no effect in some arenas
SAME = 1e-3  # states that differ by less count as equal [m or rad]


class RandomisedArena:
    """Wraps a scene, and is an arena itself."""

    def __init__(
        self,
        scene: Scene,
        ranges: Ranges,
        distractors: int = 0,
        seed: int = 0,
        once: int | None = None,  # draw the looks of all episodes by this seed
        photos: str = '',  # folder with pictures of floors
        actuation: Actuation = AS_COMMANDED,
    ) -> None:
        self.scene, self.ranges, self.distractors = scene, ranges, distractors
        self.spec, self.world, self.image_size = scene.spec, scene.world, scene.image_size
        self._seed, self._once, self._floors = seed, once, Floors(photos)
        self._actuators = Actuators(self.spec, actuation)
        if actuation.has_inertia:
            scene.braking = self._actuators.braking()
        self._appearance = appearance_of(self.world)  # before the balls are added
        self._balls = Balls(self.world, distractors, self.spec.dt)
        self._key: tuple[int, ...]
        self._drawn: dict[str, Any]
        self.randomise(0)
        self._shown = self.world.render(self.image_size)

    def reset(self, seed: int) -> Frame:
        """Start an episode with newly drawn values."""
        self.randomise(seed)
        return self._show(self.scene.reset(seed))

    def randomise(self, seed: int) -> None:
        """Draw new values and apply them; keep the measured state and the goal."""
        self._key = (self._seed, seed)
        self._tick = 0
        self._drawn = draw(self.ranges, self._looks, self._appearance.colours)
        self._apply()
        self._actuators.stop()
        self._balls.scatter(stream(self._key, 'balls'))

    def idle(self) -> Frame:
        """Let time pass for balls and image noise alone."""
        self._tick += 1
        self._roll()
        return self._show(self.scene.idle())

    def step(self, action: Array) -> Frame:
        """Queue a raw action (A,), and apply what is due; the image may be dropped."""
        command = self.scene.clip_action(action)
        self._tick += 1
        self._roll()
        frame = self.scene.step(self._actuators.follow(command))
        return Frame(self._shown.copy(), frame.state) if self._is_dropped() else self._show(frame)

    def set_state(self, state: Array) -> Frame:
        """Place everything at a state (P,), at rest; queued actions are discarded."""
        frame = self.scene.set_state(state)
        self._actuators.stop()
        return self._show(frame)

    def set_goal(self, state: Array) -> Frame:
        """Make a state the goal; in its image the balls are elsewhere, as at another time."""
        here = self._balls.save()
        self._balls.scatter(stream(self._key, 'goal balls'))
        try:
            goal = self.scene.set_goal(state)
        finally:
            self._balls.restore(here)
        return Frame(self._noisy(goal.pixels, 'goal noise'), goal.state)

    def save(self) -> Any:
        """Return all that later steps depend on."""
        return {
            'scene': self.scene.save(),
            'key': self._key,
            'tick': self._tick,
            'drawn': self._drawn,
            'actuators': self._actuators.save(),
            'balls': self._balls.save(),
            'shown': self._shown.copy(),
        }

    def restore(self, saved: Any) -> Frame:
        """Restore what save() returned; return the frame that was shown last."""
        unchanged = (self._key, self._drawn) == (saved['key'], saved['drawn'])
        self._key, self._tick, self._drawn = saved['key'], saved['tick'], saved['drawn']
        if not unchanged:
            self._apply()
        self._balls.restore(saved['balls'])
        frame = self.scene.restore(saved['scene'])
        self._actuators.restore(saved['actuators'])
        self._shown = saved['shown'].copy()
        return Frame(self._shown.copy(), frame.state)

    def drawn(self) -> dict[str, Any]:
        """Return the values drawn for this episode, as plain data."""
        return {**self._drawn, 'distractors': self.distractors}

    def set_goal_state(self, state: Array) -> None:
        """Make a state (P,) the goal without rendering it."""
        self.scene.set_goal_state(state)

    def distance(self) -> float:
        """Return the distance to the goal; at 1 or less the goal is reached."""
        return self.scene.distance()

    def success(self) -> bool:
        """Return whether the goal is reached now."""
        return self.scene.success()

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a state (P,) that may be a start or a goal."""
        return self.scene.sample(rng)

    def expert(self) -> Array:
        """Return the expert's raw action (A,); it knows the inertia, but not the drawn values."""
        wanted = self.scene.expert()
        return self._actuators.command_for(wanted) if self._actuators.has_inertia else wanted

    def render(self, size: int) -> Array:
        """Return an image (size, size, 3) for people, without noise."""
        return self._light.apply(self.scene.render(size))

    def close(self) -> None:
        """Free the simulator; legal twice."""
        self.scene.close()

    @property
    def _looks(self) -> tuple[int, ...]:
        """Return the key by which values are drawn."""
        return self._key if self._once is None else (self._seed, self._once)

    def _apply(self) -> None:
        """Apply the drawn values to the world."""
        # Of one robot alone there may be any floor; else a few are reused, see Furnishing.
        bank = (self._seed,) if self._once is None else self._looks
        looks = Looks(self._looks, bank, self._floors, self.image_size)
        self._appearance.apply(self.world, self._drawn, looks)
        self.world.gain *= self._actuators.motor_gain
        drawn = self._drawn
        self._actuators.set_up(drawn['latency'], drawn['lag'], self.world.gain)
        self._light = Illumination(drawn['vignette'], drawn['uneven'], self._looks)

    def _show(self, frame: Frame) -> Frame:
        """Return a frame with image noise, and store its image as the last one shown."""
        self._shown = self._noisy(frame.pixels, 'noise', self._tick)
        return Frame(self._shown.copy(), frame.state)

    def _roll(self) -> None:
        """Advance the balls by one raw step."""
        if self.distractors:
            self._balls.roll(stream(self._key, 'balls', self._tick))

    def _is_dropped(self) -> bool:
        """Return whether the image of this raw step is dropped."""
        share = self._drawn['frame_drop']
        return bool(share and stream(self._key, 'frame_drop', self._tick).random() < share)

    def _noisy(self, pixels: Array, *purpose: Any) -> Array:
        """Return pixels (H, W, 3) with the drawn brightness and level of noise."""
        pixels = self._light.apply(pixels)
        level = self._drawn['noise']
        if not level:
            return pixels
        noise = level * stream(self._key, *purpose).standard_normal(pixels.shape, np.float32)
        noisy: Array = np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
        return noisy


def shifted(
    scene: Scene,
    name: str,
    ranges: Ranges = _NEUTRAL,
    distractors: int = 0,
    seed: int = 0,
    photos: str = '',
    actuation: Actuation = AS_COMMANDED,
) -> RandomisedArena:
    """
    Return a scene under a held-out shift; what the shift does not name keeps its ranges.

    The returned arena owns the scene: do not use the scene directly any more.
    """
    shift = shift_of(name)
    if not _has_effect(scene, shift):
        raise ArenaError(
            f"'{name}': this shift changes nothing in this arena, expected one of "
            f'{", ".join(effective_shifts(scene))}'
        )
    varied = {**ranges, **shift}
    return RandomisedArena(scene, varied, distractors, seed, None, photos, actuation)


def effective_shifts(scene: Scene) -> list[str]:
    """Return the names of the held-out shifts that change anything in a scene."""
    return [name for name, shift in SHIFTS.items() if _has_effect(scene, shift)]


def _has_effect(scene: Scene, shift: Ranges) -> bool:
    """Return whether a shift changes anything; shifts of images and commands always do."""
    if DYNAMICS.isdisjoint(shift):
        return True
    return not np.allclose(
        _expert_states(scene, shift), _expert_states(scene, {}), rtol=0.0, atol=SAME
    )


def _expert_states(scene: Scene, shift: Ranges) -> Array:
    """Return the states (N, P) of a few expert episodes under a shift alone."""
    size, scene.image_size = scene.image_size, 16  # only states are used: render little
    try:
        arena = RandomisedArena(scene, {**_NEUTRAL, **shift})
        states = []
        for seed in range(4):
            arena.reset(seed)
            actions = noisy_expert(arena, np.random.default_rng(seed))
            states += [arena.step(next(actions)).state for _ in range(100)]
        return np.array(states)
    finally:
        scene.image_size = size
