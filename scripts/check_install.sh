#!/usr/bin/env bash
# Shows that all four ways to install work: pip install, pip install -e, colcon build, and colcon
# build --symlink-install. Each happens in a copy of the tree and a throw-away venv; .venv and the
# working tree stay as they are. Takes one to two minutes, most of it downloads.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# The wheels' libraries and a sourced workspace would leak into what is checked.
unset LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONPATH AMENT_PREFIX_PATH COLCON_PREFIX_PATH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
say() { printf '[%4d s] %s\n' "$SECONDS" "$1"; }
quietly() {
    "$@" > "$scratch/log" 2>&1 || { tail -n 30 "$scratch/log" >&2; echo "failed: $*" >&2; exit 1; }
}
copy_tree() {  # a fresh copy for each install, so that no build product of one helps the next
    mkdir -p "$1"
    if git -C "$root" rev-parse --is-inside-work-tree > /dev/null 2>&1; then
        (cd "$root" && git ls-files -co --exclude-standard -z |
            while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
            tar -c --null -T -) | tar -x -C "$1"
    else
        tar -c -C "$root" --exclude=./.venv --exclude=./.setup --exclude=./build --exclude=./install \
            --exclude='*.egg-info' . | tar -x -C "$1"
    fi
}
make_venv() {
    quietly "$("$root/.venv/bin/python" -c 'import sys; print(sys._base_executable)')" -m venv "$1"
    quietly "$1/bin/python" -m pip install --disable-pip-version-check -r requirements/build.txt
}
check() {  # check PREFIX SCRIPTS KIND PYTHON: from outside the tree, so that it cannot help
    (cd "$scratch" && "$4" "$root/scripts/check_installed.py" --prefix "$1" --scripts "$2" --kind "$3")
}

say 'pip install .'
copy_tree "$scratch/pip"
make_venv "$scratch/pip-venv"
quietly "$scratch/pip-venv/bin/python" -m pip install --disable-pip-version-check \
    --no-deps --no-build-isolation "$scratch/pip"
rm -rf "$scratch/pip"
check "$scratch/pip-venv" "$scratch/pip-venv/bin" copied "$scratch/pip-venv/bin/python"

say 'pip install -e .'
copy_tree "$scratch/editable"
make_venv "$scratch/editable-venv"
quietly "$scratch/editable-venv/bin/python" -m pip install --disable-pip-version-check \
    --no-deps --no-build-isolation -e "$scratch/editable"
check "$scratch/editable" "$scratch/editable-venv/bin" source "$scratch/editable-venv/bin/python"

say 'colcon, from the package index'
make_venv "$scratch/colcon-venv"
quietly "$scratch/colcon-venv/bin/python" -m pip install --disable-pip-version-check \
    -r requirements/colcon.txt -c requirements/build.txt

for option in '' --symlink-install; do
    say "colcon build $option"
    workspace=$scratch/workspace$option
    copy_tree "$workspace/src/rlrc_ros"
    cd "$workspace"
    # A package.xml that does not validate makes it a plain Python package that ros2 cannot find.
    "$scratch/colcon-venv/bin/colcon" list > "$scratch/list" 2>&1
    grep -q 'ros.ament_python' "$scratch/list" || { cat "$scratch/list" >&2; exit 1; }
    # shellcheck disable=SC2086  # the empty option is no argument
    PATH=$scratch/colcon-venv/bin:$PATH quietly colcon build $option --event-handlers console_direct+
    cd "$root"
    kind=copied
    if [ -n "$option" ]; then
        kind=source
    else
        rm -rf "$workspace/src" "$workspace/build"
    fi
    (
        set +u  # colcon's scripts read variables that may be unset
        . "$workspace/install/setup.bash"
        set -u
        check "$workspace/install/rlrc_ros" "$workspace/install/rlrc_ros/lib/rlrc_ros" "$kind" \
            "$scratch/colcon-venv/bin/python"
    )
done
say 'all four installs work'
