# Source this from the root of the clone: lets Python find what interbotix_interfaces.sh built.
export PYTHONPATH="$(echo "$PWD"/.interfaces/lib/python3*/site-packages)${PYTHONPATH:+:$PYTHONPATH}"
export LD_LIBRARY_PATH="$PWD/.interfaces/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
