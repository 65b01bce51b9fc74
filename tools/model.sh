#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Train models/two_room again, the small checkpoint of the package, on half an hour of
# simulated driving, the shipped configuration, seed 0. Takes some minutes on two cores.
set -eu
cd "$(dirname "$0")/.."
work=runs/model
smwm=.venv/bin/smwm
"$smwm" collect two_room --out "$work/bags"
"$smwm" convert "$work/bags" --out "$work/dataset" --config two_room
# With walls in the way, plans need the roadmap, which smwm prepare builds.
"$smwm" train "$work/dataset" --out "$work/run" --config two_room planner.kind=roadmap
"$smwm" prepare "$work/run" --data "$work/dataset"
"$smwm" evaluate "$work/run" --data "$work/dataset"
mkdir -p models/two_room
cp "$work/run/meta.json" models/two_room/
for name in model album roadmap proposals; do
    cp "$work/run/$name".* models/two_room/
done
echo 'models/two_room is new'
