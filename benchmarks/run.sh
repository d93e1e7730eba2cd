#!/bin/sh
# Builds the project, runs the benchmarks, and writes benchmarks/RESULTS.md (a table) and benchmarks/target/results.json.
#   benchmarks/run.sh [JMH ARGUMENTS...]      e.g. benchmarks/run.sh Linear -f 1 -wi 2 -i 3; -h lists them, -l the benchmarks
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/.mvn/jdk.sh"
find_jdk 22 || { jdk_missing; exit 1; }
cd "$root"
.mvn/maven.sh -q -pl benchmarks -am package -DskipTests -Dnative.jar.phase=none -Dspotless.check.skip=true >&2
exec "$JDK/bin/java" --enable-native-access=ALL-UNNAMED -Drlhf4j.native.dir="$root/build/cpu/lib" \
  -cp "benchmarks/target/classes:$(cat benchmarks/target/classpath)" org.rlhf4j.benchmarks.Main "$@"
