# SPDX-License-Identifier: Apache-2.0
"""
The bodies of a world as MuJoCo describes them, before it compiles a model.

Shapes are described without collisions. Those can be turned on and off between bodies later, so
the masks are set in the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from smwm_ros.arenas.bodies import Colour, Link, Part, Vector
from smwm_ros.arenas.engine import import_mujoco
from smwm_ros.arenas.mujoco_renderer import CAMERA, LIGHT, TEXTURES
from smwm_ros.errors import ArenaError

STATIC_FRICTION = 0.5
THIN = 1e-4  # half the thickness of a sheet [m]
POINT = 0.02  # radius of gyration of a link without a shape [m]


class Shape(NamedTuple):
    """A visible shape of a body."""

    body: str
    link: int  # -1 for a static body
    colour: Colour
    solid: bool


class MujocoBodies:
    """A description of named bodies, a camera and a light."""

    def __init__(self, step: float, gravity: float) -> None:
        self.mujoco = import_mujoco()
        self.bodies: dict[str, int] = {}
        self.shapes: list[Shape] = []
        self.chains: dict[str, list[Link]] = {}
        self.spec = self._empty(step, gravity)
        self._stiff = [2.0 * step, 1.0]  # time constant and damping ratio of contacts and stops
        self.stale = self.open = True  # stale: a compiled model lacks bodies

    def require_open(self) -> None:
        """Raise if the world is closed."""
        if not self.open:
            raise ArenaError('the arena is closed; make a new one')

    def add_static(self, name: str, part: Part, at: Vector = (0, 0, 0)) -> None:
        """Add a body that no force moves."""
        body = self.spec.worldbody.add_body(name=name, pos=list(map(float, at)))
        self._begin(name)
        self._add_part(body, name, -1, part, STATIC_FRICTION)

    def add_box(
        self, name: str, centre: Vector, half: Vector, colour: Colour, solid: bool = True
    ) -> None:
        """Add a static box of half extents [m]."""
        self.add_static(name, Part('box', half, colour, solid=solid), centre)

    def add_chain(self, name: str, links: Sequence[Link]) -> None:
        """Add links; the first joint is fixed to the floor."""
        kinds = self.mujoco.mjtJoint
        self._begin(name)
        self.chains[name] = list(links)
        made = list[Any]()
        for number, link in enumerate(links):
            before = number - 1 if link.parent is None else link.parent
            parent = made[before] if before >= 0 else self.spec.worldbody
            body = parent.add_body(name=f'{name} {number}', pos=list(map(float, link.at)))
            made.append(body)
            if link.joint != 'fixed':
                kind = kinds.mjJNT_SLIDE if link.joint == 'slide' else kinds.mjJNT_HINGE
                joint = body.add_joint(name=f'{name} {number}', type=kind, axis=list(link.axis))
                if link.stop is not None:
                    joint.limited, joint.range = True, [-link.stop, link.stop]
                    joint.solref_limit = self._stiff
                self._add_motor(f'{name} {number}')
            if link.part:
                self._add_part(body, name, number, link.part, link.friction, link.mass)
            if link.mass and not (link.part and link.part.solid):
                body.mass, body.explicitinertial = link.mass, True
                body.inertia, body.ipos = [link.mass * POINT**2] * 3, [0.0] * 3

    def _empty(self, step: float, gravity: float) -> Any:
        """Return a description of a world with a camera and a light only."""
        mujoco = self.mujoco
        spec = mujoco.MjSpec()
        spec.compiler.degree = False  # angles are in radians
        spec.option.timestep, spec.option.gravity = step, [0, 0, -gravity]
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_WARMSTART
        spec.stat.extent, spec.visual.map.znear, spec.visual.map.zfar = 1.0, 0.05, 20.0
        spec.visual.map.shadowclip, spec.visual.quality.shadowsize = 2.0, 1024
        spec.visual.headlight.diffuse = spec.visual.headlight.specular = [0, 0, 0]
        spec.worldbody.add_camera(name=CAMERA)
        directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
        spec.worldbody.add_light(name=LIGHT, type=directional, castshadow=True)
        for name, side in TEXTURES.items():
            texture = spec.add_texture(
                name=name,
                type=mujoco.mjtTexture.mjTEXTURE_2D,
                width=side,
                height=side,
                nchannel=3,
            )
            texture.data = bytes([255]) * (3 * side**2)  # white
            material = spec.add_material(name=name, specular=0.0)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        return spec

    def _begin(self, name: str) -> None:
        """Give a new body a number."""
        self.require_open()
        self.bodies[name] = len(self.bodies)
        self.stale = True

    def _add_motor(self, joint: str) -> None:
        """Add a motor that follows a velocity; set_motors sets its force."""
        motor = self.spec.add_actuator(name=joint, target=joint)
        motor.trntype = self.mujoco.mjtTrn.mjTRN_JOINT
        motor.biastype = self.mujoco.mjtBias.mjBIAS_AFFINE
        motor.gainprm[0] = 0.0
        motor.forcelimited, motor.forcerange = True, [-1e-9, 1e-9]

    def _add_part(
        self, body: Any, name: str, link: int, part: Part, friction: float, mass: float = 0.0
    ) -> None:
        """Add a shape to a body."""
        forms, size = self.mujoco.mjtGeom, list(map(float, part.size))
        kinds = {'box': forms.mjGEOM_BOX, 'sheet': forms.mjGEOM_BOX, 'sphere': forms.mjGEOM_SPHERE}
        kind = kinds.get(part.form, forms.mjGEOM_CYLINDER)
        if part.form == 'cylinder':
            size[1] /= 2
        if part.form == 'sheet':
            size.append(THIN)
        geom = body.add_geom(
            name=f'shape {len(self.shapes)}',
            type=kind,
            size=[*size, 0.0, 0.0][:3],
            pos=list(map(float, part.at)),
            rgba=[*part.colour, 1.0],
            mass=mass if part.solid else 0.0,
            solref=self._stiff,
            contype=0,
            conaffinity=0,
        )
        set_friction(geom, friction)
        self.shapes.append(Shape(name, link, part.colour, part.solid))


def set_friction(geom: Any, friction: float) -> None:
    """Set the friction of a shape; of two shapes, the smoother one decides."""
    geom.friction[0] = friction
    geom.priority = round(1000 * (2.0 - min(friction, 2.0)))
