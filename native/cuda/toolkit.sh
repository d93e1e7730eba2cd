#!/bin/sh
# Brings a CUDA toolkit into build/cuda-toolkit where none is installed: native/cuda/toolkit.sh [--libraries]
#   --libraries   cuBLAS, cuDNN and NCCL too: nothing of the build links them yet, and they are large
# What is there already is left alone, so a second call needs no network. PYTHON names the interpreter with pip.
# Exit code 4: there is no Python with pip, or the wheels could not be had.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd -P)
toolkit=$root/build/cuda-toolkit
lists=requirements.txt
case ${1:-} in
  "") ;;
  --libraries) lists="requirements.txt libraries.txt" ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

python=${PYTHON:-python3}
install() { # LIST: unless exactly this list was installed before
  list=$root/native/cuda/$1
  if [ -e "$toolkit/$1" ] && cmp -s "$list" "$toolkit/$1"; then return; fi
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "native/cuda/toolkit.sh: no CUDA Toolkit and no Python with pip to bring one. Install the CUDA Toolkit >= 12.4, or" \
      "python3 and python3-pip (PYTHON names another interpreter)" >&2
    exit 4
  fi
  echo "CUDA: installing $1 into $toolkit"
  rm -f "$toolkit/$1"
  if ! "$python" -m pip --quiet --disable-pip-version-check install --no-deps --upgrade --target "$toolkit/wheels/$1" \
    --requirement "$list" >"$toolkit/pip.log" 2>&1; then
    echo "native/cuda/toolkit.sh: the wheels of native/cuda/$1 could not be installed:" >&2
    tail -n 3 "$toolkit/pip.log" >&2
    exit 4
  fi
  cp "$list" "$toolkit/$1"
}
mkdir -p "$toolkit"
for list in $lists; do install "$list"; done

# One tree with a toolkit's usual names: the wheels keep libraries apart, and have no unversioned ones.
home=$toolkit/home
mkdir -p "$home/include" "$home/lib"
link() { ln -sfn "$1" "$2"; }
for part in bin nvvm; do link "$(ls -d "$toolkit"/wheels/requirements.txt/nvidia/cu[0-9]*/$part)" "$home/$part"; done
for folder in "$toolkit"/wheels/*/nvidia/*; do # a folder per list, since pip replaces what a target holds
  for file in "$folder"/include/*; do [ -e "$file" ] && link "$file" "$home/include/$(basename "$file")"; done
  for file in "$folder"/lib/*; do
    [ -e "$file" ] || continue
    name=$(basename "$file")
    link "$file" "$home/lib/$name"
    case $name in *.so.*) link "$file" "$home/lib/${name%%.so.*}.so" ;; esac
  done
done
link lib "$home/lib64"
# nvcc finds its headers beside its own real path.
"$home/bin/nvcc" --version | tail -n 2 | head -n 1
