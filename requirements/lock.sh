#!/bin/sh
# Writes the locks: hashed, for every platform and Python, without index addresses. dev first, the others agree with it.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate"
$compile pyproject.toml requirements/dev.in --extra train --extra xgboost --extra lightgbm --extra skops --extra postgres --extra redis -o requirements/dev.txt
$compile pyproject.toml --constraint requirements/dev.txt -o requirements/core.txt
$compile pyproject.toml --constraint requirements/dev.txt --extra train -o requirements/train.txt
$compile requirements/build.in -o requirements/build.txt
# Other programs that tests and benchmarks run beside Sill, each in an environment of its own (sill.testing.peers).
# What NAME.unhashed.txt lists is left out of NAME's lock: torch, whose CPU and GPU builds share a version.
for peer in ${PEERS:-requirements/peers/*.in}; do
    name="${peer%.in}"
    unhashed="$name.unhashed.txt"
    if [ -f "$unhashed" ]; then leave_out="--excludes $unhashed"; else leave_out=""; fi
    $compile "$peer" $leave_out -o "$name.txt"
done
