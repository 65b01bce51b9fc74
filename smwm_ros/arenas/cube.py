# SPDX-License-Identifier: Apache-2.0
"""
A gripper on a three-axis stage, and a cube on a table.

The state is the position of the gripper (x, y, z), the gap between its fingers, the position of
the cube (x, y, z) [m], and cosine and sine of four times its heading. The action is the velocity
of the stage and of the gap [m/s]. The origin is the middle of the table; x points to the right of
the image, y away from the camera.

The fingers push the cube; it slides, turns about the vertical axis and falls, but never tilts. The
cube is held when it lies between fingers whose gap is its width, which the state alone shows. A
held cube moves with the gripper. A quarter turn of the cube is invisible, so the state has four
times its heading: a heading that jumps by a quarter turn could not be learned from images.
"""

from __future__ import annotations

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Link, Part
from smwm_ros.arenas.scene import Scene
from smwm_ros.arenas.worlds import AnyWorld, make_world
from smwm_ros.interfaces import ActionSpec, Array, Frame

JOINTS = ('stage_x', 'stage_y', 'stage_z', 'gap')
SPEED = 0.15  # largest velocity of each joint [m/s]
DT = 0.1  # one raw action [s]
SUBSTEPS = 24
FORCE = 20.0  # largest force of the motors: moves the gripper at once, and limits its push [N]
GRAVITY = 9.81  # [m/s2]
WIDTH = 0.05  # of the cube [m]
REST = WIDTH / 2  # height of the cube's centre on the table [m]
REACH = 0.12  # of the stage in x and in y, either way [m]
LOW = (-REACH, -REACH, 0.022, 0.0)  # of the joints; the fingers are just above the table [m]
HIGH = (REACH, REACH, 0.15, 0.09)
BORDER = REACH + 0.015  # largest |x| and |y| of the cube [m]
PADS = 0.01  # the soft pads hold a cube that is this much narrower than the gap [m]
GRASP = 0.02  # largest offset along each axis of a cube between the fingers [m]
REACHED = 0.04  # distance of the cube at which a goal counts as reached [m]
RIM = 0.01  # of the tray: stops the cube, but not the fingers [m]
HOVER = 0.085  # height of fingers that clear the cube [m]
ALIGNED = 0.007  # the expert's tolerance [m]
OPEN = 0.08  # gap with clearance around the cube [m]
BEHIND = 0.065  # distance from the cube at which the fingers start a push [m]
PUSHED = 0.15  # longest push of the expert [m]
ROUND = 0.11  # distance at which open fingers do not touch the cube [m]
STRAIGHT = (1.0, 0.0)  # cosine and sine of four times a heading of 0

TABLE, TRAY = (0.45, 0.40, 0.38), (0.93, 0.92, 0.88)
CUBE = (0.85, 0.12, 0.12)
PALM, COLUMN = (0.12, 0.22, 0.55), (0.55, 0.58, 0.62)
FINGERS = ((0.10, 0.62, 0.30), (0.98, 0.72, 0.10))
SHADOW = (0.62, 0.62, 0.66)
CAMERA = CameraSetup(eye=(0, -0.62, 0.56), target=(0, 0.0, 0.05), up=(0, 0, 1), fov=28.0)


