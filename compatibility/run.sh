#!/usr/bin/env bash
# Do transformers, PEFT, gguf and llama.cpp read what rlhf4j writes, and compute the same? See README.md beside this file.
#
#   run.sh [--model FILE.gguf|FOLDER] [--work FOLDER] | --install
#
#   --model   also on this model (for example SmolLM2-135M-Instruct), beside the tiny ones that the script makes
#   --work    where files are written (default: build/compatibility)
#   --install only makes build/compatibility-venv
#
# RLHF4J_COMPATIBILITY_VENV   a Python environment that is there already: nothing is installed
# PYTHON                      the Python that makes build/compatibility-venv otherwise (default: python3)
# PIP_SECONDS                 the time that pip may take (default: 360)
#
# Status: 0 all equal; 1 something differs; 4 skipped, since Python or the packages could not be had.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
case ${1:-} in
  -h | --help)
    sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

skip() {
  echo "compatibility: skipped: $*"
  exit 4
}

venv=${RLHF4J_COMPATIBILITY_VENV:-}
if [[ -n $venv ]]; then
  [[ -x $venv/bin/python ]] || skip "RLHF4J_COMPATIBILITY_VENV is $venv, which has no bin/python"
else
  venv=$root/build/compatibility-venv
  stamp=$venv/requirements.installed
  mkdir -p "$root/build"
  if command -v flock >/dev/null; then
    exec 9>"$venv.lock" && flock 9 # one at a time
  fi
  if ! cmp -s "$here/requirements.txt" "$stamp"; then
    python=${PYTHON:-python3}
    command -v "$python" >/dev/null || skip "there is no $python"
    echo "installing requirements.txt into $venv" >&2
    [[ -x $venv/bin/python ]] || "$python" -m venv "$venv" || skip "$python -m venv failed"
    timeout "${PIP_SECONDS:-360}" "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
      skip "pip could not install requirements.txt within ${PIP_SECONDS:-360} seconds"
    cp "$here/requirements.txt" "$stamp"
  fi
fi
[[ ${1:-} == --install ]] && exit 0
"$venv/bin/python" -c 'import torch, transformers' 2>/dev/null || skip "$venv has no torch and transformers"

export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" "$here/check.py" --rlhf4j "$root/rlhf4j" --work "$root/build/compatibility" "$@"
