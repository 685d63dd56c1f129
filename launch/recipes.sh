#!/usr/bin/env bash
# Do recipes learn? MAE, JEPA, JEPA with a frozen teacher, V-JEPA 2.1's training and LeVJEPA against random initialisation
# and each other, on phantom surgery's `trial`, at equal CPU seconds, frozen linear probes on 40 patients.
# Usage: launch/recipes.sh [OUT] [SEEDS]   (default runs/recipes "0 1 2"; run again, it continues)
# What is asked, in which order, and what came: docs/objectives.md. Phantom data, not clinical.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/recipes}
read -ra seeds <<<"${2:-0 1 2}"
mkdir -p "$out"
TIMEFORMAT='%U %S'

train() { # NAME SEED OBJECTIVE STEPS [FLAGS...]: a run, and its CPU seconds in NAME-SEED.cpu
  local run="$out/$1-$2"
  [ -f "$run.done" ] && return
  { time $python -m surgrec_jax.main --config=configs/"$3".py:tiny --workdir="$run" --config.seed="$2" \
    --config.steps="$4" --config.data.sources=phantom_surgery/trial --config.probe.every=0 \
    --config.images.every=0 --config.checkpoint.every="$4" "${@:5}" >>"$run.log" 2>&1; } 2>>"$run.cpu"
  touch "$run.done"
}
each() { # NAME OBJECTIVE STEPS [FLAGS...]: every seed (SEED in a flag is its number), two runs at a time
  local flags=("${@:4}")
  for seed in "${seeds[@]}"; do
    while (($(jobs -rp | wc -l) > 1)); do wait -n; done
    train "$1" "$seed" "${@:2:2}" "${flags[@]//SEED/$seed}" &
  done
}
frozen() { # SUFFIX TEACHER_STEPS STEPS [FLAGS...]: a MAE, then JEPA with it as the teacher
  each "teacher$1" mae "$2" "${@:4}"
  wait
  each "frozen$1" jepa "$3" --config.jepa.target=frozen --config.jepa.teacher="$out/teacher$1-SEED" "${@:4}"
}
v2_1() { # SUFFIX STEPS [FLAGS...]
  each "v2_1$1" jepa "$2" --config.jepa.levels=4 --config.jepa.visible_weight=0.5 \
    --config.jepa.visible_warmup="$(($2 / 5)),$((2 * $2 / 5))" "${@:3}"
}
compare() { # PROBE RECIPE...: linear probes of all seeds, and the table
  wait
  local checkpoints=
  for recipe in "${@:2}"; do
    for seed in "${seeds[@]}"; do checkpoints+="$recipe-$seed=$out/$recipe-$seed,"; done
  done
  $python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.source=phantom_surgery/trial \
    --config.checkpoint="$checkpoints" --config.tasks=phase,action,instruments --config.heads=linear \
    --config.init_seeds=8 --config.out="$out/$1"
  $python -m surgrec_jax.bench recipes --probe="$out/$1" --json="$out/$1.json"
}

$python -m data_builders build phantom_surgery --config trial --data_dir data
# Steps by what one took in short trial runs, for 160 CPU seconds, starting and compiling included; a frozen teacher's
# time is its student's, too.
each mae mae 800
each levjepa levjepa 150
each jepa jepa 330
frozen "" 300 140
v2_1 "" 280
compare probe mae levjepa jepa frozen v2_1

# 360 CPU seconds.
each mae_long mae 2000
each levjepa_long levjepa 360
each jepa_long jepa 900
compare probe_long mae_long levjepa_long jepa_long
frozen _long 900 400
v2_1 _long 760
compare probe_long mae_long levjepa_long jepa_long frozen_long v2_1_long

# 160 CPU seconds, block-causal.
causal=--config.model.attention=block_causal
each mae_causal mae 800 $causal
each levjepa_causal levjepa 150 $causal
each jepa_causal jepa 330 $causal
frozen _causal 300 140 $causal
v2_1 _causal 280 $causal
compare probe_causal mae_causal levjepa_causal jepa_causal frozen_causal v2_1_causal

# 360 CPU seconds, JEPA with the other trim of its context (docs/objectives.md, "JEPA's context").
side="({'blocks': 8, 'scale': 0.15, 'context': 0.375, 'target': 0.31, 'trim': 'side'},"
side+=" {'blocks': 2, 'scale': 0.7, 'context': 0.22, 'target': 0.5, 'trim': 'side'})"
each jepa_side_long jepa 900 --config.jepa.masks="$side"
compare probe_side jepa_long jepa_side_long

# One change each of the JEPA of 360 CPU seconds (docs/objectives.md, "What the predictor tells").
each jepa_frozen_long jepa 900 --config.jepa.target=frozen --config.jepa.teacher="$out/teacher_long-SEED"
each jepa_small_long jepa 900 --config.jepa.masks="({'blocks': 8, 'scale': 0.15, 'context': 0.375, 'target': 0.31},)"
each jepa_deep_long jepa 900 --config.jepa.predictor_depth=4
each jepa_slow_long jepa 900 --config.optim.momentum=0.99
each jepa_batch_long jepa 900 --config.batch_size=64 --config.optim.reference_batch=64
wait
for run in "$out"/{jepa,v2_1,frozen}*_long-*/; do
  $python -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "metrics.jsonl")]
names = [name for name in lines[-1] if name.startswith("predictor_r2")]
last = [line for line in lines if line["step"] > lines[-1]["step"] - 100 and names[0] in line]
print(sys.argv[1], *(f"{name[10:]} {sum(x[name] for x in last) / len(last):.3f}" for name in names))' "$run"
done

for cpu in "$out"/*.cpu; do
  awk -v run="$(basename "$cpu" .cpu)" '{s += $1 + $2} END {printf "%s: %.0f CPU s\n", run, s}' "$cpu"
done