class Cube(Scene):
    """The arena of the gripper and the cube."""

    spec = ActionSpec(
        tuple(f'velocity[name={joint}]' for joint in JOINTS), (-SPEED,) * 4, (SPEED,) * 4, DT
    )
    action_names = 'velocity of x, y, z, gap'
    state_names = (
        'x, y, z, gap, x of the cube, y of the cube, z of the cube, '
        'cosine of four times its heading, sine of that'
    )

    def __init__(self, image_size: int, engine: str = 'pybullet') -> None:
        world = make_world(engine, DT / SUBSTEPS, CAMERA, GRAVITY)
        _build(world)
        super().__init__(world, image_size, np.array([0, 0, 0.1, 0.06, 0.1, 0, REST, *STRAIGHT]))

    def step(self, action: Array) -> Frame:
        """Move stage and gap [m/s] for one raw step."""
        before = self._state.astype(np.float64)
        held = is_held(self._state)
        low = np.array(LOW)
        if held:  # the held cube must stay above the table
            low[2] = max(low[2], before[2] - before[6] + REST)
        room = (low - before[:4]) / DT, (np.array(HIGH) - before[:4]) / DT
        velocity = np.clip(self.clip_action(action), *room)
        self.world.set_collisions('gripper', 'cube', not held)
        self.world.set_motors('gripper', [*velocity[:3], velocity[3] / 2, velocity[3] / 2], FORCE)
        self.world.advance(SUBSTEPS)
        joints, (*place, heading) = self.world.joints('gripper'), self.world.joints('cube')
        gripper = np.array([*joints[:3], joints[3] + joints[4]])
        cube = np.array([*place, *fourfold(heading)])
        if held:
            cube = before[4:] + np.array([*(gripper[:3] - before[:3]), 0.0, 0.0])
        return self._settle(np.concatenate([gripper, cube]))

    def distance(self) -> float:
        """Return the distance of the cube to its goal."""
        return float(np.linalg.norm(self._state[4:7] - self._goal[4:7]) / REACHED)

    def sample(self, rng: np.random.Generator) -> Array:
        """Draw a held cube, or one on the table: between open fingers, or beside closed ones."""
        cube = np.array([*rng.uniform(-REACH, REACH, 2), REST])
        kind = rng.choice(3, p=(0.6, 0.2, 0.2))
        if kind == 0:
            cube[2] = rng.uniform(REST + 0.01, HIGH[2])
            state = [*cube, WIDTH, *cube, *STRAIGHT]
        elif kind == 1:
            state = [*cube[:2], rng.uniform(0.03, HIGH[2]), HIGH[3], *cube, *STRAIGHT]
        else:
            turned = fourfold(rng.uniform(-np.pi / 4, np.pi / 4))
            state = [*_beside(cube, rng), 0.0, *cube, *turned]
        return self._canonical(np.array(state))

    def expert(self) -> Array:
        """Carry the cube to its goal; push it if the goal has closed fingers and it is near."""
        state, goal = self._state.astype(np.float64), self._goal.astype(np.float64)
        pushed = goal[3] < WIDTH and not is_held(goal)
        if pushed and (velocity := _push(state, goal[4:7])) is not None:
            return velocity
        return _carry(state, goal[4:7])

    def _canonical(self, state: Array) -> Array:
        """Clip everything to its limits, and centre a held cube between the fingers."""
        true = state.astype(np.float32)
        true[:4] = np.clip(true[:4], np.array(LOW, np.float32), np.array(HIGH, np.float32))
        true[4:6] = np.clip(true[4:6], np.float32(-BORDER), np.float32(BORDER))
        true[6] = max(true[6], np.float32(REST))
        if abs(np.hypot(*state[7:]) - 1) > 1e-3:  # else they must keep every bit
            true[7:] = fourfold(heading_of(state))
        if is_held(true):
            true[3] = np.clip(true[3], np.float32(WIDTH), np.float32(WIDTH + PADS))
            true[4:6], true[7:] = true[:2], STRAIGHT
        return true

    def _place(self, state: Array) -> None:
        """Place gripper and cube at a state."""
        self.world.place('gripper', [*state[:3], state[3] / 2, state[3] / 2])
        self.world.place('cube', [*state[4:7], heading_of(state)])


def gripper_elsewhere(state: Array, rng: np.random.Generator) -> Array:
    """Return a state (P,) with the gripper at a random place off the cube, unless it is held."""
    if is_held(state):
        return state
    while True:
        tool = rng.uniform(LOW[:3], HIGH[:3])
        away = np.abs(tool - state[4:7])
        if away[:2].max() > ROUND or away[2] > HOVER:
            return np.array([*tool, *state[3:]], np.float32)


def fourfold(heading: float) -> tuple[float, float]:
    """Return cosine and sine of four times a heading [rad]."""
    return float(np.cos(4 * heading)), float(np.sin(4 * heading))


def heading_of(state: Array) -> float:
    """Return the heading of the cube, from -pi/4 to pi/4 [rad]."""
    return float(np.arctan2(float(state[8]), float(state[7])) / 4)


def is_held(state: Array) -> bool:
    """Return whether the cube is held in a state (P,)."""
    between = np.abs(state[4:7] - state[:3]).max() <= GRASP
    heading = heading_of(state)
    across = WIDTH * (abs(np.cos(heading)) + abs(np.sin(heading)))  # between the fingers
    return bool(between and state[3] <= np.float32(across + PADS))


def _carry(state: Array, goal: Array) -> Array:
    """Return the velocity (4,) that grasps the cube from above and carries it to a goal (3,)."""
    tool, gap, cube = state[:3], state[3], state[4:7]
    if is_held(state):
        return _towards(tool + goal - cube, 0.0, state)
    cube = np.clip(cube, LOW[:3], HIGH[:3])  # the nearest point that the gripper reaches
    away = np.abs(cube - tool)
    if away[:2].max() > ALIGNED or (gap < OPEN and away[2] > GRASP):
        return _over(np.array([*cube[:2], cube[2] + HOVER - REST]), HIGH[3], state)
    return _towards(cube, HIGH[3] if away[2] > ALIGNED else 0.0, state)


