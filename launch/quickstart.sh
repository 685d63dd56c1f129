#!/usr/bin/env bash
# Phantom corpus -> tiny MAE and JEPA -> frozen probes -> one table and an HTML summary.
# Usage: launch/quickstart.sh [OUT]   (default runs/quickstart; run again, it continues)
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/quickstart}
began=$SECONDS

$python -m data_builders build phantom_surgery --config tiny --data_dir data
for objective in mae jepa; do
  $python -m surgrec_jax.main --config=configs/$objective.py:tiny --workdir="$out/$objective"
done
$python -m surgrec_jax.probe --config=configs/probe.py:tiny \
  --config.checkpoint="$out/mae,$out/jepa" --config.names=MAE,JEPA --config.out="$out/probe"
$python -m surgrec_jax.evaluation.report --runs "$out/mae,$out/jepa" \
  --results "$out/probe/results.json" --out "$out/index.html"
echo "quickstart took $((SECONDS - began)) s after installation"
