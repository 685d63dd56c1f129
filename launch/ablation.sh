#!/usr/bin/env bash
# Balanced sampling on phantom surgery: unbalanced, domains ** 0.5, cluster-balanced, the same with repeats capped; equal
# compute, three seeds.
# Usage: launch/ablation.sh [OUT] [STEPS] [OBJECTIVE] [EDITION]   (default runs/ablation 300 mae 2; run again, it continues)
# With the first edition about a quarter of an hour on two cores, with 1000 steps half an hour, and ten minutes more to draw
# the corpora. Phantom data, not clinical: what it shows is in docs/curation.md.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
out=${1:-runs/ablation}
steps=${2:-300}
objective=${3:-mae}
case ${4:-2} in
1) imbalanced=first_imbalanced balanced=first_balanced records=606 ;;
*) imbalanced=imbalanced balanced=balanced records=981 ;;
esac
batch=16
[ "$objective" = levjepa ] && batch=64
cap=$((8 * steps * batch / records)) # eight times as often as each record comes if all come alike

train() { # NAME SEED [FLAGS...]
  $python -m surgrec_jax.main --config=configs/"$objective".py:tiny --workdir="$out/$1-$2" --config.seed="$2" \
    --config.steps="$steps" --config.data.sources=phantom_surgery/"$imbalanced" --config.data.num_threads=2 \
    --config.probe.every=0 --config.images.every=0 --config.checkpoint.every="$steps" "${@:3}"
}
curate() { # NAME SEED [FLAGS...]
  $python -m surgrec_jax.curation --config=configs/curation.py:tiny --config.checkpoint="$out/unbalanced-$2" \
    --config.sources=phantom_surgery/"$imbalanced" --config.out="$out/curation-$1-$2" \
    --config.plan.steps="$steps" --config.cluster.seed="$2" "${@:3}"
}

for corpus in "$imbalanced" "$balanced"; do
  $python -m data_builders build phantom_surgery --config "$corpus" --data_dir data
done
for seed in 0 1 2; do
  train unbalanced $seed
  curate clusters $seed
  for arm in domains capped; do # the same embeddings and clusters
    mkdir -p "$out/curation-$arm-$seed"
    cp -r "$out/curation-clusters-$seed/embeddings" "$out/curation-clusters-$seed/clusters" "$out/curation-$arm-$seed/"
  done
  curate capped $seed --config.balance.max_repeats=$cap
  curate domains $seed --config.cluster.levels= --config.balance.group=domain --config.balance.group_temperature=0.5
  for arm in domains clusters capped; do
    train $arm $seed --config.data.manifest="$out/curation-$arm-$seed/manifest.json"
  done
done

checkpoints=
for run in {unbalanced,domains,clusters,capped}-{0,1,2}; do
  checkpoints+="$run=$out/$run,"
done
$python -m surgrec_jax.probe --config=configs/probe.py:tiny --config.source=phantom_surgery/"$balanced" \
  --config.checkpoint="$checkpoints" --config.tasks=phase,action,domain \
  --config.heads=linear --config.clips_per_record=3 --config.out="$out/probe"
$python -m surgrec_jax.bench ablation --tasks=phase,action,domain --predictions="$out/probe/predictions.npz" --json="$out/ablation.json"
