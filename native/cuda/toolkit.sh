#!/bin/sh
# Brings a CUDA toolkit into build/cuda-toolkit where none is installed: native/cuda/toolkit.sh [--compiler-only]
#   --compiler-only   nvcc and its headers (0.3 GB) without cuBLAS, cuDNN and NCCL (1.5 GB); what calls these is not built then
# What is there already is left alone: a second call needs no network, and one that was cut short goes on with the next wheel.
# PYTHON names the interpreter with pip. Exit code 4: there is no Python with pip, or the wheels could not be had.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd -P)
toolkit=$root/build/cuda-toolkit
home=$toolkit/home
libraries=$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$root/native/cuda/libraries.txt")
case ${1:-} in
  "") ;;
  --compiler-only) libraries= ;;
  *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

python=${PYTHON:-python3}
install() { # NAME LIST PIP-OPTION...: into wheels/NAME, unless exactly this list was installed before
  name=$1 list=$2
  shift 2
  if [ -e "$toolkit/$name.txt" ] && cmp -s "$list" "$toolkit/$name.txt"; then return; fi
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "native/cuda/toolkit.sh: no CUDA Toolkit and no Python with pip to bring one. Install the CUDA Toolkit >= 12.4, or" \
      "python3 and python3-pip (PYTHON names another interpreter)" >&2
    exit 4
  fi
  echo "CUDA: installing $name into $toolkit"
  rm -rf "$toolkit/$name.txt" "$toolkit/wheels/$name" "$home/contents"
  # pip unpacks into its temporary folder and moves from there: on the same disk, that copies nothing.
  if ! TMPDIR=$toolkit/tmp "$python" -m pip --quiet --disable-pip-version-check install --no-deps --no-compile \
    --target "$toolkit/wheels/$name" --requirement "$list" "$@" >"$toolkit/pip.log" 2>&1; then
    echo "native/cuda/toolkit.sh: the wheels of $name could not be installed:" >&2
    tail -n 3 "$toolkit/pip.log" >&2
    exit 4
  fi
  mv "$list" "$toolkit/$name.txt"
}

rm -rf "$toolkit/tmp"
mkdir -p "$toolkit/tmp"
# The compiler's wheels make one tree: nvcc finds its headers beside its own real path.
cp "$root/native/cuda/requirements.txt" "$toolkit/tmp/list"
install compiler "$toolkit/tmp/list"
# Each library by itself, so that little is lost where this is cut short; pip's cache would keep all of it once more.
for name in $libraries; do
  sed -n "/^$name==/,/[^\\\\]\$/p" "$root/native/cuda/libraries.txt" >"$toolkit/tmp/list"
  case $name in
    # Headers, packed once for each Python and processor: any will do.
    nvidia-cudnn-frontend) set -- --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_x86_64 ;;
    *) set -- ;;
  esac
  install "$name" "$toolkit/tmp/list" --no-cache-dir "$@"
done
rm -rf "$toolkit/tmp"

# One tree with a toolkit's usual names: the wheels keep libraries apart, and have no unversioned ones.
link() {
  rm -rf "$home"
  mkdir -p "$home/include" "$home/lib"
  cd "$toolkit"
  for part in bin nvvm; do ln -s ../"$(ls -d wheels/compiler/nvidia/cu[0-9]*/$part)" "$home/$part"; done
  for name; do
    for file in wheels/"$name"/nvidia/*/include/* wheels/"$name"/include/*; do [ ! -e "$file" ] || ln -sf "../../$file" "$home/include/"; done
    for file in wheels/"$name"/nvidia/*/lib/*; do
      [ -e "$file" ] || continue
      ln -sf "../../$file" "$home/lib/"
      library=$(basename "$file")
      case $library in *.so.*) ln -sf "$library" "$home/lib/${library%%.so.*}.so" ;; esac
    done
  done
  ln -s lib "$home/lib64"
  echo "$@" >"$home/contents"
}
set -- compiler $libraries
[ "$(cat "$home/contents" 2>/dev/null)" = "$*" ] || link "$@"
"$home/bin/nvcc" --version | tail -n 2 | head -n 1
