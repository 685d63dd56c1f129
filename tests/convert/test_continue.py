"""Pretraining that goes on from an import, with the parts that the file had."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from convert.test_strict import golden_file
from surgrec_jax.convert import ImportOptions, import_file
from surgrec_jax.convert.import_plan import nest
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.models.presets import Compute
from surgrec_jax.objectives import find_objective
from surgrec_jax.warm_start import WarmStart

DECODER = {"decoder_depth": 2, "decoder_width": 24, "decoder_heads": 2, "mask_ratio": 0.5}
MASKS = [{"blocks": 2, "scale": 0.2, "context": 6, "target": 3}]
PREDICTOR = {"predictor_depth": 2, "predictor_width": 24, "predictor_heads": 2, "masks": MASKS}


def without_predictor(tensors):
    for key in [key for key in tensors if ".predictor." in key]:
        del tensors[key]


@pytest.mark.parametrize(
    "name, objective, options, change, said",
    [
        (
            "hf_videomae",
            "mae",
            DECODER,
            None,
            "decoder, encoder; new: nothing; left behind: nothing",
        ),
        (
            "hf_vjepa2",
            "jepa",
            PREDICTOR,
            None,
            "encoder, predictor, EMA target; new: nothing; left behind: head",
        ),
        (
            "hf_vjepa2",
            "jepa",
            PREDICTOR,
            without_predictor,
            "encoder, EMA target; new: predictor; left behind: head",
        ),
    ],
)
def test_what_is_taken(tmp_path, capsys, name, objective, options, change, said):
    folder, _ = golden_file(tmp_path, name, change=change)
    one = {} if change or objective == "mae" else {"mask_tokens": (0,)}
    import_file(folder, tmp_path / "run", ImportOptions(**one))
    model = Model(tmp_path / "run")
    learner = find_objective(objective).from_config(model.encoder, options, Compute())
    abstract = {"params": jax.eval_shape(learner.init, jax.random.key(0))}
    if learner.uses_target:
        abstract["target_params"] = learner.target_of(abstract["params"])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device), abstract
    )
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), abstract)
    values = {"init_from": str(tmp_path / "run"), "model": {"preset": "checkpoint"}}
    start = WarmStart(ConfigDict(values | {"data": {"fps": 4.0, "sources": "own"}}))
    start.complete()
    taken = start.weights(state, abstract, learner)
    assert f"({name}): {said}" in capsys.readouterr().out
    saved = nest(model.params)
    for tree in taken:
        for part, values in taken[tree].items():
            wanted = saved[tree].get(part) or state[tree][part]
            jax.tree.map(np.testing.assert_array_equal, values, wanted)
