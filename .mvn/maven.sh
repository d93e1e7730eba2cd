#!/bin/sh
# Runs Maven on the project: `mvn` from PATH if it is 3.8 or newer (it works with a filled local repository and no network),
# else the wrapper, which fetches its own. It runs on the JDK that the project is built with.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$root/.mvn/jdk.sh"
find_jdk 22 || { jdk_missing; exit 3; }
export JAVA_HOME="$JDK"

usable_mvn() {
  command -v mvn >/dev/null 2>&1 || return 1
  version=$(mvn --version 2>/dev/null | sed -n 's/.*Apache Maven \([0-9]*\.[0-9]*\).*/\1/p') || return 1
  case $version in
    3.[89] | 3.[1-9][0-9] | [4-9].* | [1-9][0-9].*) return 0 ;;
    *) return 1 ;;
  esac
}

if usable_mvn; then
  exec mvn -B -ntp "$@"
fi
exec "$root/mvnw" -B -ntp "$@"