def _push(state: Array, goal: Array) -> Array | None:
    """Return the velocity (4,) that pushes the cube to a goal (3,); None if no push can."""
    tool, cube = state[:3], state[4:7]
    way = goal[:2] - cube[:2]
    length = float(np.linalg.norm(way))
    unit = way / max(length, 1e-9)
    behind = np.array([*(cube[:2] - BEHIND * unit), LOW[2] + 0.005])
    if length > PUSHED or np.abs(behind[:2]).max() > REACH:
        return None
    if is_held(state):
        return np.array([0.0, 0.0, 0.0, SPEED])  # release the cube
    to_cube = cube[:2] - tool[:2]
    ahead = float(to_cube @ unit)
    aside = to_cube - ahead * unit
    if tool[2] < REST + 0.015 and 0 < ahead < BEHIND + 0.03 and np.linalg.norm(aside) < GRASP:
        pushing = np.array([*(tool[:2] + 0.6 * aside + SPEED * DT * unit), behind[2]])
        return _towards(pushing, 0.0, state)
    if np.abs(behind[:2] - tool[:2]).max() < ALIGNED:
        return _towards(behind, 0.0, state)
    return _over(np.array([*behind[:2], HOVER]), 0.0, state)


def _over(place: Array, gap: float, state: Array) -> Array:
    """Return the velocity (4,) to a place (3,) above the cube, avoiding the cube."""
    tool, cube = state[:3], state[4:7]
    if np.abs(tool[:2] - cube[:2]).max() < ROUND and tool[2] < place[2] - 0.015:
        place = np.array([*tool[:2], place[2]])
        gap = max(gap, state[3])  # else it would take the cube along
    return _towards(place, gap, state)


def _towards(place: Array, gap: float, state: Array) -> Array:
    """Return the velocity (4,) to a place (3,) and a gap."""
    velocity: Array = np.clip((np.array([*place, gap]) - state[:4]) / DT, -SPEED, SPEED)
    return velocity


def _beside(cube: Array, rng: np.random.Generator) -> Array:
    """Draw a place (3,) for closed fingers beside a cube (3,), on its side to the middle."""
    angle = np.arctan2(-cube[1], -cube[0]) + rng.uniform(-1, 1)
    return np.array([*(cube[:2] + 0.052 * np.array([np.cos(angle), np.sin(angle)])), 0.03])


def _build(world: AnyWorld) -> None:
    """Add a table with a tray, the cube and the gripper."""
    world.add_box('table', (0, 0, -0.05), (0.6, 0.6, 0.05), TABLE)
    edge, half = BORDER + WIDTH / 2, RIM / 2
    world.add_box('tray', (0, 0, 0.0005), (edge, edge, 0.0005), TRAY, solid=False)
    for side, name in ((-1, 'minus'), (1, 'plus')):
        at = side * (edge + half)
        world.add_box(f'rim {name} x', (at, 0, half), (half, edge + RIM, half), COLUMN)
        world.add_box(f'rim {name} y', (0, at, half), (edge, half, half), COLUMN)
    world.add_chain(
        'cube',
        [
            Link('slide', (1, 0, 0), mass=0.01),
            Link('slide', (0, 1, 0), mass=0.01),
            Link('slide', (0, 0, 1), mass=0.01),
            Link('turn', part=Part('box', (WIDTH / 2,) * 3, CUBE), mass=0.1, friction=1.0),
        ],
    )
    world.set_motors('cube', (0, 0, 0, 0), 0.0)  # no motors
    shadow = Part('box', (0.058, 0.018, 0.001), SHADOW, at=(0, 0, 0.002), solid=False)
    palm = Part('box', (0.058, 0.018, 0.01), PALM, at=(0, 0, 0.05))
    column = Part('cylinder', (0.011, 0.5), COLUMN, at=(0, 0, 0.31), solid=False)
    world.add_chain(
        'gripper',
        [
            Link('slide', (1, 0, 0), mass=0.01),
            Link('slide', (0, 1, 0), part=shadow, mass=0.01),  # shows how high the gripper is
            Link('slide', (0, 0, 1), part=palm, mass=0.2),
            Link('slide', (-1, 0, 0), part=_finger(-1), mass=0.05, friction=0.3),
            Link('slide', (1, 0, 0), part=_finger(1), mass=0.05, friction=0.3, parent=2),
            Link('fixed', part=column, parent=2),
        ],
    )
    for name in ('minus x', 'plus x', 'minus y', 'plus y'):
        world.set_collisions('gripper', f'rim {name}', False)


def _finger(side: int) -> Part:
    """Return the finger on one side of the middle when the gap is closed."""
    return Part('box', (0.006, 0.016, 0.03), FINGERS[side > 0], at=(side * 0.006, 0, 0.01))
