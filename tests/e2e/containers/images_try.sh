#!/usr/bin/env bash
# All images, both compose files and the whole test on this machine's engine, as root: `make images-try`. Nothing is skipped: what
# is missing is said and ends it with 1. PostgreSQL and Prometheus are the images that the variables name, else pulled, else (no
# registry answers) made from Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/../../.."

[ "$(id -u)" = 0 ] || { echo "images-try: secrets' files are given to the containers' users: run it as root" >&2; exit 1; }
.venv/bin/python -m tests.e2e.containers.engine

pull() { docker image inspect "$1" >/dev/null 2>&1 || timeout 600 docker pull -q "$1" >&2; }
made() { docker image inspect postgres-stand-in:local prometheus-stand-in:local >/dev/null 2>&1; }

if [ -z "${QUORUMKEEP_POSTGRES_IMAGE:-}${QUORUMKEEP_PROMETHEUS_IMAGE:-}" ]; then
    export QUORUMKEEP_POSTGRES_IMAGE=postgres:17 QUORUMKEEP_PROMETHEUS_IMAGE=prom/prometheus:v3.5.0
    if ! { pull "$QUORUMKEEP_POSTGRES_IMAGE" && pull "$QUORUMKEEP_PROMETHEUS_IMAGE"; }; then
        echo "images-try: no registry gives these images; they are made from Debian's packages" >&2
        made || tests/e2e/containers/stand_ins.sh
        export QUORUMKEEP_POSTGRES_IMAGE=postgres-stand-in:local QUORUMKEEP_PROMETHEUS_IMAGE=prometheus-stand-in:local
    fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# by module: the first one's containers are down before the second one's start
.venv/bin/pytest -v -rs -m docker --durations 0 --durations-min 5 --container-scope module \
    tests/e2e/test_containers.py tests/e2e/test_compose_whole.py "$@" | tee "$log"
if grep -q '^SKIPPED' "$log"; then
    echo "images-try: a test was skipped, for the reason above; give it what it needs" >&2
    exit 1
fi
