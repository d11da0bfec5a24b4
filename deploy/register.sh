#!/bin/sh
# Tells a running Prefect server of the work pools, of the limit of one shard per GPU, of the
# deployments and of the automations. Run again, it changes what differs.
#   GPUS=2 sh deploy/register.sh [GPU_TEMPLATE] [GPU_POOL_TYPE]
set -eu
cd "$(dirname "$0")/.."
python -m flows.registration --gpus "${GPUS:-1}" \
    --gpu-template "${1:-deploy/pools/gpu.json}" --gpu-type "${2:-process}"
prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml
python -m flows.automations deploy/automations.yaml
