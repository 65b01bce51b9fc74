# SPDX-License-Identifier: Apache-2.0
"""Build smwm_interfaces with colcon and the generators from wheels, and load it."""

from ctypes import CDLL, RTLD_GLOBAL
import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest
from smwm_ros.nodes.messages import action_class

ROOT = Path(__file__).resolve().parents[2]
# The message packages from wheels name a folder of the machine on which they were compiled.
REPAIR = """
function(drop_folders_that_do_not_exist)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      list(FILTER folders EXCLUDE REGEX "^/opt/python/")
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()
endfunction()
cmake_language(DEFER CALL drop_folders_that_do_not_exist)
"""


def load_action(folder):
    """Return the class GoToImage: built in a folder, unless it is installed."""
    found = action_class('smwm_interfaces', 'GoToImage')
    return _build_and_load(folder) if found is None else found


def _build_and_load(folder):
    """Build the package in a folder, and return the class of its action."""
    for program in ('cmake', 'make', 'c++'):
        if shutil.which(program) is None:
            pytest.skip(f'smwm_interfaces cannot be built here: no {program}')
    if not (Path(sys.prefix) / 'share/rosidl_default_generators').is_dir():
        pytest.skip('smwm_interfaces cannot be built here: no rosidl_default_generators')
    prefix = build(folder)
    load_libraries(sorted(prefix.glob('lib/*.so')))
    (site,) = prefix.glob('lib/python3*/site-packages')
    sys.path.insert(0, str(site))
    for name in [name for name in sys.modules if name.partition('.')[0] == 'smwm_interfaces']:
        del sys.modules[name]  # the folder of the source
    return action_class('smwm_interfaces', 'GoToImage')


def build(folder):
    """Build the package in a folder with colcon; return its prefix."""
    repair = folder / 'repair.cmake'
    repair.write_text(REPAIR)
    words = ['--log-base', folder / 'log', 'build', '--base-paths', ROOT / 'smwm_interfaces']
    words += ['--build-base', folder / 'build', '--install-base', folder / 'install']
    words += ['--cmake-args', f'-DPython3_EXECUTABLE={sys.executable}']
    words += ['-DCMAKE_BUILD_TYPE=Debug', f'-DCMAKE_PROJECT_INCLUDE={repair}']
    env = {**os.environ, 'CMAKE_PREFIX_PATH': sys.prefix, 'AMENT_PREFIX_PATH': sys.prefix}
    env['PATH'] = f'{Path(sys.executable).parent}:{env["PATH"]}'
    command = [sys.executable, '-m', 'colcon', *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f'{done.stdout}\n{done.stderr}'
    return folder / 'install' / 'smwm_interfaces'


def load_libraries(libraries):
    """Load libraries that need each other: this process looks for them in no other way."""
    while libraries:
        left = []
        for library in libraries:
            try:
                CDLL(str(library), mode=RTLD_GLOBAL)
            except OSError:
                left.append(library)
        assert len(left) < len(libraries), f'cannot be loaded: {left}'
        libraries = left
