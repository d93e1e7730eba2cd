#!/bin/sh
# Regenerates bindings/src/generated/java from native/include/rlhf4j.h. Run it after every change of the header.
# Needs jextract (https://jdk.java.net/jextract) on PATH, or named by JEXTRACT.
set -eu
cd "$(dirname "$0")"
jextract=${JEXTRACT:-jextract}
header=../native/include/rlhf4j.h
out=src/generated/java
package=org.rlhf4j.bindings.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Only what the header itself declares: system headers leak types otherwise.
"$jextract" --dump-includes "$work/all" "$header"
grep -E ' (rl_|RL_)' "$work/all" >"$work/ours"
rm -rf "$out"
"$jextract" --output "$out" --target-package $package --header-class-name Rlhf4j @"$work/ours" "$header"

# SymbolLookup.findOrThrow came with Java 23; the project targets 22.
find "$out" -name '*.java' -exec sed -i -E \
  's|SYMBOL_LOOKUP\.findOrThrow\("([^"]*)"\)|SYMBOL_LOOKUP.find("\1").orElseThrow(() -> new UnsatisfiedLinkError("unresolved symbol: \1"))|' {} +

# BindingsMatchHeaderTest compares this with the header.
sha256sum <"$header" | cut -d' ' -f1 >src/generated/rlhf4j.h.sha256
