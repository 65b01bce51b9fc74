# SPDX-License-Identifier: Apache-2.0
"""The one thin wrapper round a headless pybullet client; bodies go by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
import sys
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from smwm_ros.core.interfaces import Array
from smwm_ros.errors import ArenaError

Vector: TypeAlias = Sequence[float] | Array
Colour = tuple[float, float, float]  # red, green, blue from 0 to 1


class Camera(NamedTuple):
    """A fixed pinhole camera and the light of the scene."""

    eye: Vector  # [m]
    target: Vector  # [m]
    up: Vector
    fov: float  # field of view, the same both ways [deg]
    light: Vector = (0.4, 0.5, 1.0)  # direction towards the light


class World:
    """
    One simulated scene in its own pybullet client, so that two worlds never disturb each other.

    The physics step is fixed and contacts carry nothing over from one step to the next: what
    happens depends on the state alone, and the same state gives the same future to the bit.
    """

    def __init__(self, step: float, camera: Camera) -> None:
        self._bullet = _import_pybullet()
        self._client: int | None = self._bullet.connect(self._bullet.DIRECT)
        self._bodies: dict[str, int] = {}
        self._camera = camera
        self._view = self._bullet.computeViewMatrix(camera.eye, camera.target, camera.up)
        self._projection = self._bullet.computeProjectionMatrixFOV(camera.fov, 1.0, 0.1, 20.0)
        self._bullet.setPhysicsEngineParameter(
            fixedTimeStep=step,
            numSubSteps=0,
            deterministicOverlappingPairs=1,
            warmStartingFactor=0.0,
            physicsClientId=self.client,
        )

    @property
    def client(self) -> int:
        """Return the pybullet client, or say that it is closed."""
        if self._client is None:
            raise ArenaError('the arena is closed; make a new one')
        return self._client

    def add_box(
        self, name: str, centre: Vector, half: Vector, colour: Colour, solid: bool = True
    ) -> None:
        """Add a box that never moves, of half extents [m]; what is not solid is only seen."""
        shape = self._visual(self._bullet.GEOM_BOX, colour, halfExtents=half)
        collision = -1
        if solid:
            collision = self._bullet.createCollisionShape(
                self._bullet.GEOM_BOX, halfExtents=half, physicsClientId=self.client
            )
        self._bodies[name] = self._bullet.createMultiBody(
            0.0, collision, shape, centre, physicsClientId=self.client
        )

    def add_slider(
        self, name: str, radius: float, height: float, colours: tuple[Colour, Colour]
    ) -> None:
        """Add an upright cylinder that slides in x (joint 0) and y (joint 1), with a lid on it."""
        bullet = self._bullet
        solid = bullet.createCollisionShape(
            bullet.GEOM_CYLINDER,
            radius=radius,
            height=height,
            collisionFramePosition=(0, 0, height / 2),
            physicsClientId=self.client,
        )
        body = self._cylinder(radius, 0.0, height, colours[0])
        lid = self._cylinder(0.55 * radius, height, 0.3 * height, colours[1])
        self._bodies[name] = bullet.createMultiBody(
            baseMass=0.0,
            linkMasses=[0.1, 1.0, 0.0],
            linkCollisionShapeIndices=[-1, solid, -1],
            linkVisualShapeIndices=[-1, body, lid],
            linkPositions=[(0, 0, 0)] * 3,
            linkOrientations=[(0, 0, 0, 1)] * 3,
            linkInertialFramePositions=[(0, 0, 0)] * 3,
            linkInertialFrameOrientations=[(0, 0, 0, 1)] * 3,
            linkParentIndices=[0, 1, 2],
            linkJointTypes=[bullet.JOINT_PRISMATIC, bullet.JOINT_PRISMATIC, bullet.JOINT_FIXED],
            linkJointAxis=[(1, 0, 0), (0, 1, 0), (0, 0, 1)],
            physicsClientId=self.client,
        )
        # Without damping and friction the motors alone say how it moves, along walls too.
        names = ('linearDamping', 'angularDamping', 'jointDamping', 'lateralFriction')
        free = dict.fromkeys(names, 0.0)
        for link in range(-1, 3):
            bullet.changeDynamics(self._bodies[name], link, physicsClientId=self.client, **free)

    def joints(self, name: str, count: int) -> Array:
        """Return the positions (count,) of a body's first joints [m or rad]."""
        states = self._bullet.getJointStates(
            self._bodies[name], range(count), physicsClientId=self.client
        )
        return np.array([state[0] for state in states])

    def place(self, name: str, positions: Vector) -> None:
        """Put a body's first joints somewhere, at rest."""
        for joint, position in enumerate(positions):
            self._bullet.resetJointState(
                self._bodies[name], joint, float(position), 0.0, physicsClientId=self.client
            )

    def drive(self, name: str, velocities: Vector, force: float) -> None:
        """Set the velocity motors of a body's first joints [m/s or rad/s], [N or Nm]."""
        self._bullet.setJointMotorControlArray(
            self._bodies[name],
            range(len(velocities)),
            self._bullet.VELOCITY_CONTROL,
            targetVelocities=[float(velocity) for velocity in velocities],
            forces=[force] * len(velocities),
            physicsClientId=self.client,
        )

    def advance(self, substeps: int) -> None:
        """Let the physics go on for some fixed steps."""
        client = self.client
        for _ in range(substeps):
            self._bullet.stepSimulation(physicsClientId=client)

    def render(self, size: int) -> Array:
        """Return what the camera sees, (size, size, 3) uint8 RGB."""
        # Without shadows: this renderer shades whole floors with them, at three times the cost.
        image = self._bullet.getCameraImage(
            size,
            size,
            self._view,
            self._projection,
            lightDirection=self._camera.light,
            lightAmbientCoeff=0.62,
            lightDiffuseCoeff=0.42,
            lightSpecularCoeff=0.0,
            shadow=0,
            flags=self._bullet.ER_NO_SEGMENTATION_MASK,
            renderer=self._bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        rgba = np.asarray(image[2], np.uint8).reshape(size, size, 4)
        rgb: Array = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)  # copies faster than numpy's slices
        return rgb

    def close(self) -> None:
        """Free the client; legal twice."""
        if self._client is not None:
            self._bullet.disconnect(physicsClientId=self._client)
            self._client = None

    def _visual(self, kind: int, colour: Colour, **shape: Any) -> int:
        """Make the shape that the camera sees."""
        made: int = self._bullet.createVisualShape(
            kind, rgbaColor=(*colour, 1.0), physicsClientId=self.client, **shape
        )
        return made

    def _cylinder(self, radius: float, bottom: float, height: float, colour: Colour) -> int:
        """Make an upright cylinder that the camera sees, from a bottom [m] upwards."""
        return self._visual(
            self._bullet.GEOM_CYLINDER,
            colour,
            radius=radius,
            length=height,
            visualFramePosition=(0, 0, bottom + height / 2),
        )


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
