#!/usr/bin/env bash
# Do recipes learn? MAE, JEPA, LeVJEPA and JEPA with a frozen teacher against random initialisation and each other, on
# phantom surgery's `trial`, at equal CPU seconds, frozen linear probes on 40 patients.
# Usage: launch/recipes.sh [OUT] [SEEDS]   (default runs/recipes 3; run again, it continues)
# Phantom data, not clinical: what it shows is in docs/objectives.md.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/recipes}
seeds=${2:-3}
mkdir -p "$out"
TIMEFORMAT='%U %S'

train() { # NAME SEED CONFIG STEPS [FLAGS...]: a run, and its CPU seconds in NAME-SEED.cpu
  local run="$out/$1-$2"
  [ -f "$run.done" ] && return
  { time $python -m surgrec_jax.main --config=configs/"$3".py:tiny --workdir="$run" --config.seed="$2" \
    --config.steps="$4" --config.data.sources=phantom_surgery/trial --config.probe.every=0 \
    --config.images.every=0 --config.checkpoint.every="$4" "${@:5}" 2>&3; } 3>&2 2>>"$run.cpu"
  touch "$run.done"
}

$python -m data_builders build phantom_surgery --config trial --data_dir data
# Steps chosen for 200 CPU seconds each, starting and compiling included (they took 142 to 166 on an AMD EPYC); a frozen
# teacher's time is its student's, too.
for ((seed = 0; seed < seeds; seed++)); do
  train mae "$seed" mae 800
  train jepa "$seed" jepa 300
  train levjepa "$seed" levjepa 150
done
for ((seed = 0; seed < seeds; seed++)); do
  train teacher "$seed" mae 360
  train frozen "$seed" jepa 140 --config.jepa.target=frozen --config.jepa.teacher="$out/teacher-$seed"
done

checkpoints=
for recipe in mae jepa levjepa frozen; do
  for ((seed = 0; seed < seeds; seed++)); do checkpoints+="$recipe-$seed=$out/$recipe-$seed,"; done
done
$python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.source=phantom_surgery/trial \
  --config.checkpoint="$checkpoints" --config.tasks=phase,action,instruments --config.heads=linear \
  --config.init_seeds=8 --config.out="$out/probe"
$python -m surgrec_jax.bench recipes --probe="$out/probe" --json="$out/recipes.json"
for cpu in "$out"/*.cpu; do
  awk -v run="$(basename "$cpu" .cpu)" '{s += $1 + $2} END {printf "%s: %.0f CPU s\n", run, s}' "$cpu"
done
