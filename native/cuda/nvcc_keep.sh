#!/bin/sh
# nvcc_keep.sh NAME NVCC...: runs nvcc, which needs -Xptxas -v, and keeps of what it makes on the way NAME.ARCH.ptx, the PTX for each
# architecture, and NAME.ptxas, what ptxas says of each kernel, with the launch bounds from the PTX. What nvcc says is shown if it
# fails or warns.
set -u
name=$1
shift
kept=$name.kept
rm -rf "$kept"
mkdir -p "$kept"
"$@" --keep --keep-dir "$kept" 2>"$kept/said"
status=$?
if [ $status -ne 0 ]; then
  cat "$kept/said" >&2
else
  grep -i warning "$kept/said" >&2
  { cat "$kept/said" && grep -hE '^\.(target|visible \.entry|maxntid|minnctapersm)' "$kept"/*.ptx; } >"$name.ptxas" || status=1
  for ptx in "$kept"/*.ptx; do
    mv "$ptx" "$name.$(sed -n 's/^\.target sm_\([0-9]*\).*/\1/p' "$ptx").ptx" || status=1
  done
fi
rm -rf "$kept"
exit $status
