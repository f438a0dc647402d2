#!/usr/bin/env bash
# Runs a command of .venv: scripts/run.sh rlrc demo. Nodes find each other on this machine only,
# unless the caller has chosen a discovery range.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export ROS_AUTOMATIC_DISCOVERY_RANGE=${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}
export PATH=$PWD/.venv/bin:$PATH
exec "$@"
