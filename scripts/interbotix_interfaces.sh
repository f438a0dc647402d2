#!/usr/bin/env bash
# Build interbotix_xs_msgs (the test copy in test/interfaces) for the Python of .venv, into .interfaces/.
# Only for the tests of the Interbotix backend on a machine without ROS 2; on a robot the real package
# is built with the driver (docs/robot.md). Needs g++, cmake, Python headers and a minute; GENERATOR names the script that
# runs rosidl against the wheels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
GENERATOR=${GENERATOR:-../shared/tools/generate_interfaces.sh}
PYTHON=${PYTHON:-.venv/bin/python}
[ -f "$GENERATOR" ] || { echo "interbotix_interfaces: $GENERATOR is not here; set GENERATOR=, or use a machine with ROS 2: colcon build --packages-select interbotix_xs_msgs"; exit 1; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
# A venv of its own: the generators want another setuptools than the simulator.
"$PYTHON" -m venv "$work/venv"
"$work/venv/bin/pip" install -q -r requirements/ros.txt
bash "$GENERATOR" "$work/venv" test/interfaces/interbotix_xs_msgs
site=$(cd "$work/venv" && echo lib/python3*/site-packages)
rm -rf .interfaces; mkdir -p ".interfaces/$site"
cp -r "$work/venv/$site/interbotix_xs_msgs" ".interfaces/$site/"
cp "$work/venv"/lib/libinterbotix_xs_msgs* .interfaces/lib/
echo "interbotix_interfaces: done. Now:  source scripts/interbotix_env.sh && make test"
