#!/usr/bin/env bash
# Training on a CUDA card, beside the guide's script, TRL and unsloth: speed, memory, whether a resumed run ends as the
# undisturbed one, and what the plan predicts.
# Needs no model hub: the model is drawn at random, in the dimensions of a row of catalog/models.toml, in 4 bits.
#
#   pip install -e '.[gpu,dev]' liger-kernel     (flash-attn too, where it builds; unsloth gets its own environment)
#   benchmarks/gpu.sh [--base ROW] [--seconds 60] [--only NAME…]     a card of 24 GB or more, 20 GB of disk
#   benchmarks/gpu.sh --rehearse                                      the same code, a tiny model, on the CPU
#
# It has not run on a card yet: no machine with one was to be had. Its rehearsal runs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -m benchmarks.gpu "$@"
case " $* " in
*" --rehearse "*) "$python" -m benchmarks.gpu_checks --rehearse ;;
*)
	"$python" -m benchmarks.gpu_checks
	"$python" -m benchmarks.memory --cuda
	;;
esac
