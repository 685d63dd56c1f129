"""The line that a command ends with: what a user does next with what it made."""

import shlex
from collections.abc import Sequence


def say(following: str) -> None:
    """Prints the last line of a command."""
    print(f"next: {following}", flush=True)


def look_at(page: object) -> str:
    """What one does with a page: a browser opens it."""
    return f"open {shlex.quote(str(page))} in a browser"


def after_check(argv: Sequence[str], to_mend: int) -> str:
    """The build of what was checked, or the same check once files are mended.

    Args:
        argv: the words of the check after `python -m data_builders`.
        to_mend: how many faults it found that a build should not meet.
    """
    if to_mend:
        return f"mend the {to_mend} above, and run the same check again"
    words = ["build", *(word for word in argv[1:] if word not in ("--decode", "--strict"))]
    if "--json" in words:
        del words[(at := words.index("--json")) : at + 2]
    words = [word for word in words if not word.startswith("--json=")]
    return f"python -m data_builders {shlex.join(words)} --data_dir data"


def after_build(source: str, data_dir: str) -> str:
    """The pretraining on a source that was built, name[/config]."""
    return _pretraining(source.partition("/")[0], source, data_dir)


def after_audit(source: str, data_dir: str | None, findings: int) -> str:
    """The pretraining on a data set in which nothing was found, or what findings ask for.

    Args:
        source: the first data set, name[/config].
        data_dir: where it is prepared; None where it is not.
        findings: how many there are.
    """
    if findings:
        return "weigh what was found (docs/evaluation.md), mend splits or labels, and build again"
    if data_dir is None:
        return f"python -m data_builders build {source} --manual_dir DOWNLOAD --data_dir data"
    return after_build(source, data_dir)


def after_training(run: str, classifies: bool, scored: bool) -> str:
    """The command for a run that is complete.

    Args:
        run: a workdir or checkpoint.
        classifies: whether it has a classifier, which predicts.
        scored: whether it was scored on labels while it trained, which a probe asks too.
    """
    if classifies:
        return f"python -m surgrec_jax.predict --checkpoint={run} VIDEO... --out PREDICTIONS"
    program = "probe" if scored else "curation"
    config = f"--config=configs/{program}.py:tiny"
    return f"python -m surgrec_jax.{program} {config} --config.checkpoint={run}"


def after_probe(run: str, classifies: bool, source: str) -> str:
    """The command for an encoder that was probed on a source: fine-tune it, or predict."""
    if classifies:
        return after_training(run, True, True)
    return (
        "python -m surgrec_jax.main --config=configs/finetune.py:tiny --workdir=runs/finetuned "
        f"--config.init_from={run} --config.data.sources={source}"
    )


def after_curation(sources: str, data_dir: str, manifest: object) -> str:
    """The pretraining that draws by a manifest."""
    drawn = f" --config.data.manifest={shlex.quote(str(manifest))}"
    return _pretraining("balanced", sources, data_dir) + drawn


def _pretraining(run: str, sources: str, data_dir: str) -> str:
    elsewhere = "" if data_dir == "data" else f" --config.data.data_dir={shlex.quote(data_dir)}"
    return (
        f"python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/{run} "
        f"--config.data.sources={sources}{elsewhere}"
    )


def after_inspecting(file: str) -> str:
    """The import of a file whose family is known."""
    return f"python -m surgrec_jax.convert import {shlex.quote(file)} --out runs/imported"


def after_import(run: str) -> str:
    """The probe of an imported encoder, on labels that only the user can name."""
    return (
        "python -m surgrec_jax.probe --config=configs/probe.py "
        f"--config.checkpoint={shlex.quote(run)} --config.source=NAME"
    )


def after_export(folder: str) -> str:
    """What a folder of exported weights says of itself: how it is loaded elsewhere."""
    return f"load it as {shlex.quote(folder)}/README.md shows"
