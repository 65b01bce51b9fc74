# SPDX-License-Identifier: Apache-2.0
"""The camera of MuJoCo: renders offscreen with EGL or OSMesa."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from smwm_ros.arenas.bodies import CameraSetup
from smwm_ros.arenas.engine import no_renderer
from smwm_ros.interfaces import Array

CAMERA, LIGHT = 'camera', 'light'  # names in the model
TEXTURES = {'pattern': 64, 'floor': 512}  # sides of the grey texture and the coloured one [px]
AWAY = 4.0  # of the light, which is as strong everywhere [m]


class MujocoRenderer:
    """Renders a model offscreen, with EGL or OSMesa."""

    def __init__(self, mujoco: Any, model: Any, size: int) -> None:
        self._mujoco, self._model, self.size = mujoco, model, size
        self._changes = [0] * len(TEXTURES)
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        # Mesa and triton, which torch for CUDA brings, each hold an LLVM. A process that loads the
        # one of Mesa first crashes as soon as torch imports triton.
        with suppress(ImportError):
            import triton  # noqa: F401 - loading it is all
        try:
            self._gl = mujoco.GLContext(size, size)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # of many types, from PyOpenGL and from the driver
            raise no_renderer(error) from None
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = model.camera(CAMERA).id

    def draw(self, data: Any, size: int, changes: Sequence[int]) -> Array:
        """Return an image (size, size, 3) uint8 RGB, with textures that changed so many times."""
        mujoco, everything = self._mujoco, self._mujoco.mjtCatBit.mjCAT_ALL.value
        self._gl.make_current()
        for texture, count in enumerate(changes):
            if count != self._changes[texture]:
                mujoco.mjr_uploadTexture(self._model, self._context, texture)
                self._changes[texture] = count
        mujoco.mjv_updateScene(
            self._model, data, self._option, None, self._view, everything, self._scene
        )
        field, image = mujoco.MjrRect(0, 0, size, size), np.empty((size, size, 3), np.uint8)
        mujoco.mjr_render(field, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, field, self._context)
        return np.ascontiguousarray(image[::-1])  # OpenGL begins at the bottom

    def close(self) -> None:
        """Free the context."""
        self._gl.make_current()
        self._context.free()
        self._gl.free()


def aim(mujoco: Any, model: Any, setup: CameraSetup) -> None:
    """Set camera and light in a model."""
    eye, target = np.asarray(setup.eye, float), np.asarray(setup.target, float)
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(np.asarray(setup.up, float), back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back], axis=1)
    camera, light = model.camera(CAMERA), model.light(LIGHT)
    camera.pos[:], camera.fovy[:] = eye, setup.fov
    mujoco.mju_mat2Quat(camera.quat, axes.ravel())
    towards = np.asarray(setup.light, float) / np.linalg.norm(setup.light)
    light.pos[:], light.dir[:] = target + AWAY * towards, -towards
    light.ambient[:], light.diffuse[:], light.specular[:] = 0.0, setup.diffuse, 0.0
    model.vis.headlight.ambient[:] = setup.ambient  # of the light it would be in no shadow
