"""Launch scripts, as far as they can be checked without a cloud: linted, printed, run locally."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from surgrec_jax.bench.synthetic import write_synthetic
from tests.xla_flags import xla_flags

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch"
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def sh(*words, **environment):
    return subprocess.run(
        ["bash", *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed (requirements-dev.txt)")
def test_shell_scripts_are_clean(tmp_path):
    scripts = [*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")]
    for key in ("setup", "run"):
        script = tmp_path / f"skypilot_{key}.sh"
        script.write_text(
            "#!/bin/bash\n" + yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())[key]
        )
        scripts.append(script)
    done = subprocess.run([SHELLCHECK, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_tpu_vm_prints_what_it_would_do():
    up = sh(
        LAUNCH / "tpu_vm.sh",
        *("up", "my-tpu", "--type=v4-32", "--zone=us-central2-b", "--project=p", "--dry_run"),
        *("--spot", "--bucket=b"),
    )
    assert up.returncode == 0, up.stderr
    create, pack, copy, *rest = up.stdout.splitlines()
    assert create.split() == [
        *("gcloud", "compute", "tpus", "queued-resources", "create", "my-tpu", "--node-id=my-tpu"),
        *("--accelerator-type=v4-32", "--runtime-version=tpu-ubuntu2204-base", "--spot"),
        *("--project=p", "--zone=us-central2-b"),
    ]
    assert r"--exclude=./.venv\*" in pack
    assert "tpu-vm scp" in copy and "--worker=all" in copy
    assert any("gcsfuse" in line for line in rest) and any("tpu" in line for line in rest)

    run = sh(
        LAUNCH / "tpu_vm.sh",
        *("run", "my-tpu", "--zone=z", "--dry_run", "--", "--config=configs/mae.py"),
        "--config.data.sources=a b",
    )
    (line,) = run.stdout.splitlines()
    assert "--worker=all" in line and "surgrec_jax.main" in line and "--distributed" in line
    down = sh(LAUNCH / "tpu_vm.sh", "down", "my-tpu", "--zone=z", "--dry_run")
    assert "queued-resources delete my-tpu --force" in down.stdout


# What gcloud does on one host with the command it is given.
GCLOUD = """#!/bin/bash
cd ~ && for word; do [[ $word != --command=* ]] || exec bash -c "${word#--command=}"; done
"""
# What counts of a run: it says so when it has begun, and saves when it is told to stop.
MAIN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
print(sys.argv[1:], flush=True)
time.sleep(20)
"""


def test_tpu_vm_stops_the_run_it_started(tmp_path):
    checkout = tmp_path / "surgrec_jax"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / "run.log").touch()
    (checkout / "surgrec_jax").mkdir()
    (checkout / "surgrec_jax" / "main.py").write_text(MAIN)
    (tmp_path / "gcloud").write_text(GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    host = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def waits_for(text):
        for _ in range(200):
            if text in (checkout / "run.log").read_text():
                return True
            time.sleep(0.05)
        return False

    run = ("run", "my-tpu", "--zone=z", "--", "--config.name=a b")
    assert sh(LAUNCH / "tpu_vm.sh", *run, **host).returncode == 0
    assert waits_for("['--distributed', '--config.name=a b']")
    stop = sh(LAUNCH / "tpu_vm.sh", "stop", "my-tpu", "--zone=z", **host)
    assert stop.returncode == 0, stop.stderr
    assert waits_for("saved")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "My_TPU", "--zone=z"], "small letters"),
        (["up", "t", "--zone=z", "--dry_run"], "--type is missing"),
        (["up", "t", "--type=v9-4", "--zone=z", "--dry_run"], "v9-4 is not known"),
        (["up", "t", "--type=v4-8"], "--zone is missing"),
        (["run", "t", "--zone=z"], "arguments of surgrec_jax.main"),
        (["up", "t", "--colour=red"], "unknown option --colour=red"),
        ([], "Pretraining on a Cloud TPU"),
    ],
)
def test_tpu_vm_refuses(words, message):
    done = sh(LAUNCH / "tpu_vm.sh", *words)
    assert done.returncode == 2 and message in done.stderr


def keys_within(value, allowed, where):
    assert isinstance(value, dict) and set(value) <= set(allowed), f"{where}: {set(value)}"


