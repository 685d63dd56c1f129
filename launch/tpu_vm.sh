#!/usr/bin/env bash
# Pretraining on a Cloud TPU: a single VM or a pod slice, through queued resources.
#
#   launch/tpu_vm.sh up    NAME --type=v5litepod-16 --zone=europe-west4-b [--spot] [--bucket=BUCKET]
#   launch/tpu_vm.sh run   NAME --zone=ZONE -- --config=configs/mae.py --workdir=bucket/runs/mae ...
#   launch/tpu_vm.sh tail  NAME --zone=ZONE       # what the run says
#   launch/tpu_vm.sh stop  NAME --zone=ZONE       # it saves and can go on with the same `run`
#   launch/tpu_vm.sh down  NAME --zone=ZONE       # gives the machines back
#
# Options: --project=ID (gcloud's own otherwise), --runtime=VERSION, --dry_run (prints the commands).
# `up` waits for the machines, copies this checkout to every host, installs it there, and mounts the
# Cloud Storage bucket at ~/surgrec_jax/bucket: all hosts of a slice need the same --workdir and data.
# A bucket that checkpoints can be written to is made with a hierarchical namespace:
#   gcloud storage buckets create gs://BUCKET --location=REGION --uniform-bucket-level-access \
#       --enable-hierarchical-namespace
# Types: v4-32 and v5p-32 have 16 chips (the number counts cores), v5litepod-16 and v6e-16 too.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "tpu_vm.sh: $*" >&2; exit 2; }
usage() { sed -n '2,17s/^# \{0,1\}//p' launch/tpu_vm.sh; }

action=${1:-}; name=${2:-}
case $action in
  up | run | tail | stop | down) shift 2 || fail "a NAME is missing" ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
[[ $name =~ ^[a-z][a-z0-9-]*$ ]] || fail "NAME '$name' must be of small letters, digits and -"

type='' zone='' bucket='' runtime='' dry='' common=() spot=() args=()
while (($#)); do
  case $1 in
    --type=*) type=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --bucket=*) bucket=${1#*=} ;;
    --runtime=*) runtime=${1#*=} ;;
    --project=*) common+=("$1") ;;
    --spot) spot=(--spot) ;;
    --dry_run) dry=1 ;;
    --) shift; args=("$@"); break ;;
    *) fail "unknown option $1" ;;
  esac
  shift
done
[[ $zone ]] || fail "--zone is missing, e.g. --zone=europe-west4-b"
common+=("--zone=$zone")

# The software that fits a kind of TPU (cloud.google.com/tpu/docs/runtimes).
runtime_of() {
  case $1 in
    v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) fail "--type=$1 is not known: v4-N, v5litepod-N, v5p-N or v6e-N" ;;
  esac
}

do_it() {
  if [[ $dry ]]; then printf '%q ' "$@"; echo; else "$@"; fi
}

tpus() { do_it gcloud compute tpus "$@" "${common[@]}"; }

everywhere() { tpus tpu-vm ssh "$name" --worker=all --command="cd ~/surgrec_jax && $1"; }

wait_for_machines() {
  local state
  while :; do
    state=$(gcloud compute tpus queued-resources describe "$name" "${common[@]}" \
      --format='value(state.state)')
    echo "$(date +%T) $name: $state"
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDED) fail "the request for $name is $state; see: gcloud compute tpus \
queued-resources describe $name --zone=$zone, then: launch/tpu_vm.sh down $name --zone=$zone" ;;
    esac
    sleep 30
  done
}

case $action in
  up)
    [[ $type ]] || fail "--type is missing, e.g. --type=v5litepod-16"
    runtime=${runtime:-$(runtime_of "$type")}
    tpus queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
      --runtime-version="$runtime" "${spot[@]}"
    [[ $dry ]] || wait_for_machines
    archive=$(mktemp --suffix=.tar.gz)
    trap 'rm -f "$archive"' EXIT
    do_it tar '--exclude=./.venv*' --exclude=./.git --exclude=./data --exclude=./runs -czf "$archive" .
    tpus tpu-vm scp "$archive" "$name:surgrec_jax.tar.gz" --worker=all
    tpus tpu-vm ssh "$name" --worker=all \
      --command="mkdir -p ~/surgrec_jax && tar -xzf ~/surgrec_jax.tar.gz -C ~/surgrec_jax"
    # The images have Python 3.10; uv brings a newer one.
    everywhere "python3 -m pip install --quiet --user uv && \
~/.local/bin/uv venv --quiet --python 3.12 .venv && \
~/.local/bin/uv pip install --quiet --python .venv/bin/python -e '.[tpu]'"
    if [[ $bucket ]]; then
      everywhere "command -v gcsfuse > /dev/null || { \
echo \"deb https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" | \
sudo tee /etc/apt/sources.list.d/gcsfuse.list && \
curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo apt-key add - && \
sudo apt-get update -q && sudo apt-get install -qy gcsfuse; }; \
mkdir -p bucket && { mountpoint -q bucket || gcsfuse --implicit-dirs $bucket bucket; }"
    fi
    ;;
  run)
    ((${#args[@]})) || fail "after -- come the arguments of surgrec_jax.main"
    quoted=$(printf '%q ' "${args[@]}")
    # In braces: `a && b & c` sends `a && b` to the background, and $! would be that shell's.
    everywhere "{ setsid nohup .venv/bin/python -m surgrec_jax.main --distributed $quoted \
>> run.log 2>&1 < /dev/null & echo \$! > run.pid; }"
    ;;
  tail) tpus tpu-vm ssh "$name" --worker=0 --command="tail -n 50 -F ~/surgrec_jax/run.log" ;;
  stop) everywhere "kill -TERM \$(cat run.pid)" ;;
  down) tpus queued-resources delete "$name" --force --quiet ;;
esac
