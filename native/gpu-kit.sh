#!/usr/bin/env bash
# Makes the kit that native/gpu-check.sh runs on a machine with a GPU: native/gpu-kit.sh [--emulator] FOLDER|FILE.tar.gz|FILE.tar.xz
#   --emulator   the emulated GPU too, to try the kit where there is none
# .tar.xz is smaller (under 64 MiB) and takes minutes.
# The kit needs no JDK, compiler or network: a trimmed Java run time, the jars, the stripped libraries and test programs, and the
# golden data (RLHF4J_GOLDEN, else ../shared/golden). Here a JDK >= 22 is needed, and what native/build.sh cuda needs.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
emulator=
if [[ ${1:-} == --emulator ]]; then
  emulator=yes
  shift
fi
if (($# != 1)) || [[ $1 == -* ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0"
  exit 2
fi
target=$(realpath -m -- "$1")
golden=${RLHF4J_GOLDEN:-$root/../shared/golden}
[[ -e $golden/ops.safetensors ]] || { echo "gpu-kit: no golden data in $golden; RLHF4J_GOLDEN names it" >&2; exit 1; }
golden=$(realpath -- "$golden")
cd "$root"

. .mvn/jdk.sh
find_jdk 22 || { jdk_missing; exit 3; }
[[ -x $JDK/bin/jlink ]] || { echo "gpu-kit: $JDK has no jlink: a JDK is needed, not a run time" >&2; exit 3; }

say() { echo "gpu-kit: $*" >&2; }
case $target in
  *.tar.gz | *.tar.xz)
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    kit=$work/rlhf4j-gpu-check
    ;;
  *.tar*) say "expected a folder, FILE.tar.gz or FILE.tar.xz, found $1" && exit 2 ;;
  *)
    kit=$target
    [[ ! -e $kit || -e $kit/gpu-check.sh ]] || { say "$kit is there, and is no kit"; exit 2; }
    rm -rf "$kit"
    ;;
esac
mkdir -p "$kit"/{lib,tests,jars}

say "building (log: build/gpu-check/kit.log)"
mkdir -p build/gpu-check
log=$root/build/gpu-check/kit.log
: >"$log"
quietly() { "$@" >>"$log" 2>&1 || { say "failed: $*; the end of $log:"; tail -n 20 "$log" >&2; exit 1; }; }
[[ ${RLHF4J_BUILD:-} == no ]] || quietly native/build.sh --tests cuda
quietly .mvn/maven.sh -q package -DskipTests -Dnative.skip=true -Dnative.jar.phase=none -Dspotless.check.skip=true
quietly .mvn/maven.sh -q -N dependency:copy -Dartifact=org.junit.platform:junit-platform-console-standalone:1.11.4 \
  -DoutputDirectory="$kit/jars"

# ---- native: without debugging information
libraries=(libdnnl.so.3 libgomp.so.1 librlhf4j.so librlhf4j_cuda.so)
[[ -z $emulator ]] || libraries+=(librlhf4j_emulated.so)
for library in "${libraries[@]}"; do cp -L "build/cuda/lib/$library" "$kit/lib/"; done
for library in build/cuda/lib/cuda/{libcublasLt,libcudnn}.so.*; do # the names of what is opened at run time
  if [[ $library =~ [.]so[.][0-9]+$ ]]; then basename "$library" >>"$kit/LIBRARIES"; fi
done
# The machine's own may be older than the compiler's.
for library in libstdc++.so.6 libgcc_s.so.1; do cp -L "$(${CXX:-c++} -print-file-name=$library)" "$kit/lib/"; done
for program in build/cuda/tests/*_test; do
  case $program in
    */checker_test | */ptx_test | */cublaslt_test | */cudnn_test) ;;            # of the emulator
    */abi_test | */abi_fuzz_test | */philox_test | */rl_properties_test) ;; # of no device
    *) cp "$program" "$kit/tests/" ;;
  esac
done
strip --strip-unneeded "$kit"/lib/* "$kit"/tests/*

# ---- Java: one platform's natives, no reader of Parquet and CSV (80 MB); large jars unpacked, for the archive to do it better
for part in bindings:rlhf4j-bindings java-core:rlhf4j-core benchmarks:rlhf4j-benchmarks; do
  for jar in "${part%%:*}/target/${part##*:}"-*.jar; do
    case $jar in
      *-linux-*.jar | *-macosx-*.jar | *-sources.jar | *-javadoc.jar) ;;
      *) cp "$jar" "$kit/jars/" ;;
    esac
  done
done
{ tr : '\n' <benchmarks/target/classpath && echo; } | while read -r jar; do
  case $jar in
    *.jar) [[ $jar == */rlhf4j-* || $jar == */duckdb_jdbc-* ]] || cp "$jar" "$kit/jars/" ;;
  esac
done
find "$kit/jars" -name '*.jar' -size +500k | while read -r jar; do
  (
    content=$(mktemp -d)
    cd "$content"
    "$JDK/bin/jar" xf "$jar"
    if [[ $jar == */tokenizers-* ]]; then
      platform=linux-$(uname -m)
      find native/lib -mindepth 1 -maxdepth 1 -type d ! -name "$platform" -exec rm -r {} +
      find "native/lib/$platform" -mindepth 1 -maxdepth 1 -type d ! -name cpu -exec rm -r {} +
      strip --strip-unneeded "native/lib/$platform/cpu/"*.so
    elif [[ $jar == */jna-* ]]; then
      find com/sun/jna -name '*jnidispatch*' ! -path "*/linux-$(uname -m | tr _ -)/*" -delete
    fi
    "$JDK/bin/jar" c0fM "$jar" .
    rm -r "$content"
  )
done
cp -r java-core/target/test-classes "$kit/test-classes"
quietly "$JDK/bin/jlink" --strip-debug --no-header-files --no-man-pages --output "$kit/runtime" \
  --add-modules java.base,java.logging,java.management,java.net.http,java.xml,jdk.management,jdk.unsupported

# ---- data and scripts
mkdir "$kit/golden"
(cd "$golden" && cp -rL --no-preserve=mode ./*.json ./*.safetensors adapters data models trainers "$kit/golden/")
# What says no more about a GPU than what stays; tests of it are skipped.
rm -r "$kit"/golden/models/{llama_tied,mistral,qwen2} "$kit"/golden/trainers/dpo* "$kit"/golden/data/{bad,long}*
cp native/gpu-check.sh benchmarks/peers/kernels.py "$kit/"
git describe --always --dirty 2>/dev/null >"$kit/VERSION" || echo unknown >"$kit/VERSION"

if [[ -n ${work:-} ]]; then
  mkdir -p "$(dirname -- "$target")"
  case $target in
    *.gz) compress=(gzip) ;;
    *) compress=(xz --x86 --lzma2=preset=9e,dict=64MiB) ;;
  esac
  tar -C "$work" -c rlhf4j-gpu-check | "${compress[@]}" >"$target"
  say "$target: $(du -h "$target" | cut -f1)"
else
  say "$kit: $(du -sh "$kit" | cut -f1)"
fi
