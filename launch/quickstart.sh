#!/usr/bin/env bash
# Phantom corpus -> tiny MAE and tiny JEPA -> frozen probes -> one table and an HTML summary.
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
$python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.out="$out/probe" \
  --config.tasks=phase,action,instruments \
  --config.checkpoint="MAE=$out/mae,JEPA=$out/jepa"
verdict=$($python -m surgrec_jax.evaluation.report --runs "$out/mae" "$out/jepa" \
  --probe "$out/probe/results.json" --out "$out/index.html" \
  --lead "Phantom data, not clinical: what tiny encoders learn in minutes from drawn surgery." \
  --fact "duration=$(((SECONDS - began + 59) / 60)) min on $(getconf _NPROCESSORS_ONLN) cores" | sed -n 1p)

echo
echo "summary  $out/index.html"
echo "images   $out/mae/images  $out/jepa/images"
echo "curves   $out/*/metrics.jsonl, or: tensorboard --logdir $out"
echo "results  $out/probe/results.json"
echo "took $((SECONDS - began)) s, installation not counted"
echo
echo "In plain words, on drawings: $verdict"
