#!/usr/bin/env bash
# Phantom corpus -> tiny MAE and tiny LeVJEPA -> frozen probes -> one table, an HTML summary and a sentence in plain words.
# Usage: launch/quickstart.sh [OUT]   (default runs/quickstart; run again, it continues)
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/quickstart}
corpus=phantom_surgery/trial # 40 test patients: fewer cannot tell these encoders from random weights
began=$SECONDS

train() { # OBJECTIVE STEPS
  $python -m surgrec_jax.main --config=configs/"$1".py:tiny --workdir="$out/$1" --config.steps="$2" \
    --config.data.sources=$corpus --config.probe.sources=$corpus --config.checkpoint.every="$2" \
    --config.probe.every="$2" --config.images.every="$(($2 / 4))"
}
$python -m data_builders build phantom_surgery --config trial --data_dir data
train mae 800
train levjepa 150
$python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.out="$out/probe" --config.source=$corpus \
  --config.tasks=phase,action,instruments --config.checkpoint="MAE=$out/mae,LeVJEPA=$out/levjepa"
verdict=$($python -m surgrec_jax.evaluation.report --runs "$out/mae" "$out/levjepa" \
  --probe "$out/probe/results.json" --out "$out/index.html" \
  --lead "Phantom data, not clinical: what tiny encoders learn in minutes from drawn surgery." \
  --fact "duration=$(((SECONDS - began + 59) / 60)) min on $(getconf _NPROCESSORS_ONLN) cores" | sed -n 1p)

echo
echo "summary  $out/index.html"
echo "images   $out/mae/images"
echo "curves   $out/*/metrics.jsonl, or: tensorboard --logdir $out"
echo "results  $out/probe/results.json"
echo "took $((SECONDS - began)) s, installation not counted"
echo
echo "In plain words (drawn surgery, not clinical): $verdict"
