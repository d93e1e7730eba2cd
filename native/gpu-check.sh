#!/usr/bin/env bash
# For a machine with a GPU: everything that only a GPU can show, in under nine minutes.
#   native/gpu-check.sh [--only REGEX] [--seconds N] [--out DIR]
#   native/gpu-check.sh --pack FILE.tar.gz     the same as an archive, to be unpacked and run where there is no checkout
#     --only REGEX   the steps whose names match     --list   their names
#     --seconds N    steps that would begin later are left out (default 520)
#     --out DIR      RESULTS.md, and a log for each step (default: build/gpu-check, or results beside the unpacked script)
# Status 0 if nothing failed, 1 otherwise. RLHF4J_CHECK_DEVICE names another device than cuda; PYTHON a Python with PyTorch;
# RLHF4J_CUDA_CUBLASLT and RLHF4J_CUDA_CUDNN these libraries' files, where neither that Python nor the system has them.
set -uo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }
only= seconds=520 out= list=
while (($#)); do
  case $1 in
    --pack) exec "$here/gpu-kit.sh" "${2:?--pack FILE.tar.gz}" ;;
    --only) only=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --out) out=${2:?} && shift ;;
    --list) list=yes ;;
    --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  shift
done

kit=$here
if [[ ! -d $kit/runtime ]]; then # a checkout
  kit=$(cd -- "$here/.." && pwd -P)/build/gpu-check/kit
  "$here/gpu-kit.sh" "$kit" || exit 1
  out=${out:-$here/../build/gpu-check}
fi
device=${RLHF4J_CHECK_DEVICE:-cuda}
out=$(realpath -m -- "${out:-$kit/results}")
logs=$out/logs
table=$out/table
rm -rf "$logs" "$out/RESULTS.md"
mkdir -p "$logs"
: >"$table"
failed=() began=$SECONDS no_device=

# The kit has no cuBLASLt and no cuDNN, and knows the names of those it was compiled for.
find_library() { # VARIABLE NAME
  local name file
  [[ ! ${!1:-} ]] && name=$(grep "^$2[.]" "$kit/LIBRARIES" 2>/dev/null) || return
  file=$here/../build/cuda/lib/cuda/$name # in a checkout
  if [[ ! -e $file ]]; then
    file=$("${PYTHON:-python3}" -c 'import glob, nvidia, sys
print(next(f for p in nvidia.__path__ for f in glob.glob(p + "/*/lib/" + sys.argv[1])))' "$name" 2>/dev/null) || return
  fi
  export "$1=$file"
}
find_library RLHF4J_CUDA_CUBLASLT libcublasLt
find_library RLHF4J_CUDA_CUDNN libcudnn

# As the launcher does.
export GOMP_SPINCOUNT=5000
java=("$kit/runtime/bin/java" --enable-native-access=ALL-UNNAMED -XX:+UseSerialGC -Drlhf4j.native.dir="$kit/lib")
native() { LD_LIBRARY_PATH=$kit/lib "$@"; }

# ---- one step: a time limit, a log, a line of the table

row() { # NAME RESULT SECONDS FIGURES
  echo "| $1 | $2 | $3 | $4 |" >>"$table"
  printf '%-32s %-8s %4s s  %s\n' "$1" "$2" "$3" "$4"
}

step() { # NAME LIMIT FIGURES COMMAND...     FIGURES: a command that makes a line of figures from the log
  local name=$1 limit=$2 figures=$3 log=$logs/${1//\//-}.log left status start
  shift 3
  [[ $name =~ $only ]] || return 0
  [[ -z $list ]] || { echo "$name"; return 0; }
  left=$((seconds - (SECONDS - began)))
  if [[ $no_device ]]; then row "$name" skipped 0 "no device" && return; fi
  if ((left < 5)); then row "$name" skipped 0 "no time" && return; fi
  start=$SECONDS
  (run_limited $((limit < left ? limit : left)) "$@") >"$log" 2>&1 </dev/null
  status=$?
  case $status in
    0) row "$name" ok $((SECONDS - start)) "$($figures "$log")" ;;
    4) row "$name" skipped $((SECONDS - start)) "$(tail -n 1 "$log")" ;;
    *)
      failed+=("$name")
      if ((status == 124 || status == 137)); then echo "ended after its time limit" >>"$log"; fi
      row "$name" FAILED $((SECONDS - start)) "status $status: $(grep -v '^ *$' "$log" | tail -n 1 | cut -c1-200 | tr '|' '/')"
      return 1
      ;;
  esac
}

