#!/usr/bin/env bash
# Do recipes learn? MAE, JEPA, JEPA with a frozen teacher, V-JEPA 2.1's training and LeVJEPA against random initialisation
# and each other, on phantom surgery's `trial`, at equal CPU seconds, frozen linear probes on 40 patients.
# Usage: launch/recipes.sh [OUT] [SEEDS] [SECTIONS]   (default runs/recipes "0 1 2" "short long"; run again, it continues)
# Sections: short (160 CPU seconds a run), long (360), causal and causal_long (the same, block-causal); after these,
# attentive_short, attentive (of long), attentive_causal and attentive_causal_long (their encoders by attentive probes); side
# and changes (JEPA's context; one change each).
# What is asked, in which order, and what came: docs/objectives.md. Phantom data, not clinical.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/recipes}
read -ra seeds <<<"${2:-0 1 2}"
read -ra sections <<<"${3:-short long}"
mkdir -p "$out"
TIMEFORMAT='%U %S'

train() { # NAME SEED OBJECTIVE STEPS [FLAGS...]: a run, and its CPU seconds in NAME-SEED.cpu
  local run="$out/$1-$2"
  [ -f "$run.done" ] && return
  if ! { time $python -m surgrec_jax.main --config=configs/"$3".py:tiny --workdir="$run" --config.seed="$2" \
    --config.steps="$4" --config.data.sources=phantom_surgery/trial --config.probe.every=0 \
    --config.images.every=0 --config.checkpoint.every="$4" "${@:5}" >>"$run.log" 2>&1; } 2>>"$run.cpu"; then
    echo "$run failed: $(tail -n 1 "$run.log")" >&2
    return 1
  fi
  touch "$run.done"
}
each() { # NAME OBJECTIVE STEPS [FLAGS...]: every seed (SEED in a flag is its number), two runs at a time
  local flags=("${@:4}")
  for seed in "${seeds[@]}"; do
    while (($(jobs -rp | wc -l) > 1)); do wait -n; done
    train "$1" "$seed" "${@:2:2}" "${flags[@]//SEED/$seed}" &
  done
}
ended() { # NAME...: waits for all runs; those of these names, of every seed, must have come to their end
  wait
  for name in "$@"; do
    for seed in "${seeds[@]}"; do
      [ -f "$out/$name-$seed.done" ] || { echo "$out/$name-$seed has not ended: run this again" >&2; exit 1; }
    done
  done
}
frozen() { # SUFFIX TEACHER_STEPS STEPS [FLAGS...]: a MAE, then JEPA with it as the teacher
  each "teacher$1" mae "$2" "${@:4}"
  ended "teacher$1"
  each "frozen$1" jepa "$3" --config.jepa.target=frozen --config.jepa.teacher="$out/teacher$1-SEED" "${@:4}"
}
v2_1() { # SUFFIX STEPS [FLAGS...]
  each "v2_1$1" jepa "$2" --config.jepa.levels=4 --config.jepa.visible_weight=0.5 \
    --config.jepa.visible_warmup="$(($2 / 5)),$((2 * $2 / 5))" "${@:3}"
}
probe() { # PROBE HEAD "RECIPE..." [FLAGS...]: probes of all seeds, and the table
  local checkpoints="" recipes
  read -ra recipes <<<"$3"
  ended "${recipes[@]}"
  for recipe in "${recipes[@]}"; do
    for seed in "${seeds[@]}"; do checkpoints+="$recipe-$seed=$out/$recipe-$seed,"; done
  done
  $python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.source=phantom_surgery/trial \
    --config.checkpoint="$checkpoints" --config.tasks=phase,action,instruments --config.heads="$2" \
    --config.out="$out/$1" "${@:4}"
  $python -m surgrec_jax.bench recipes --probe="$out/$1" --head="$2" --json="$out/$1.json"
}
compare() { probe "$1" linear "${*:2}" --config.init_seeds=8; } # PROBE RECIPE...

