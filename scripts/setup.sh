#!/usr/bin/env bash
# Makes .venv ready: pinned Python packages, ROS 2 (the system's, or wheels), a Vulkan device for
# the simulated arm, and this package in editable form. Idempotent; a stamp in .venv makes the second
# run immediate, and a run that was interrupted is taken up where it stopped.
#   PYTHON=/usr/bin/python3.12 make setup     to choose the interpreter
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=$root/.venv
state=$root/.setup
log=$state/log
stamp_file=$venv/.rlrc-setup

# A shell started from a Python with the ROS wheels hands down that Python's libraries.
if [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ]; then
    unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
fi

stamp() {
    {
        echo "root $root"
        echo "ros ${ROS_DISTRO:-none}"
        cat requirements/*.txt setup.py setup.cfg scripts/setup.sh scripts/vulkan.sh
    } | sha256sum | cut -d ' ' -f 1
}
if [ -x "$venv/bin/rlrc" ] && [ "$(cat "$stamp_file" 2>/dev/null)" = "$(stamp)" ]; then
    exit 0
fi

fail() { printf '\nset-up stopped: %s\n' "$1" >&2; exit 1; }

# --- progress ---------------------------------------------------------------------------------
ticker=
stop_ticker() {
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        ticker=
    fi
}
trap stop_ticker EXIT
trap 'stop_ticker; printf "\nset-up interrupted: the next run goes on from here\n" >&2; exit 130' INT TERM

say() { printf '[%4d s] %s\n' "$SECONDS" "$1"; }

quietly() {  # quietly TITLE COMMAND...: one line on the screen, everything else in the log
    local title=$1 status=0
    shift
    if [ -t 1 ]; then
        (while :; do printf '\r[%4d s] %s ...' "$SECONDS" "$title"; sleep 1; done) &
        ticker=$!
    else
        say "$title ..."
    fi
    printf '\n== %s: %s\n' "$title" "$*" >> "$log"
    "$@" >> "$log" 2>&1 || status=$?
    stop_ticker
    if [ -t 1 ]; then printf '\r[%4d s] %s    \n' "$SECONDS" "$title"; fi
    if [ "$status" -ne 0 ]; then
        tail -n 25 "$log" >&2
        fail "$title failed (status $status); the whole log is .setup/log"
    fi
}

mkdir -p "$state"
: > "$log"
if command -v flock > /dev/null; then
    exec 9> "$state/lock"
    flock -n 9 || { say 'waiting for another set-up of this folder'; flock 9; }
    if [ "$(cat "$stamp_file" 2>/dev/null)" = "$(stamp)" ]; then exit 0; fi
fi

# --- which Python, and whose ROS 2 ------------------------------------------------------------
ros_modules='rclpy, diagnostic_msgs.msg, geometry_msgs.msg, lifecycle_msgs.srv, rosgraph_msgs.msg,
sensor_msgs.msg, std_msgs.msg, std_srvs.srv, trajectory_msgs.msg'
import_ros="import ${ros_modules//$'\n'/ }"

good_version() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}
choose_python() {  # with ROS 2 sourced, only an interpreter that can import its rclpy will do
    local candidate
    for candidate in ${PYTHON:-} python3 python3.12 python3.11 /usr/bin/python3; do
        candidate=$(command -v "$candidate") || continue
        case $candidate in "$venv"/*) continue ;; esac
        good_version "$candidate" || continue
        if [ "$ros" = wheels ] || "$candidate" -c "$import_ros" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

ros=wheels
if [ -n "${ROS_DISTRO:-}" ]; then ros=system; fi
if ! python=$(choose_python); then
    if [ "$ros" = system ]; then
        fail "ROS 2 $ROS_DISTRO is sourced, but no Python 3.11 or 3.12 here can import all of:
  ${ros_modules//$'\n'/ }
Type:  sudo apt-get install ros-$ROS_DISTRO-ros-base ros-$ROS_DISTRO-trajectory-msgs ros-$ROS_DISTRO-diagnostic-msgs
or, to do without the system's ROS 2, open a shell that does not source it and type:  make setup"
    fi
    fail "Python 3.11 or 3.12 is needed; found: $(python3 --version 2>&1 || echo none).
Type:  sudo apt-get install python3 python3-venv       (Debian 12, Ubuntu 24.04)
or name one:  PYTHON=/path/to/python3.12 make setup"
fi
if [ "$ros" = system ]; then
    say "ROS 2 $ROS_DISTRO is sourced: its rclpy is used, no ROS wheel is installed"
fi

# --- .venv ------------------------------------------------------------------------------------
if [ -e "$state/making-venv" ]; then rm -rf "$venv"; fi
if [ ! -x "$venv/bin/python" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv module.
Type:  sudo apt-get install python3-venv"
    venv_options=()
    if [ "$ros" = system ]; then venv_options=(--system-site-packages); fi
    touch "$state/making-venv"
    quietly ".venv with $("$python" --version)" "$python" -m venv "${venv_options[@]}" "$venv"
    rm "$state/making-venv"
fi
good_version "$venv/bin/python" || fail "$venv holds $("$venv/bin/python" --version 2>&1); Python 3.11 or 3.12 is needed.
Type:  rm -rf .venv && make setup"
venv_ros=wheels
if grep -qi '^include-system-site-packages *= *true' "$venv/pyvenv.cfg"; then venv_ros=system; fi
[ "$ros" = "$venv_ros" ] || fail ".venv was made for the $venv_ros ROS 2, this shell is set for the $ros one.
Two builds of rclpy in one process crash. Type:  rm -rf .venv && make setup"

# --- packages ---------------------------------------------------------------------------------
pip_install() {  # pip_install STAGE TITLE ARGUMENTS...
    local marker=$venv/.rlrc-installing-$1 again=()
    # A package whose files an interrupt left half-written looks installed to pip; install over it.
    if [ -e "$marker" ]; then again=(--ignore-installed); fi
    touch "$marker"
    quietly "$2" "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
        --progress-bar off --retries 10 "${again[@]}" "${@:3}"
    rm "$marker"
}
torch=$(sed '/^#/d' requirements/torch.txt)
pip_install build 'build tools' -r requirements/build.txt
pip_install torch "$torch (the largest download)" -c requirements/build.txt \
    -c requirements/constraints.txt -r requirements/torch.txt
ros_wheels=()
title='ManiSkill, transformers, pinocchio, pytest'
if [ "$ros" = wheels ]; then
    ros_wheels=(-r requirements/ros.txt)
    title="$title, ROS 2 Jazzy wheels"
fi
pip_install everything "$title" -c requirements/constraints.txt -c requirements/torch.txt \
    -c requirements/build.txt -r requirements/runtime.txt -r requirements/test.txt "${ros_wheels[@]}"
pip_install own 'rlrc_ros, editable' --no-deps --no-build-isolation -e .

# --- what is outside .venv --------------------------------------------------------------------
"$venv/bin/python" -c "$import_ros" >> "$log" 2>&1 || { tail -n 5 "$log" >&2; fail "rclpy or a message package cannot be imported.
Type:  .venv/bin/python -c '$import_ros'"; }
SETUP_SECONDS=$SECONDS bash scripts/vulkan.sh "$venv/bin/python" "$log"

stamp > "$stamp_file"
say 'set-up done'
