"""The line that a command ends with: what a user does next with what it made."""


def after_training(run: str, classifies: bool, scored: bool) -> str:
    """The command for a run that is complete.

    Args:
        run: a workdir or checkpoint.
        classifies: whether it has a classifier, which predicts.
        scored: whether it was scored on labels while it trained, which a probe asks too.
    """
    if classifies:
        return f"python -m surgrec_jax.predict --config.checkpoint={run} VIDEO... --out PREDICTIONS"
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
