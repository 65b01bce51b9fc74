# SPDX-License-Identifier: Apache-2.0
"""The one thin wrapper round a headless pybullet client; bodies go by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from smwm_ros.arenas.bodies import Colour, Link, Part, Vector
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Array


class CameraSetup(NamedTuple):
    """A fixed pinhole camera and the light of the scene."""

    eye: Vector  # [m]
    target: Vector  # [m]
    up: Vector
    fov: float  # field of view, the same both ways [deg]
    light: Vector = (0.4, 0.5, 1.0)  # direction towards the light
    ambient: float = 0.62  # share of a colour that is seen in the dark
    diffuse: float = 0.42  # share that the light adds where it falls straight on a surface


class World:
    """
    One simulated scene in its own pybullet client, so that two worlds never disturb each other.

    The physics step is fixed and contacts carry nothing over from one step to the next: what
    happens depends on the state alone, and the same state gives the same future to the bit.
    """

    def __init__(
        self,
        step: float,  # [s]
        camera: CameraSetup,
        gravity: float = 0.0,  # [m/s2]
        recovery: float | None = None,  # share of how deep bodies sink in that a step undoes
    ) -> None:
        self.bullet = _import_pybullet()
        self._client: int | None = self.bullet.connect(self.bullet.DIRECT)
        self.bodies: dict[str, int] = {}
        self._moving: dict[str, list[int]] = {}  # indices of a body's joints that are not fixed
        self.gain = 1.0  # how much faster than commanded the motors move
        self.set_camera(camera)
        self.bullet.setPhysicsEngineParameter(
            fixedTimeStep=step,
            numSubSteps=0,
            deterministicOverlappingPairs=1,
            warmStartingFactor=0.0,
            physicsClientId=self.client,
        )
        self.bullet.setGravity(0, 0, -gravity, physicsClientId=self.client)
        if recovery is not None:
            self.bullet.setPhysicsEngineParameter(contactERP=recovery, physicsClientId=self.client)

    @property
    def client(self) -> int:
        """Return the pybullet client, or say that it is closed."""
        if self._client is None:
            raise ArenaError('the arena is closed; make a new one')
        return self._client

    def set_camera(self, camera: CameraSetup) -> None:
        """See with this camera, in its light, from now on."""
        self.camera = camera
        self._view = self.bullet.computeViewMatrix(camera.eye, camera.target, camera.up)
        self._projection = self.bullet.computeProjectionMatrixFOV(camera.fov, 1.0, 0.1, 20.0)

    def add_box(
        self, name: str, centre: Vector, half: Vector, colour: Colour, solid: bool = True
    ) -> None:
        """Add a box that never moves, of half extents [m]; what is not solid is only seen."""
        part = Part('box', half, colour, solid=solid)
        self.bodies[name] = self.bullet.createMultiBody(
            0.0, self._collision(part), self._visible(part), centre, physicsClientId=self.client
        )

    def add_chain(self, name: str, links: Sequence[Link]) -> None:
        """Add links carried by joints, the first of them by the floor; nothing damps them."""
        bullet = self.bullet
        kinds = {
            'slide': bullet.JOINT_PRISMATIC,
            'turn': bullet.JOINT_REVOLUTE,
            'fixed': bullet.JOINT_FIXED,
        }
        count = len(links)
        body = self.bodies[name] = bullet.createMultiBody(
            baseMass=0.0,
            linkMasses=[link.mass for link in links],
            linkCollisionShapeIndices=[self._collision(link.part) for link in links],
            linkVisualShapeIndices=[self._visible(link.part) for link in links],
            linkPositions=[link.at for link in links],
            linkOrientations=[(0, 0, 0, 1)] * count,
            linkInertialFramePositions=[(0, 0, 0)] * count,
            linkInertialFrameOrientations=[(0, 0, 0, 1)] * count,
            linkParentIndices=[
                index if link.parent is None else link.parent + 1
                for index, link in enumerate(links)
            ],
            linkJointTypes=[kinds[link.joint] for link in links],
            linkJointAxis=[link.axis for link in links],
            physicsClientId=self.client,
        )
        self._moving[name] = [at for at, link in enumerate(links) if link.joint != 'fixed']
        # Without damping the motors alone say how it moves.
        free = dict.fromkeys(('linearDamping', 'angularDamping', 'jointDamping'), 0.0)
        for at, friction in enumerate([0.0, *(link.friction for link in links)], start=-1):
            bullet.changeDynamics(
                body, at, lateralFriction=friction, physicsClientId=self.client, **free
            )

    def joints(self, name: str) -> Array:
        """Return the positions of a body's joints [m or rad], without the fixed ones."""
        states = self.bullet.getJointStates(
            self.bodies[name], self._moving[name], physicsClientId=self.client
        )
        return np.array([state[0] for state in states])

    def joint(self, name: str, number: int) -> float:
        """Return the position of one of a body's joints; faster than all of them."""
        state = self.bullet.getJointState(
            self.bodies[name], self._moving[name][number], physicsClientId=self.client
        )
        position: float = state[0]
        return position

    def place(self, name: str, positions: Vector) -> None:
        """Put a body's joints somewhere, at rest."""
        joints = self._moving[name]
        # All at once: one by one takes ten times as long.
        self.bullet.resetJointStatesMultiDof(
            self.bodies[name],
            joints,
            [(float(position),) for position in positions],
            [(0.0,)] * len(joints),
            physicsClientId=self.client,
        )

    def drive(self, name: str, velocities: Vector, force: float) -> None:
        """Set the velocity motors of a body's joints [m/s or rad/s], [N or Nm]."""
        joints = self._moving[name]
        self.bullet.setJointMotorControlArray(
            self.bodies[name],
            joints,
            self.bullet.VELOCITY_CONTROL,
            targetVelocities=[self.gain * float(velocity) for velocity in velocities],
            forces=[force] * len(joints),
            physicsClientId=self.client,
        )

    def touch(self, name: str, other: str, solid: bool) -> None:
        """Let two bodies touch each other, or not; where they did is forgotten in either case."""
        for link in self._moving.get(name, [-1]):
            for counterpart in self._moving.get(other, [-1]):
                self.bullet.setCollisionFilterPair(
                    self.bodies[name],
                    self.bodies[other],
                    link,
                    counterpart,
                    int(solid),
                    physicsClientId=self.client,
                )

    def advance(self, substeps: int) -> None:
        """Let the physics go on for some fixed steps."""
        client = self.client
        for _ in range(substeps):
            self.bullet.stepSimulation(physicsClientId=client)

    def advance_at_rest(self, substeps: int, name: str) -> None:
        """
        Let the physics go on, while one body loses its speed after every fixed step.

        It moves as far as it is pushed and no further, as on a table that is rough: the
        quasi-static limit.
        """
        bullet, client, body = self.bullet, self.client, self.bodies[name]
        joints = self._moving[name]
        still = [(0.0,)] * len(joints)
        for _ in range(substeps):  # in as few words as can be: this is most of our time
            bullet.stepSimulation(physicsClientId=client)
            states = bullet.getJointStates(body, joints, physicsClientId=client)
            places = [state[:1] for state in states]
            bullet.resetJointStatesMultiDof(body, joints, places, still, physicsClientId=client)

    def find_contacts(self) -> None:
        """Look anew for what touches; points of contact that have parted are forgotten."""
        self.bullet.performCollisionDetection(physicsClientId=self.client)

    def render(self, size: int) -> Array:
        """Return what the camera sees, (size, size, 3) uint8 RGB."""
        # Without shadows: this renderer shades whole floors with them, at three times the cost.
        image = self.bullet.getCameraImage(
            size,
            size,
            self._view,
            self._projection,
            lightDirection=self.camera.light,
            lightAmbientCoeff=self.camera.ambient,
            lightDiffuseCoeff=self.camera.diffuse,
            lightSpecularCoeff=0.0,
            shadow=0,
            flags=self.bullet.ER_NO_SEGMENTATION_MASK,
            renderer=self.bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        rgba = np.asarray(image[2], np.uint8).reshape(size, size, 4)
        rgb: Array = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)  # copies faster than numpy's slices
        return rgb

    def close(self) -> None:
        """Free the client; legal twice."""
        if self._client is not None:
            self.bullet.disconnect(physicsClientId=self._client)
            self._client = None

    def _visible(self, part: Part | None) -> int:
        """Make the shape that the camera sees."""
        if part is None:
            return -1
        made: int = self.bullet.createVisualShape(
            rgbaColor=(*part.colour, 1.0),
            visualFramePosition=part.at,
            physicsClientId=self.client,
            **self._form(part, 'length'),
        )
        return made

    def _collision(self, part: Part | None) -> int:
        """Make the shape that touches others, if it does."""
        if part is None or not part.solid:
            return -1
        made: int = self.bullet.createCollisionShape(
            collisionFramePosition=part.at,
            physicsClientId=self.client,
            **self._form(part, 'height'),
        )
        return made

    def _form(self, part: Part, height: str) -> dict[str, Any]:
        """Describe a form as pybullet does; it has two words for the height of a cylinder."""
        bullet, size = self.bullet, part.size
        if part.form == 'box':
            return {'shapeType': bullet.GEOM_BOX, 'halfExtents': size}
        if part.form == 'sphere':
            return {'shapeType': bullet.GEOM_SPHERE, 'radius': size[0]}
        return {'shapeType': bullet.GEOM_CYLINDER, 'radius': size[0], height: size[1]}


def _import_pybullet() -> Any:
    """Import pybullet without the banner that it prints from C."""
    try:
        with _silent_stderr():
            import pybullet
    except ImportError:
        raise ArenaError("arenas need pybullet: pip install 'smwm_ros[sim]'") from None
    return pybullet


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send the process's standard error nowhere, also what C code writes into it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, 'wb') as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
