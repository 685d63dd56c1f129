#!/usr/bin/env bash
# One run on open data: from downloads that need no request form to a page of results, so that a group can repeat it before
# it believes us. docs/reproduce.md says what to download, what it costs, and what to compare.
#
# Usage: launch/open_benchmark.sh DOWNLOADS [OUT] [--dry_run]
#   DOWNLOADS/NAME holds the download of the source NAME; a source without a folder is left out, and the run says so.
#   OUT (default runs/open) gets data sets, runs, curation and benchmark. --dry_run prints the commands and runs none.
# Stopped anywhere, the same command goes on there: every command of it does.
# Environment: MODEL (a variant of configs/mae.py, default one_gpu), STEPS (default the variant's 60,000), LEVELS (clusters
# of the curation, default 2000,200,20).
#
# Expected, as estimates and not as measurements (docs/reproduce.md says from what): 70 GB of records besides the downloads,
# an hour of 16 cores to build, half a day of one 24 GB card for both pretrainings, an hour to evaluate; some 10 to 20 USD of
# a rented machine.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
words=()
dry=
for word; do
  if [ "$word" = --dry_run ]; then dry=1; else words+=("$word"); fi
done
downloads=${words[0]:?usage: launch/open_benchmark.sh DOWNLOADS [OUT] [--dry_run]}
out=${words[1]:-runs/open}
model=${MODEL:-one_gpu}
steps=${STEPS:-60000}
levels=${LEVELS:-2000,200,20}
every=$((steps < 5000 ? steps : 5000))

run() {
  printf '+ %s\n' "$*"
  [ -n "$dry" ] || "$@"
}

sources=
for name in hyper_kvasir kvasir_capsule cataract101 grasp surgical_actions160 ldpolypvideo colonoscopic; do
  if [ -z "$dry" ] && [ ! -d "$downloads/$name" ]; then
    echo "left out: $name (no folder $downloads/$name)"
    continue
  fi
  run $python -m data_builders check "$name" --manual_dir "$downloads/$name"
  run $python -m data_builders build "$name" --manual_dir "$downloads/$name" --data_dir "$out/data"
  sources+="${sources:+,}$name"
done
if [ -z "$sources" ]; then
  echo "$downloads has a folder of none of the sources; docs/reproduce.md says how they are called" >&2
  exit 1
fi
run $python -m data_builders audit --data_dir "$out/data" --json "$out/audit.json"

train() { # NAME STEPS [FLAGS...]
  run $python -m surgrec_jax.main --config=configs/mae.py:"$model" --workdir="$out/$1" --config.steps="$2" \
    --config.data.sources="$sources" --config.data.data_dir="$out/data" --config.checkpoint.every="$every" \
    --config.optim.warmup_steps=$(($2 / 20)) --config.probe.every=0 --config.images.every="$every" "${@:3}"
}
train as_it_comes "$steps" --config.data.temperature=1.0
run $python -m surgrec_jax.curation --config=configs/curation.py --config.checkpoint="$out/as_it_comes" \
  --config.sources="$sources" --config.data_dir="$out/data" --config.out="$out/curation" \
  --config.cluster.levels="$levels" --config.plan.steps="$steps"
train balanced "$steps" --config.data.manifest="$out/curation/manifest.json"
run $python -m surgrec_jax.benchmark --config=configs/benchmark.py --config.sources="$sources" \
  --config.data_dir="$out/data" --config.out="$out/benchmark" \
  --config.checkpoints="as it comes=$out/as_it_comes,balanced=$out/balanced"
echo "results  $out/benchmark/index.html, results.md beside it"
