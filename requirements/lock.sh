#!/bin/sh
# Writes the locks: hashed, for every platform and Python, without index addresses. dev first, the others agree with it.
set -eu
cd "$(dirname "$0")/.."
compile="uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate"
$compile pyproject.toml requirements/dev.in --extra train --extra xgboost --extra postgres --extra redis -o requirements/dev.txt
$compile pyproject.toml --constraint requirements/dev.txt -o requirements/core.txt
$compile pyproject.toml --constraint requirements/dev.txt --extra train -o requirements/train.txt
$compile requirements/build.in -o requirements/build.txt