run_limited() { # SECONDS FUNCTION|COMMAND...: timeout runs programs only, and a step may be a function
  local limit=$1
  shift
  if [[ $(type -t "$1") == function ]]; then
    limited="timeout -k 5 $limit" "$@"
  else
    timeout -k 5 "$limit" "$@"
  fi
}

nothing() { :; }
last_line() { tail -n 1 "$1" | tr '|' '/'; }
passed_programs() { sed -n 's/^\[  PASSED  \] \(.*\)\./\1/p' "$1"; }
passed_tests() { sed -n 's/^\[ *\([0-9]* tests \(successful\|failed\|skipped\|aborted\)\) *\]/\1/p' "$1" | grep -v '^0 ' | paste -sd, | sed 's/,/, /g'; }
passed_ops() { echo "$(grep -c '^ok ' "$1") ops; $(sed -n "s/^$device[:0-9]* *//p" "$1" | head -n 1)"; }

# ---- what the steps do

gpu() {
  command -v nvidia-smi >/dev/null || { echo "no nvidia-smi" && exit 4; }
  $limited nvidia-smi
  $limited nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader
}
doctor() { exec $limited "${java[@]}" -cp "$kit/jars/*" org.rlhf4j.cli.Main doctor --device "$device"; }
kernel_test() { # An error names its op.
  RLHF4J_CUDA_GEMM=${RLHF4J_CUDA_GEMM:-own} RLHF4J_TEST_DEVICE=$device RLHF4J_CUDA_BLOCKING=1 native $limited "$kit/tests/$1" "${@:2}"
}
own() { RLHF4J_CUDA_GEMM=own "$@"; }
no_graphs() { RLHF4J_CUDA_GRAPHS=0 "$@"; }
tf32() { RLHF4J_CUDA_TF32=1 "$@"; }
unordered() { RLHF4J_CUDA_DETERMINISTIC=0 "$@"; }
cublaslt() { RLHF4J_CUDA_GEMM=cublaslt if_there "$@"; }
cudnn() { RLHF4J_CUDA_ATTENTION=cudnn if_there "$@"; }
if_there() { # FUNCTION...: skipped where there is no such library
  ("$@") && return
  local status=$? missing
  if missing=$(grep -o 'there is no cu[A-Za-z]*' "$log" | head -n 1) && [[ $missing ]]; then echo "${missing#there is }" && exit 4; fi
  return $status
}
host_test() { RLHF4J_TEST_DEVICE=$device native $limited "$kit/tests/$1"; } # what comes after single ops
junit() { # CLASS
  exec $limited "${java[@]}" -Drlhf4j.golden="$kit/golden" -Drlhf4j.golden.partial=true -Drlhf4j.test.device="$device" -cp "$kit/test-classes:$kit/jars/*" \
    org.junit.platform.console.ConsoleLauncher execute --select-class="$1" --disable-banner --details=tree --details-theme=ascii
}
demo() { exec $limited "${java[@]}" -cp "$kit/jars/*" org.rlhf4j.cli.Main demo --device "$device" --out "$out/demo" "$@"; }
benchmark() { # NAME JMH-ARGUMENTS...: the table is kept for RESULTS.md
  local name=$1
  shift
  $limited "${java[@]}" -Djmh.ignoreLock=true -Dbenchmarks.json="$logs/$name.json" -Dbenchmarks.table="$logs/$name.md" -cp "$kit/jars/*" \
    org.rlhf4j.benchmarks.Main -p device="$device" "$@" || exit
  # JMH goes on with the others. (-q: grep would not read the file that its output goes to.)
  if grep -q -- '<failure>' "$logs/$name.log"; then echo "a benchmark failed" && return 1; fi
}
peers() {
  local python=${PYTHON:-python3}
  "$python" -c 'import torch' 2>/dev/null || { echo "no Python with PyTorch" && exit 4; }
  exec $limited "$python" "$kit/kernels.py" --device "$device" --table "$logs/peers.md"
}
sanitizer() { # TOOL PROGRAM
  local program
  program=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  [[ -x $program ]] || { echo "no compute-sanitizer" && exit 4; }
  RLHF4J_TEST_DEVICE=$device RLHF4J_CUDA_BLOCKING=1 native $limited "$program" --tool "$1" --error-exitcode 9 "$kit/tests/$2"
}
best_row() { sed -n 's/^| PpoStep.step | [^|]*| \([^|]*\) |.*/\1 ms a step/p' "${1%.log}.md" | head -n 1; }
rows() { echo "$(grep -c '^| [A-Z]' "$logs/$(basename "$1" .log).md") times"; }

# ---- the steps, by importance

[[ $list ]] || echo "gpu-check: $(cat "$kit/VERSION"), device $device, results go to $out"
step gpu 20 last_line gpu
step doctor 60 passed_ops doctor
# Status 2: the device cannot be opened; nothing else could run.
if [[ -e $logs/doctor.log ]] && grep -q '^rlhf4j: --device' "$logs/doctor.log"; then no_device=yes; fi
for program in "$kit"/tests/*_test; do
  name=$(basename "$program")
  case $name in
    device_test | recording_test) step "kernels/$name" 60 passed_programs host_test "$name" ;;
    *) step "kernels/$name" 60 passed_programs kernel_test "$name" ;;
  esac
done
for program in linear_test nf4_test; do step "cublaslt/$program" 60 passed_programs cublaslt kernel_test $program; done
step cudnn/attention 60 passed_programs cudnn kernel_test attention_sweep_test \
  --gtest_filter='*Sweep.Lengths*/1:*Sweep.Packed*/1:*Sweep.Empty*/1:*Sweep.Groups/1:*Sweep.Long*/1:*Sweep.Peaked*/1:-*Decode*'
step unordered/attention 60 passed_programs unordered kernel_test attention_sweep_test --gtest_filter='*AttentionSweep.*/1'
step tf32/linear_test 60 passed_programs tf32 kernel_test linear_test
step tf32/cublaslt 60 passed_programs tf32 cublaslt kernel_test linear_test
for class in graph.GoldenOpsTest algorithms.GoldenRlTest tensor.GoldenNf4Test nn.GoldenModelTest algorithms.GoldenTrainersTest \
  lora.GoldenAdaptersTest cli.DevicesAgreeTest; do
  step "golden/${class##*.}" 90 passed_tests junit "org.rlhf4j.$class"
done
step ppo-step 90 best_row benchmark ppo-step PpoStepBenchmark -i 5
step ppo-step-no-graphs 60 best_row no_graphs benchmark ppo-step-no-graphs PpoStepBenchmark -i 3
step demo 120 nothing demo --quick
# In one process for each family (-f 0): starting CUDA anew for each row would take longer than measuring.
kernels() { # benchmarks/NAME HOW
  local name=${1//\//-} family=${1#*/}
  step "$1" 60 rows "$2" benchmark "$name" "[.]${family%-*}Benchmark" -f 0 -p calls=20 -p dtype=BF16 -p parameters=135000000 \
    -wi 1 -w 100ms -i 3 -r 100ms
}
for family in Linear LinearBackward Attention AttentionDecode Head Elementwise Lora AdamW; do
  kernels "benchmarks/$family" own
  if [[ $family == Linear* ]]; then kernels "benchmarks/$family-cublaslt" cublaslt; fi
  if [[ $family == Attention ]]; then
    kernels "benchmarks/$family-unordered" unordered
    kernels "benchmarks/$family-cudnn" cudnn
  fi
done
step peers 60 rows peers
for program in linear_test attention_test rms_norm_test; do step "memcheck/$program" 45 nothing sanitizer memcheck "$program"; done
for program in linear_test attention_test; do step "racecheck/$program" 45 nothing sanitizer racecheck "$program"; done
[[ -z $list ]] || exit 0

# ---- RESULTS.md

{
  echo "# GPU check"
  echo
  echo "$(cat "$kit/VERSION") on $device; $(uname -sm); $(date -u +%FT%TZ); $((SECONDS - began)) s."
  echo
  if ((${#failed[@]})); then echo "**${#failed[@]} failed: ${failed[*]}**"; else echo "Nothing failed."; fi
  echo
  echo "| step | result | seconds | figures |"
  echo "|---|---|---:|---|"
  cat "$table"
  for part in "$logs"/*.md; do
    [[ -e $part ]] && printf '\n## %s\n\n' "$(basename "$part" .md)" && grep -E '^(\||$)' "$part" | cat -s
  done
  for name in ${failed[@]+"${failed[@]}"}; do
    printf '\n## The end of %s.log\n\n```\n' "$name"
    tail -n 40 "$logs/${name//\//-}.log" | cut -c1-400
    echo '```'
  done
} >"$out/RESULTS.md"
rm "$table"
echo "gpu-check: $out/RESULTS.md"
if ((${#failed[@]})); then
  echo "gpu-check: FAILED: ${failed[*]}"
  exit 1
fi
echo "gpu-check: nothing failed"
