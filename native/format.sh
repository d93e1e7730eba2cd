#!/bin/sh
# Checks the format of native/ with clang-format 19 (other versions format differently); --apply formats.
# Exit code 4: there is no clang-format 19 here. CLANG_FORMAT names one; `pip install clang-format==19.1.7` brings one.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
for tool in "${CLANG_FORMAT:-}" clang-format-19 clang-format "$root/build/tools/clang_format/data/bin/clang-format"; do
  [ -n "$tool" ] && command -v "$tool" >/dev/null 2>&1 || continue
  "$tool" --version | grep -q 'version 19\.' || continue
  cd "$root"
  case ${1:-} in
    --apply) find native \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -exec "$tool" -i {} + ;;
    *) find native \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -exec "$tool" --dry-run --Werror {} + ;;
  esac
  exit
done
echo "native/format.sh: no clang-format 19 (pip install clang-format==19.1.7, or the package clang-format-19)" >&2
exit 4
