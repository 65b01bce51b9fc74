# SPDX-License-Identifier: Apache-2.0
"""A thin wrapper around a headless pybullet client: the only file that calls pybullet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Colour, Dynamics, Link, Part, Vector, VisualShape
from smwm_ros.arenas.engine import import_pybullet
from smwm_ros.arenas.pybullet_forms import form_of
from smwm_ros.arenas.shadows import cast, View
from smwm_ros.errors import ArenaError
from smwm_ros.interfaces import Array


class World:
    """
    One simulated scene of named bodies, in a pybullet client of its own.

    The physics step is fixed, and contacts pass nothing on from one step to the next. So the state
    alone determines the future, to the bit.
    """

    def __init__(
        self,
        step: float,  # [s]
        camera: CameraSetup,
        gravity: float = 0.0,  # [m/s2]
        recovery: float | None = None,  # share of a penetration that one step corrects
    ) -> None:
        self.bullet = import_pybullet()
        self._client: int | None = self.bullet.connect(self.bullet.DIRECT)
        self.bodies: dict[str, int] = {}
        self._moving: dict[str, list[int]] = {}  # indices of a body's joints that are not fixed
        self.gain = 1.0  # velocity of the motors over the commanded one
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
        """Return the pybullet client; raise if it is closed."""
        if self._client is None:
            raise ArenaError('the arena is closed; make a new one')
        return self._client

    def set_camera(self, camera: CameraSetup) -> None:
        """Render with this camera and light from now on."""
        self.camera = camera
        self._view = self.bullet.computeViewMatrix(camera.eye, camera.target, camera.up)
        self._projection = self.bullet.computeProjectionMatrixFOV(camera.fov, 1.0, 0.1, 20.0)

    def add_static(self, name: str, part: Part, at: Vector = (0, 0, 0)) -> None:
        """Add a body that no force moves."""
        self.bodies[name] = self.bullet.createMultiBody(
            0.0, self._collision(part), self._visible(part), at, physicsClientId=self.client
        )

    def add_box(
        self, name: str, centre: Vector, half: Vector, colour: Colour, solid: bool = True
    ) -> None:
        """Add a static box of half extents [m]."""
        self.add_static(name, Part('box', half, colour, solid=solid), centre)

    def move_static(self, name: str, at: Vector) -> None:
        """Move a static body [m]."""
        self.bullet.resetBasePositionAndOrientation(
            self.bodies[name], at, (0, 0, 0, 1), physicsClientId=self.client
        )

    def add_chain(self, name: str, links: Sequence[Link]) -> None:
        """Add links on undamped joints; the first joint is fixed to the floor."""
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
        # Without damping, the motors alone determine the motion.
        free = dict.fromkeys(('linearDamping', 'angularDamping', 'jointDamping'), 0.0)
        for at, friction in enumerate([0.0, *(link.friction for link in links)], start=-1):
            bullet.changeDynamics(
                body, at, lateralFriction=friction, physicsClientId=self.client, **free
            )

    def joints(self, name: str) -> Array:
        """Return the positions of a body's movable joints [m or rad]."""
        states = self.bullet.getJointStates(
            self.bodies[name], self._moving[name], physicsClientId=self.client
        )
        return np.array([state[0] for state in states])

    def joint(self, name: str, number: int) -> float:
        """Return the position of one movable joint; faster than joints()."""
        state = self.bullet.getJointState(
            self.bodies[name], self._moving[name][number], physicsClientId=self.client
        )
        position: float = state[0]
        return position

    def place(self, name: str, positions: Vector) -> None:
        """Set the positions of a body's movable joints, at rest."""
        joints = self._moving[name]
        # One call for all: single calls take ten times as long.
        self.bullet.resetJointStatesMultiDof(
            self.bodies[name],
            joints,
            [(float(position),) for position in positions],
            [(0.0,)] * len(joints),
            physicsClientId=self.client,
        )

    def set_motors(self, name: str, velocities: Vector, force: float) -> None:
        """Set target velocities [m/s or rad/s] and the largest force [N or Nm] of the motors."""
        joints = self._moving[name]
        self.bullet.setJointMotorControlArray(
            self.bodies[name],
            joints,
            self.bullet.VELOCITY_CONTROL,
            targetVelocities=[self.gain * float(velocity) for velocity in velocities],
            forces=[force] * len(joints),
            physicsClientId=self.client,
        )

    def set_collisions(self, name: str, other: str, enabled: bool) -> None:
        """Turn collisions between two bodies on or off; existing contacts are dropped."""
        body, opposite = self.bodies[name], self.bodies[other]
        for links in product(self._moving.get(name, [-1]), self._moving.get(other, [-1])):
            self.bullet.setCollisionFilterPair(
                body, opposite, *links, int(enabled), physicsClientId=self.client
            )

    def advance(self, substeps: int) -> None:
        """Run some fixed physics steps."""
        client = self.client
        for _ in range(substeps):
            self.bullet.stepSimulation(physicsClientId=client)

    def advance_at_rest(self, substeps: int, name: str) -> None:
        """
        Run some fixed physics steps, and stop one body after each.

        The body moves only while it is pushed, as on a rough table: the quasi-static limit.
        """
        bullet, client, body = self.bullet, self.client, self.bodies[name]
        joints = self._moving[name]
        still = [(0.0,)] * len(joints)
        for _ in range(substeps):  # short on purpose: most of the time is spent here
            bullet.stepSimulation(physicsClientId=client)
            states = bullet.getJointStates(body, joints, physicsClientId=client)
            places = [state[:1] for state in states]
            bullet.resetJointStatesMultiDof(body, joints, places, still, physicsClientId=client)

    def find_contacts(self) -> None:
        """Detect contacts again, and drop those of bodies that have separated."""
        self.bullet.performCollisionDetection(physicsClientId=self.client)

    def render(self, size: int) -> Array:
        """Return the camera image (size, size, 3) uint8 RGB."""
        # Without its shadows: they would shade whole floors, at three times the cost.
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
        if not self.camera.shadow:
            return rgb
        matrices = (np.reshape(one, (4, 4)).T for one in (self._view, self._projection))
        depth = np.reshape(image[3], (size, size))
        return cast(rgb, View(depth, *matrices), self.camera)

    def visual_shapes(self) -> list[VisualShape]:
        """Return every visible shape of every body."""
        return [
            VisualShape(body, item[1], item[7][:3])
            for body in self.bodies.values()
            for item in self.bullet.getVisualShapeData(body, physicsClientId=self.client)
        ]

    def set_colour(self, shape: VisualShape, colour: Vector) -> None:
        """Give a visible shape another colour."""
        self.bullet.changeVisualShape(
            shape.body, shape.link, rgbaColor=(*colour, 1.0), physicsClientId=self.client
        )

    def add_texture(self, image: Array) -> int:
        """Load a texture (H, W) or (H, W, 3) uint8; it is freed when the world is closed."""
        bgr = cv2.merge([image] * 3) if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        with TemporaryDirectory() as folder:  # pybullet loads textures from files only
            path = Path(folder) / 'texture.png'
            path.write_bytes(cv2.imencode('.png', bgr)[1].tobytes())
            texture: int = self.bullet.loadTexture(str(path), physicsClientId=self.client)
        return texture

    def set_texture(self, shape: VisualShape, texture: int | None) -> None:
        """Cover a visible shape with a texture, or with none."""
        number = -1 if texture is None else texture
        self.bullet.changeVisualShape(
            shape.body, shape.link, textureUniqueId=number, physicsClientId=self.client
        )

    def links(self) -> list[Dynamics]:
        """Return the dynamics of every link of every body; link -1 is the base."""
        bullet, client, links = self.bullet, self.client, list[Dynamics]()
        for body in self.bodies.values():
            for link in range(-1, bullet.getNumJoints(body, physicsClientId=client)):
                info = bullet.getDynamicsInfo(body, link, physicsClientId=client)
                mass, friction, inertia = info[:3]
                links.append(Dynamics(body, link, mass, inertia, friction))
        return links

    def set_dynamics(self, link: Dynamics) -> None:
        """Change mass, inertia and friction of a link."""
        self.bullet.changeDynamics(
            link.body,
            link.link,
            mass=link.mass,
            localInertiaDiagonal=link.inertia,
            lateralFriction=link.friction,
            physicsClientId=self.client,
        )

    def close(self) -> None:
        """Free the client; legal twice."""
        if self._client is not None:
            self.bullet.disconnect(physicsClientId=self._client)
            self._client = None

    def _visible(self, part: Part | None) -> int:
        """Create the visible shape of a part."""
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
        """Create the collision shape of a part, if it is solid."""
        if part is None or not part.solid:
            return -1
        made: int = self.bullet.createCollisionShape(
            collisionFramePosition=part.at,
            physicsClientId=self.client,
            **self._form(part, 'height'),
        )
        return made

    def _form(self, part: Part, height: str) -> dict[str, Any]:
        """Return pybullet's arguments for a form; `height` is its name for a cylinder's height."""
        kind, sizes = form_of(part, height)
        return {'shapeType': getattr(self.bullet, kind), **sizes}