# Steps by what one took in short trial runs, for the CPU seconds of the budget, starting and compiling included; a frozen
# teacher's time is its student's, too.
five() { # SUFFIX, steps of MAE, LEVJEPA, JEPA, TEACHER, STUDENT, V2_1 [FLAGS...]
  each "mae$1" mae "$2" "${@:8}"
  each "levjepa$1" levjepa "$3" "${@:8}"
  each "jepa$1" jepa "$4" "${@:8}"
  frozen "$1" "$5" "$6" "${@:8}"
  v2_1 "$1" "$7" "${@:8}"
  compare "probe$1" mae"$1" levjepa"$1" jepa"$1" frozen"$1" v2_1"$1"
}
causal_flag=--config.model.attention=block_causal
short() { five "" 800 150 330 300 140 280; }
long() { five _long 2000 360 900 900 400 760; }
causal() { five _causal 800 150 330 300 140 280 $causal_flag; }
causal_long() { five _causal_long 2000 360 900 900 400 760 $causal_flag; }

attend() { # PROBE SUFFIX: five encoders by attentive probes, the rates of the published grid at one weight decay
  probe "$1" attentive_rates "mae$2 levjepa$2 jepa$2 frozen$2 v2_1$2" --config.init_seeds=8 --config.seeds=1
}
attentive() { attend probe_attentive _long; }
attentive_short() { attend probe_attentive_short ""; }
attentive_causal() { attend probe_attentive_causal _causal; }
attentive_causal_long() { attend probe_attentive_causal_long _causal_long; }

side() { # 360 CPU seconds, JEPA with the other trim of its context (docs/objectives.md, "JEPA's context")
  local masks="({'blocks': 8, 'scale': 0.15, 'context': 0.375, 'target': 0.31, 'trim': 'side'},"
  masks+=" {'blocks': 2, 'scale': 0.7, 'context': 0.22, 'target': 0.5, 'trim': 'side'})"
  each jepa_long jepa 900
  each jepa_side_long jepa 900 --config.jepa.masks="$masks"
  compare probe_side jepa_long jepa_side_long
}

changes() { # one change each of the JEPA of 360 CPU seconds (docs/objectives.md, "What the predictor tells")
  local small="({'blocks': 8, 'scale': 0.15, 'context': 0.375, 'target': 0.31},)"
  each jepa_long jepa 900
  each teacher_long mae 900
  ended jepa_long teacher_long
  each jepa_frozen_long jepa 900 --config.jepa.target=frozen --config.jepa.teacher="$out/teacher_long-SEED"
  each jepa_small_long jepa 900 --config.jepa.masks="$small"
  each jepa_deep_long jepa 900 --config.jepa.predictor_depth=4
  each jepa_slow_long jepa 900 --config.optim.momentum=0.99
  each jepa_batch_long jepa 900 --config.batch_size=64 --config.optim.reference_batch=64
  ended jepa_{frozen,small,deep,slow,batch}_long
  for run in "$out"/{jepa,v2_1,frozen}*_long-*/; do
    $python -c '
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1] + "metrics.jsonl")]
names = [name for name in lines[-1] if name.startswith("predictor_r2")]
last = [line for line in lines if line["step"] > lines[-1]["step"] - 100 and names[0] in line]
print(sys.argv[1], *(f"{name[10:]} {sum(x[name] for x in last) / len(last):.3f}" for name in names))' "$run"
  done
}

known="short long causal causal_long attentive attentive_short attentive_causal attentive_causal_long side changes"
for section in "${sections[@]}"; do
  [[ " $known " == *" $section "* ]] || { echo "no section '$section': choose from $known" >&2; exit 2; }
done
$python -m data_builders build phantom_surgery --config trial --data_dir data
for section in "${sections[@]}"; do "$section"; done

for cpu in "$out"/*.cpu; do
  awk -v run="$(basename "$cpu" .cpu)" '{s += $1 + $2} END {printf "%s: %.0f CPU s\n", run, s}' "$cpu"
done
