#!/bin/sh
# nvcc_report.sh REPORT NVCC...: runs nvcc, which needs -Xptxas -v. REPORT gets what ptxas says of each kernel, and the launch bounds
# from the PTX; what nvcc says is shown if it fails or warns.
set -u
report=$1
shift
kept=$report.kept
rm -rf "$kept"
mkdir -p "$kept"
"$@" --keep --keep-dir "$kept" 2>"$kept/said"
status=$?
if [ $status -ne 0 ]; then
  cat "$kept/said" >&2
else
  grep -i warning "$kept/said" >&2
  { cat "$kept/said" && grep -hE '^\.(target|visible \.entry|maxntid|minnctapersm)' "$kept"/*.ptx; } >"$report" || status=1
fi
rm -rf "$kept"
exit $status
