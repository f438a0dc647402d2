#!/usr/bin/env bash
# Makes sure that SAPIEN can render. On a machine without a Vulkan device it installs Mesa's
# software driver, lavapipe: from the distribution, or on Debian 12, whose own Mesa is too old for
# SAPIEN, from bookworm-backports on the mirror that this machine already uses.
#   usage: scripts/vulkan.sh PYTHON [LOG]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SECONDS=${SETUP_SECONDS:-0}
python=${1:?usage: scripts/vulkan.sh PYTHON [LOG]}
log=${2:-/dev/stdout}
source_file=/etc/apt/sources.list.d/rlrc-backports.sources
# SAPIEN links libX11, OpenCV links libGL and GLib: absent on a minimal machine.
libraries=(libvulkan1 libx11-6 libgl1 libglib2.0-0)

probe() { PYTHONWARNINGS=ignore timeout 180 "$python" -m rlrc_sim.vulkan_probe 2>> "$log"; }
say() { printf '[%4d s] %s\n' "$SECONDS" "$1"; }

if found=$(probe); then
    say "Vulkan: $found"
    exit 0
fi
say "Vulkan: ${found:-the probe crashed}"

# --- what this distribution needs ---------------------------------------------------------------
. /etc/os-release
mesa=(mesa-vulkan-drivers)
source_text=
if [ "${VERSION_CODENAME:-}" = bookworm ]; then
    mesa=(-t bookworm-backports mesa-vulkan-drivers)
    source_text=$("$python" scripts/backports_source.py /etc/apt bookworm)
elif ! command -v apt-get > /dev/null; then
    cat >&2 <<HELP

set-up stopped: SAPIEN finds no Vulkan device, and ${PRETTY_NAME:-this system} has no apt-get.
Install a GPU's Vulkan driver, or Mesa's lavapipe (Mesa 23.1 or newer), then type:  make setup
HELP
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
        as_root=(sudo -n)
    else
        {
            printf '\nset-up stopped: SAPIEN finds no Vulkan device, and installing one needs root. Type:\n\n'
            if [ -n "$source_text" ]; then
                printf "sudo tee %s > /dev/null <<'EOF'\n%s\nEOF\n" "$source_file" "$source_text"
            fi
            printf 'sudo apt-get update\n'
            printf 'sudo apt-get install -y --no-install-recommends %s\n' "${libraries[*]}"
            printf 'sudo apt-get install -y --no-install-recommends %s\n' "${mesa[*]}"
            printf 'make setup\n'
        } >&2
        exit 1
    fi
fi

# --- install ------------------------------------------------------------------------------------
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" \
        >> "$log" 2>&1 && return
    tail -n 15 "$log" >&2
    printf '\nset-up stopped: apt-get %s failed; see .setup/log\n' "$*" >&2
    exit 1
}
say 'Vulkan: installing Mesa lavapipe, a software driver ...'
if [ -n "$source_text" ]; then
    printf '%s\n' "$source_text" | "${as_root[@]}" tee "$source_file" > /dev/null
fi
apt update
apt install -y --no-install-recommends "${libraries[@]}"
apt install -y --no-install-recommends "${mesa[@]}"

if found=$(probe); then
    say "Vulkan: $found"
    exit 0
fi
cat >&2 <<HELP

set-up stopped: SAPIEN still cannot render: ${found:-the probe crashed}
Mesa here: $(dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2> /dev/null || echo none). See .setup/log, and type:
  .venv/bin/python -m rlrc_sim.vulkan_probe
HELP
exit 1
