#!/bin/sh
# Builds the native library: native/build.sh [--tests] [--compiler-only] [PRESET]     PRESET: cpu (default), cuda or asan
#   --tests           the test programs too (needs GoogleTest); with cuda, those that the emulator of a GPU runs
#   --compiler-only   with cuda, in a new build folder: fetches the compiler, and not cuBLAS, cuDNN and NCCL (1.5 GB)
# cuda builds librlhf4j_cuda beside librlhf4j; compiler and libraries are fetched where no CUDA Toolkit is installed (exit code 4
# if they cannot be had). No GPU and no driver are needed.
# Does no more than `cmake --preset` and `cmake --build --preset` would, with Ninja where it is installed, and names what is
# missing on a bare machine.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)

tests=OFF
libraries=ON
preset=cpu
for arg; do
  case $arg in
    --tests) tests=ON ;;
    --compiler-only) libraries=OFF ;;
    -*) echo "native/build.sh: unknown option $arg" >&2; exit 2 ;;
    *) preset=$arg ;;
  esac
done
dir=$root/build/$preset

missing=
have() { command -v "$1" >/dev/null 2>&1; }
need() { missing="$missing
  $1: install the package $2"; }
{ [ -n "${CXX:-}" ] && have "${CXX%% *}"; } || have c++ || have g++ || have clang++ || need "a C++20 compiler (GCC >= 11 or clang >= 14)" "g++"
if ! have cmake; then
  need "cmake >= 3.21" "cmake"
else
  version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
  case $version in
    [0-2].* | 3.[0-9] | 3.1[0-9] | 3.20) need "cmake >= 3.21 (found $version)" "cmake" ;;
  esac
fi
have ninja || have make || need "ninja or make" "ninja-build"
if [ -n "$missing" ]; then
  echo "The native library cannot be built. Missing (package names are Debian's and Ubuntu's):$missing" >&2
  exit 3
fi

if [ "$preset" = cuda ] && ! have nvcc && [ ! -x "${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}/bin/nvcc" ]; then
  # A build folder keeps to what it was made with. Exits with 4 where it cannot.
  if [ -f "$dir/CMakeCache.txt" ]; then
    libraries=$(sed -n 's/^RLHF4J_CUDA_LIBRARIES:BOOL=//p' "$dir/CMakeCache.txt")
  fi
  if [ "$libraries" = OFF ]; then "$root/native/cuda/toolkit.sh" --compiler-only; else "$root/native/cuda/toolkit.sh"; fi
fi

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
cd "$root"
# CMake writes build.ninja or Makefile last: a configure step that failed is done again.
if { [ ! -f "$dir/build.ninja" ] && [ ! -f "$dir/Makefile" ]; } || { [ $tests = ON ] && ! grep -q '^RLHF4J_TESTS:BOOL=ON' "$dir/CMakeCache.txt"; }; then
  have ninja && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
  case $preset in cuda) set -- "-DRLHF4J_CUDA_LIBRARIES=${libraries:-ON}" ;; *) set -- ;; esac
  cmake --preset "$preset" -DRLHF4J_TESTS=$tests "$@"
fi
case $preset-$tests in
  cuda-OFF) set -- --target rlhf4j_cuda ;;
  *-ON) set -- ;;
  *) set -- --target rlhf4j ;;
esac
cmake --build --preset "$preset" --parallel "$jobs" "$@"
