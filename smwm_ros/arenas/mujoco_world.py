# SPDX-License-Identifier: Apache-2.0
"""
The same worlds on MuJoCo, with its own physics and its own renderer: a rehearsal elsewhere.

A world is described first, and compiled when it is first used. Collisions can be turned off
between bodies, so each body has a bit of its own in the collision masks.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any

import cv2
import numpy as np
from smwm_ros.arenas.bodies import CameraSetup, Dynamics, Vector, VisualShape
from smwm_ros.arenas.mujoco_bodies import MujocoBodies, set_friction, STATIC_FRICTION
from smwm_ros.arenas.mujoco_renderer import aim, MujocoRenderer, TEXTURES
from smwm_ros.interfaces import Array

BELOW = 0.9  # share of its largest force that a motor uses
STIFFEST = 0.05  # difference of velocities at which a motor has its largest force, at least [m/s]


class MujocoWorld(MujocoBodies):
    """
    One simulated scene of named bodies; it has the methods of World.

    Contacts pass nothing on from one step to the next, so the state alone determines the future.
    """

    def __init__(
        self,
        step: float,  # [s]
        camera: CameraSetup,
        gravity: float = 0.0,  # [m/s2]
    ) -> None:
        super().__init__(step, gravity)
        self.gain = 1.0  # velocity or force of the motors over the commanded one
        self.camera = camera
        self._apart: set[frozenset[str]] = set()  # pairs of bodies that do not collide
        self._textures: list[Array] = []
        self._changes = [0] * len(TEXTURES)  # of each texture in the model
        # Of each thread that renders: OpenGL binds a context to one thread.
        self._renderers: dict[int, MujocoRenderer] = {}
        self._model: Any = None
        self._data: Any = None

    def set_camera(self, camera: CameraSetup) -> None:
        """Render with this camera and light from now on."""
        self.camera = camera
        if not self.stale:
            aim(self.mujoco, self._model, self.camera)

    def move_static(self, name: str, at: Vector) -> None:
        """Move a static body [m]."""
        self.compiled().body(name).pos[:] = at

    def joints(self, name: str) -> Array:
        """Return the positions of a body's movable joints [m or rad]."""
        self.compiled()
        positions: Array = self._data.qpos[self._dofs[name]].copy()
        return positions

    def velocities(self, name: str) -> Array:
        """Return the velocities of a body's movable joints [m/s or rad/s]."""
        self.compiled()
        velocities: Array = self._data.qvel[self._dofs[name]].copy()
        return velocities

    def joint(self, name: str, number: int) -> float:
        """Return the position of one movable joint."""
        return float(self.joints(name)[number])

    def place(self, name: str, positions: Vector, velocities: Vector | None = None) -> None:
        """Set the positions of a body's movable joints, and their velocities if not at rest."""
        self.compiled()
        dofs = self._dofs[name]
        self._data.qpos[dofs] = positions
        self._data.qvel[dofs] = 0.0 if velocities is None else velocities

    def set_motors(self, name: str, velocities: Vector, force: float) -> None:
        """Set target velocities [m/s or rad/s] and the largest force [N or Nm] of the motors."""
        model, dofs = self.compiled(), self._dofs[name]
        target = self.gain * np.asarray(velocities, float)
        # As stiff as the force allows from the present velocity. At the limit of its force a motor
        # is integrated explicitly, and overshoots.
        missing = np.abs(target - self._data.qvel[dofs])
        stiffness = BELOW * force / np.maximum(missing, STIFFEST)
        # A joint has the number of its motor.
        model.actuator_gainprm[dofs, 0], model.actuator_biasprm[dofs, 2] = stiffness, -stiffness
        model.actuator_forcerange[dofs] = (-force, force)
        self._data.ctrl[dofs] = target

    def set_collisions(self, name: str, other: str, enabled: bool) -> None:
        """Turn collisions between two bodies on or off."""
        pair = frozenset((name, other))
        if (pair in self._apart) is enabled:
            (self._apart.discard if enabled else self._apart.add)(pair)
            if not self.stale:
                self._set_masks()

    def advance(self, substeps: int) -> None:
        """Run some fixed physics steps."""
        self.mujoco.mj_step(self.compiled(), self._data, substeps)

    def advance_with_forces(self, substeps: int, name: str, forces: Vector) -> None:
        """Run some fixed physics steps with forces [N or Nm] on the joints of one body."""
        model, dofs = self.compiled(), self._dofs[name]
        self._data.qfrc_applied[dofs] = self.gain * np.asarray(forces, float)
        self.mujoco.mj_step(model, self._data, substeps)
        self._data.qfrc_applied[dofs] = 0.0

    def advance_at_rest(self, substeps: int, name: str) -> None:
        """
        Run some fixed physics steps, and stop one body after each.

        The body moves only while it is pushed, as on a rough table: the quasi-static limit.
        """
        model, dofs = self.compiled(), self._dofs[name]
        for _ in range(substeps):
            self.mujoco.mj_step(model, self._data, 1)
            self._data.qvel[dofs] = 0.0

    def find_contacts(self) -> None:
        """Do nothing: contacts are detected in each step."""

    def render(self, size: int) -> Array:
        """Return the camera image (size, size, 3) uint8 RGB."""
        model = self.compiled()
        for compute in (self.mujoco.mj_kinematics, self.mujoco.mj_comPos, self.mujoco.mj_camlight):
            compute(model, self._data)
        thread = get_ident()
        renderer = self._renderers.get(thread)
        if renderer and size > renderer.size:
            renderer.close()
            renderer = None
        if renderer is None:
            renderer = self._renderers[thread] = MujocoRenderer(self.mujoco, model, size)
        return renderer.draw(self._data, size, self._changes)

    def visual_shapes(self) -> list[VisualShape]:
        """Return every visible shape of every body; its link is the number of the shape."""
        return [
            VisualShape(self.bodies[name], number, colour)
            for number, (name, _, colour, _) in enumerate(self.shapes)
        ]

    def set_colour(self, shape: VisualShape, colour: Vector) -> None:
        """Give a visible shape another colour."""
        self.compiled().geom_rgba[self._geoms[shape.link], :3] = colour

    def add_texture(self, image: Array) -> int:
        """Load a texture (H, W) or (H, W, 3) uint8."""
        side = list(TEXTURES.values())[image.ndim == 3]
        self._textures.append(cv2.resize(image, (side, side)))
        return len(self._textures) - 1

    def set_texture(self, shape: VisualShape, texture: int | None) -> None:
        """Cover a visible shape with a texture, or none; all share a grey and a colour one."""
        model = self.compiled()
        if texture is None:
            model.geom_matid[self._geoms[shape.link]] = -1
            return
        image = self._textures[texture]
        kind = int(image.ndim == 3)
        model.geom_matid[self._geoms[shape.link]] = kind
        values = image.ravel() if kind else np.repeat(image.ravel(), 3)
        begin = model.tex_adr[kind]
        model.tex_data[begin : begin + len(values)] = values
        self._changes[kind] += 1

    def links(self) -> list[Dynamics]:
        """Return the dynamics of every link of every body; link -1 is that of a static body."""
        model, links = self.compiled(), list[Dynamics]()
        for name, number in self.bodies.items():
            if name not in self.chains:
                links.append(Dynamics(number, -1, 0.0, (0, 0, 0), STATIC_FRICTION))
            for at, link in enumerate(self.chains.get(name, ())):
                body = model.body(f'{name} {at}')
                inertia = body.inertia.tolist()
                links.append(Dynamics(number, at, float(body.mass[0]), inertia, link.friction))
        return links

    def set_dynamics(self, link: Dynamics) -> None:
        """Change mass, inertia and friction of a link."""
        model = self.compiled()
        name = next(name for name, number in self.bodies.items() if number == link.body)
        body = model.body(f'{name} {link.link}')
        body.mass[:], body.inertia[:] = link.mass, link.inertia
        for number, shape in enumerate(self.shapes):
            if (shape.body, shape.link) == (name, link.link):
                set_friction(model.geom(self._geoms[number]), link.friction)

    def close(self) -> None:
        """Free what renders; legal twice."""
        self._forget_renderers()
        self.open = False

    def compiled(self) -> Any:
        """Return the MjModel, compiled anew if bodies were added."""
        self.require_open()
        if not self.stale:
            return self._model
        before = self._data
        self._model = self.spec.compile()
        self._data = self.mujoco.MjData(self._model)
        if before is not None:  # what was there keeps its joints; those of later bodies follow
            for name in ('qpos', 'qvel', 'ctrl'):
                known = getattr(before, name)
                getattr(self._data, name)[: len(known)] = known
        self._geoms = [self._model.geom(f'shape {n}').id for n in range(len(self.shapes))]
        self._dofs = {
            name: [
                int(self._model.joint(f'{name} {number}').dofadr[0])
                for number, link in enumerate(links)
                if link.joint != 'fixed'
            ]
            for name, links in self.chains.items()
        }
        for name, links in self.chains.items():  # versions differ in how to describe it before
            moving = [link.damping for link in links if link.joint != 'fixed']
            self._model.dof_damping[self._dofs[name]] = moving
        self.stale = False
        self._set_masks()
        aim(self.mujoco, self._model, self.camera)
        self._forget_renderers()
        return self._model

    def _forget_renderers(self) -> None:
        """Free the renderer of this thread; those of others end with their threads."""
        if renderer := self._renderers.pop(get_ident(), None):
            renderer.close()
        self._renderers.clear()

    def _set_masks(self) -> None:
        """Let each solid shape collide with those of all other bodies, but for pairs apart."""
        model = self._model
        solid = dict.fromkeys(shape.body for shape in self.shapes if shape.solid)
        bits = {name: 1 << number for number, name in enumerate(solid)}
        for number, shape in enumerate(self.shapes):
            if not shape.solid:
                continue
            others = sum(
                bit
                for other, bit in bits.items()
                if other != shape.body and frozenset((shape.body, other)) not in self._apart
            )
            geom = self._geoms[number]
            body = model.geom_bodyid[geom]  # the broad phase reads the masks of bodies
            model.geom_contype[geom] = model.body_contype[body] = bits[shape.body]
            model.geom_conaffinity[geom] = model.body_conaffinity[body] = others
