#!/bin/sh
# Builds the project, runs the benchmarks, and writes benchmarks/RESULTS.md (a table) and benchmarks/target/results.json.
#   benchmarks/run.sh [--quick] [-DNAME=VALUE...] [FILTER] [JMH ARGUMENTS...]
#     FILTER                     a regular expression: Linear, 'Head.*bf16', PpoStep; without one, all are run
#     -p device=cuda -p calls=20 on a GPU (built by native/build.sh cuda): README.md says what calls does
#     --quick                    bf16 and the commonest sizes only, few repetitions
#     -Drlhf4j.threads=N         threads of the device; all cores without it
#     -Drlhf4j.smollm2=FILE      the PPO step on the real model's GGUF file, not on random weights
#   -l lists the benchmarks, -h says what JMH knows.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/.mvn/jdk.sh"
find_jdk 22 || { jdk_missing; exit 1; }

properties=
quick=
n=$#
while [ "$n" -gt 0 ]; do
  argument=$1
  shift
  n=$((n - 1))
  case $argument in
    --quick) quick="-wi 1 -w 50ms -i 2 -r 100ms -p dtype=BF16 -p rows=2,114 -p length=114 -p parameters=2400000" ;;
    -D*) properties="$properties $argument" ;;
    *) set -- "$@" "$argument" ;;
  esac
done

cd "$root"
.mvn/maven.sh -q -pl benchmarks -am package -DskipTests -Dnative.jar.phase=none -Dspotless.check.skip=true >&2
# As the launcher does: bounded spinning, so that a busy core does not stall every op.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-5000}"
lib=$root/build/cpu/lib
if [ -e "$root/build/cuda/lib/librlhf4j_cuda.so" ]; then lib=$root/build/cuda/lib; fi # it has the CPU backend too
# shellcheck disable=SC2086  # properties and quick are words
exec "$JDK/bin/java" --enable-native-access=ALL-UNNAMED -Drlhf4j.native.dir="$lib" $properties \
  -cp "benchmarks/target/classes:$(cat benchmarks/target/classpath)" org.rlhf4j.benchmarks.Main "$@" $quick
