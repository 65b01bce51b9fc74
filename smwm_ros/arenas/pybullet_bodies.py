# SPDX-License-Identifier: Apache-2.0
"""The bodies of a world as pybullet makes them, in a client of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smwm_ros.arenas.bodies import Colour, Link, Part, Vector
from smwm_ros.arenas.engine import import_pybullet
from smwm_ros.errors import ArenaError

CORNERS = ((-1, -1), (1, -1), (1, 1), (-1, 1))  # of a sheet
FIRM = 1e4  # largest force of a stop [N or Nm]


class PybulletBodies:
    """Named bodies in a headless client, before anything moves."""

    def __init__(self) -> None:
        self.bullet = import_pybullet()
        self._client: int | None = self.bullet.connect(self.bullet.DIRECT)
        self.bodies: dict[str, int] = {}
        self._moving: dict[str, list[int]] = {}  # indices of a body's joints that are not fixed

    @property
    def client(self) -> int:
        """Return the pybullet client; raise if it is closed."""
        if self._client is None:
            raise ArenaError('the arena is closed; make a new one')
        return self._client

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

    def add_chain(self, name: str, links: Sequence[Link]) -> None:
        """Add links; the first joint is fixed to the floor."""
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
            linkInertialFramePositions=[link.centre for link in links],
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
        for at, link in enumerate([Link('fixed'), *links], start=-1):
            stop = {}
            if link.stop is not None:
                stop = {'jointLowerLimit': -link.stop, 'jointUpperLimit': link.stop}
                stop['jointLimitForce'] = FIRM
            bullet.changeDynamics(
                body,
                at,
                lateralFriction=link.friction,
                linearDamping=0.0,  # pybullet's own damping of bodies
                angularDamping=0.0,
                jointDamping=link.damping,
                physicsClientId=self.client,
                **stop,
            )

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


def form_of(part: Part, height: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a form, and its sizes; `height` is the name of a cylinder's height."""
    size = part.size
    if part.form == 'box':
        return 'GEOM_BOX', {'halfExtents': size}
    if part.form == 'sphere':
        return 'GEOM_SPHERE', {'radius': size[0]}
    if part.form == 'sheet':  # a box would show a part of a texture only
        return 'GEOM_MESH', {
            'vertices': [(x * size[0], y * size[1], 0.0) for x, y in CORNERS],
            'indices': [0, 1, 2, 0, 2, 3],
            'uvs': [((1 + x) / 2, (1 + y) / 2) for x, y in CORNERS],
            'normals': [(0.0, 0.0, 1.0)] * len(CORNERS),
        }
    return 'GEOM_CYLINDER', {'radius': size[0], height: size[1]}
