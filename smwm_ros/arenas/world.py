# SPDX-License-Identifier: Apache-2.0
"""A thin wrapper around a headless pybullet client."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Dynamics, Vector, VisualShape
from smwm_ros.arenas.pybullet_bodies import PybulletBodies
from smwm_ros.arenas.shadows import cast, View
from smwm_ros.interfaces import Array


class World(PybulletBodies):
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
        super().__init__()
        self.gain = 1.0  # velocity or force of the motors over the commanded one
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

    def set_camera(self, camera: CameraSetup) -> None:
        """Render with this camera and light from now on."""
        self.camera = camera
        self._view = self.bullet.computeViewMatrix(camera.eye, camera.target, camera.up)
        self._projection = self.bullet.computeProjectionMatrixFOV(camera.fov, 1.0, 0.1, 20.0)

    def move_static(self, name: str, at: Vector) -> None:
        """Move a static body [m]."""
        self.bullet.resetBasePositionAndOrientation(
            self.bodies[name], at, (0, 0, 0, 1), physicsClientId=self.client
        )

    def joints(self, name: str) -> Array:
        """Return the positions of a body's movable joints [m or rad]."""
        states = self.bullet.getJointStates(
            self.bodies[name], self._moving[name], physicsClientId=self.client
        )
        return np.array([state[0] for state in states])

    def velocities(self, name: str) -> Array:
        """Return the velocities of a body's movable joints [m/s or rad/s]."""
        states = self.bullet.getJointStates(
            self.bodies[name], self._moving[name], physicsClientId=self.client
        )
        return np.array([state[1] for state in states])

    def joint(self, name: str, number: int) -> float:
        """Return the position of one movable joint; faster than joints()."""
        state = self.bullet.getJointState(
            self.bodies[name], self._moving[name][number], physicsClientId=self.client
        )
        position: float = state[0]
        return position

    def place(self, name: str, positions: Vector, velocities: Vector | None = None) -> None:
        """Set the positions of a body's movable joints, and their velocities if not at rest."""
        joints = self._moving[name]
        # One call for all: single calls take ten times as long.
        self.bullet.resetJointStatesMultiDof(
            self.bodies[name],
            joints,
            [(float(position),) for position in positions],
            [(0.0,)] * len(joints)
            if velocities is None
            else [(float(velocity),) for velocity in velocities],
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

    def advance_with_forces(self, substeps: int, name: str, forces: Vector) -> None:
        """Run some fixed physics steps with forces [N or Nm] on the joints of one body."""
        bullet, client, body = self.bullet, self.client, self.bodies[name]
        joints = self._moving[name]
        self.set_motors(name, [0.0] * len(joints), 0.0)
        strengths = [self.gain * float(force) for force in forces]
        for _ in range(substeps):  # each step uses up the forces
            bullet.setJointMotorControlArray(
                body, joints, bullet.TORQUE_CONTROL, forces=strengths, physicsClientId=client
            )
            bullet.stepSimulation(physicsClientId=client)

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
