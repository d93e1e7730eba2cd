# Sourced by the project's scripts. find_jdk [MINIMUM] sets JDK to the home of a JDK of at least that version (22), or fails.
# With JDK_TOOL=java a run time without compiler will do.
# Looked at, in this order: JAVA_HOME, java on PATH, the usual install folders (the newest of them).
# A home's version is read from its `release` file: no JVM is started.

jdk_version() { # HOME: prints the feature version, or 0
  if [ ! -x "$1/bin/java" ]; then
    echo 0
    return
  fi
  _text=
  if [ -r "$1/release" ]; then
    while IFS= read -r _line; do
      case $_line in
        JAVA_VERSION=*) _text=${_line#*=}; break ;;
      esac
    done <"$1/release"
  else
    _text=$("$1/bin/java" -version 2>&1 | sed -n '1s/.*version \("[^"]*"\).*/\1/p')
  fi
  _text=${_text#\"}
  _text=${_text#1.}
  _text=${_text%%[!0-9]*}
  echo "${_text:-0}"
}

jdk_of_path() { # prints the home of the java on PATH
  _java=$(command -v java) || return 1
  if _real=$(readlink -f "$_java" 2>/dev/null) && [ -n "$_real" ]; then _java=$_real; fi
  _home=${_java%/bin/java}
  case $_home in
    */jre) [ -x "${_home%/jre}/bin/${JDK_TOOL:-javac}" ] && _home=${_home%/jre} ;;
  esac
  echo "$_home"
}

find_jdk() {
  _minimum=${1:-22}
  JDK=
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/${JDK_TOOL:-javac}" ] && [ "$(jdk_version "$JAVA_HOME")" -ge "$_minimum" ]; then
    JDK=$JAVA_HOME
    return 0
  fi
  if _path_home=$(jdk_of_path) && [ -x "$_path_home/bin/${JDK_TOOL:-javac}" ] && [ "$(jdk_version "$_path_home")" -ge "$_minimum" ]; then
    JDK=$_path_home
    return 0
  fi
  _best=0
  for _candidate in /usr/lib/jvm/* /usr/lib64/jvm/* /usr/java/* /opt/java/* /opt/jdk* /opt/jdks/* /usr/local/jdk* \
    "$HOME"/.sdkman/candidates/java/* "$HOME"/.jdks/* "$HOME"/.local/share/mise/installs/java/* "$HOME"/.asdf/installs/java/* \
    /Library/Java/JavaVirtualMachines/*/Contents/Home "$HOME"/Library/Java/JavaVirtualMachines/*/Contents/Home \
    /opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home /usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home; do
    [ -x "$_candidate/bin/${JDK_TOOL:-javac}" ] || continue
    _version=$(jdk_version "$_candidate")
    if [ "$_version" -ge "$_minimum" ] && [ "$_version" -gt "$_best" ]; then
      _best=$_version
      JDK=$_candidate
    fi
  done
  [ -n "$JDK" ]
}

jdk_missing() { # the message for a machine without one
  cat >&2 <<MESSAGE
rlhf4j needs a JDK of version 22 or newer, and found none.
  Looked at JAVA_HOME (${JAVA_HOME:-not set}), java on PATH ($(_h=$(jdk_of_path) && echo "$_h, version $(jdk_version "$_h")" || echo none)),
  /usr/lib/jvm, /opt, ~/.sdkman, ~/.jdks and, on macOS, /Library/Java.
  Install one, for example the package openjdk-25-jdk or temurin-25-jdk (Debian, Ubuntu), java-latest-openjdk-devel (Fedora),
  or with \`sdk install java\`; or set JAVA_HOME to where it is.
MESSAGE
}
