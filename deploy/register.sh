#!/bin/sh
# Tells a running Prefect server of the work pools, of the limit of one shard per GPU and, where
# they are there, of the deployments and automations. Run again, it changes what differs.
#   GPUS=2 sh deploy/register.sh [GPU_TEMPLATE] [GPU_POOL_TYPE]
set -eu
cd "$(dirname "$0")/.."
gpu_template=${1:-deploy/pools/gpu.json}
gpu_type=${2:-process}
gpus=${GPUS:-1}

prefect --no-prompt work-pool create cpu --type process \
    --base-job-template deploy/pools/cpu.json --overwrite
prefect --no-prompt work-pool create gpu --type "$gpu_type" \
    --base-job-template "$gpu_template" --overwrite
prefect --no-prompt work-pool set-concurrency-limit gpu "$gpus"
if prefect gcl inspect gpu >/dev/null 2>&1; then
    prefect --no-prompt gcl update gpu --limit "$gpus"
else
    prefect --no-prompt gcl create gpu --limit "$gpus"
fi
if [ -f deploy/prefect.yaml ]; then
    prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml
fi
if [ -f deploy/automations.yaml ]; then
    python -m flows.automations deploy/automations.yaml
fi