def test_jobset_has_the_form_of_the_api():
    """Field names of jobset.x-k8s.io/v1alpha2, batch/v1 and core/v1 at every level."""
    jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    keys_within(jobset, ("apiVersion", "kind", "metadata", "spec"), "JobSet")
    spec = jobset["spec"]
    keys_within(
        spec,
        ("replicatedJobs", "network", "successPolicy", "failurePolicy", "startupPolicy", "suspend"),
        "spec",
    )
    assert isinstance(spec["failurePolicy"]["maxRestarts"], int)
    (replicated,) = spec["replicatedJobs"]
    keys_within(replicated, ("name", "template", "replicas"), "replicatedJobs")
    job = replicated["template"]["spec"]
    keys_within(
        job,
        ("parallelism", "completions", "backoffLimit", "completionMode", "template"),
        "Job",
    )
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    # Hosts of the slice: chips of the topology over chips of a host.
    sides = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = int(sides[0]) * int(sides[1])
    limits = container["resources"]["limits"]["google.com/tpu"]
    assert limits == container["resources"]["requests"]["google.com/tpu"]
    assert job["parallelism"] == job["completions"] == chips // int(limits)
    assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never"
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["volumes"]}
    # Cloud Storage's driver takes pods on the host's network only where they say so.
    (volume,) = pod["volumes"]
    opted_in = volume["csi"]["volumeAttributes"].get("hostNetworkPodKSA") == "true"
    assert opted_in or not pod.get("hostNetwork")
    check_command([*container["command"], *container["args"]])


def test_skypilot_has_the_form_of_a_task():
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    known = ("name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run")
    keys_within(task, known, "task")
    resources = ("infra", "accelerators", "accelerator_args", "use_spot")
    keys_within(task["resources"], resources, "resources")
    assert all(isinstance(value, str) for value in task["envs"].values())
    used = set(re.findall(r"\$\{?([A-Z_]+)", task["setup"] + task["run"]))
    from_sky = {"SKYPILOT_NUM_NODES", "SKYPILOT_NODE_IPS", "SKYPILOT_NODE_RANK"}
    assert used - from_sky <= set(task["envs"])
    flags = re.findall(r"--config\.[\w.]+=?\S*", task["run"]) + task["envs"]["MORE"].split()
    check_command(["--config=" + task["envs"]["CONFIG"], *flags])


def check_command(words):
    """The config keys of a command exist."""
    import runpy

    from surgrec_jax.config.values import flatten

    (config,) = [w.removeprefix("--config=") for w in words if w.startswith("--config=")]
    known = flatten(runpy.run_path(str(ROOT / config))["get_config"]().to_dict())
    keys = {w.split("=")[0].removeprefix("--config.") for w in words if "--config." in w}
    assert keys and keys <= known.keys()


@pytest.mark.parametrize("name", ["tpu_vm.sh", "gke_jobset.yaml", "skypilot.yaml"])
def test_buckets_are_made_so_that_folders_can_be_renamed(name):
    (command,) = re.findall(r"gcloud storage buckets create .*\\\n.*", (LAUNCH / name).read_text())
    assert "--uniform-bucket-level-access" in command
    assert "--enable-hierarchical-namespace" in command


def test_slurm_prints_its_command():
    done = sh(LAUNCH / "slurm.sbatch", "--config=configs/mae.py", DRY_RUN="1")
    assert done.stdout.startswith("srun ") and "--config=configs/mae.py" in done.stdout
    done = sh(LAUNCH / "slurm.sbatch", "--config=x", DRY_RUN="1", SLURM_CPUS_PER_TASK="3")
    assert "--cpus-per-task=3" in done.stdout and "num_threads=3" in done.stdout
    assert sh(LAUNCH / "slurm.sbatch").returncode == 2


# What srun does for one node: the tasks, each with its place in the environment.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for i in 0 1; do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" 2> "$LOGS/$i.err" &
  pids+=($!)
done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit $code
"""


@pytest.mark.slow
def test_slurm_runs_two_processes_here_and_asks_to_be_queued_again(tmp_path):
    """The script itself, with an srun and a scontrol that do on this machine what Slurm's do."""
    write_synthetic(tmp_path / "data", records=8, short_side=40)
    programs = {"srun": SRUN, "scontrol": f'#!/bin/bash\necho "$*" > {tmp_path}/scontrol\n'}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "LOGS": str(tmp_path),
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NTASKS": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
        "XLA_FLAGS": xla_flags(1),
    }
    arguments = [
        f"--config={ROOT}/configs/mae.py:tiny",
        f"--workdir={tmp_path}/run",
        f"--config.data.data_dir={tmp_path}/data",
        *("--config.data.sources=synthetic", "--config.steps=6", "--config.batch_size=4"),
        *("--config.model.width=48", "--config.model.depth=1", "--config.model.heads=3"),
        *("--config.model.mlp_dim=96", "--config.model.image_size=32", "--config.mesh.fsdp=2"),
        *("--config.mae.decoder_width=24", "--config.mae.decoder_heads=3"),
        *("--config.probe.every=0", "--config.images.every=0", "--config.optim.warmup_steps=1"),
        "--config.log_every=1",
    ]
    script = LAUNCH / "slurm.sbatch"
    first = sh(script, *arguments, "--config.stop_after=3", **environment)
    errors = "".join((tmp_path / f"{i}.err").read_text() for i in (0, 1))
    assert first.returncode == 0, first.stderr + errors
    assert "exit code 75" in first.stdout
    assert (tmp_path / "scontrol").read_text().split() == ["requeue", environment["SLURM_JOB_ID"]]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if "loss" in line]
    assert steps == [1, 2, 3]
    assert "2 cpu device(s)" in errors
