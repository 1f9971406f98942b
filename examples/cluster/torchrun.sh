#!/bin/bash
# Pretrain on several machines with torchrun; start it on every one of them:
#   HOST=10.0.0.1 NODES=4 DATA=/data/speech RUN=/shared/runs/base bash examples/cluster/torchrun.sh
# HOST is any one of the machines, RDZV_PORT a port that is free on it (29400). torchrun restarts all processes when one
# dies, at most three times; they continue from the last complete checkpoint. The 900 s of audio of an update are 32
# batches of 28.125 s, for any number of GPUs that divides 32; other numbers are refused, with what would fit. With
# NODES=2:4 it goes on with the machines that are left, if their GPUs do.
set -euo pipefail
: "${HOST:?address of one machine}" "${DATA:?the prepared corpus}" "${RUN:?a run folder on shared storage}"

export OMP_NUM_THREADS=1
# A store of its own for every attempt: in a shared one, restarted processes may read the addresses of the dead ones.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec torchrun \
  --nnodes "${NODES:-1}" --nproc-per-node "${GPUS:-8}" \
  --rdzv-backend c10d --rdzv-endpoint "$HOST:${RDZV_PORT:-29400}" --rdzv-id "$(basename "$RUN")" \
  --max-restarts 3 \
  -m emotion2vec pretrain --config base data.train="$DATA" run.dir="$RUN" data.workers=8 data.batch_seconds=28.125 "$@"
