"""Files of the original repositories: imported and exported, the same keys and the same bits."""

import pytest

from convert.test_export import CLIP, SIZES, run_of, same
from surgrec_jax.convert import ImportOptions, export_checkpoint, import_file
from surgrec_jax.convert.import_plan import flatten
from surgrec_jax.convert.saved_model import Model
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.position import sincos_3d
from surgrec_jax.models.presets import ViTConfig

torch = pytest.importorskip("torch", reason="torch files need torch")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import (  # noqa: E402
    OPTIONS,
    SMALL,
    torch_state,
    videomae_shapes,
    vjepa_groups,
)


def test_torch_formats_there_and_back(tmp_path):
    cases_ = {
        "videomae": {"model": torch_state(videomae_shapes())},
        "vjepa2": {k: v for k, v in vjepa_groups().items() if k not in ("opt", "epoch", "loss")},
    }
    for name, groups in cases_.items():
        torch.save(groups, tmp_path / f"{name}.pth")
        import_file(tmp_path / f"{name}.pth", tmp_path / name, OPTIONS)
        files = export_checkpoint(tmp_path / name, tmp_path / f"{name}_out", name, whole=True)
        back = torch.load(files[0], weights_only=True)
        if name == "vjepa2":
            assert back.pop("epoch") == 0
        assert back.keys() == groups.keys()
        for group, state in groups.items():
            same(*({k: v.numpy() for k, v in s.items()} for s in (back[group], state)))
    shapes = ref.encoder_shapes("", qv=True) | ref.norm_shapes("fc_norm")
    state = torch_state(shapes | {"head.weight": [5, 48], "head.bias": [5]})
    torch.save({"module": state}, tmp_path / "fine.pth")
    import_file(tmp_path / "fine.pth", tmp_path / "fine", ImportOptions(**SMALL))
    files = export_checkpoint(tmp_path / "fine", tmp_path / "fine_out", "videomae", whole=True)
    back = torch.load(files[0], weights_only=True)["module"]
    same({k: v.numpy() for k, v in back.items()}, {k: v.numpy() for k, v in state.items()})


def test_a_fine_tuned_run_as_videomae_names_it(tmp_path):
    fields = {"position": "sincos_1d", "qkv_bias": "qv", "final_norm": "pooled"}
    config = ViTConfig(**SIZES, **CLIP, **fields)
    state = run_of(tmp_path / "run", "classify", config, head=HeadConfig("linear", 2), ema=True)
    files = export_checkpoint(tmp_path / "run", tmp_path / "out", "videomae", whole=True)
    names = torch.load(files[0], weights_only=True)["model"]
    assert {"patch_embed.proj.weight", "fc_norm.weight", "head.weight"} < names.keys()
    import_file(files[0], tmp_path / "again", ImportOptions(**SMALL))
    again = flatten(state["target_params"])
    same(Model(tmp_path / "again").params, {f"params/{k}": v for k, v in again.items()})


def test_vjepa1_there_and_back_with_its_tables(tmp_path):
    groups = {k: v for k, v in vjepa_groups().items() if k not in ("opt", "epoch", "loss")}
    table = torch.from_numpy(sincos_3d((2, 4, 4), 48)[None])
    for name in ("encoder", "target_encoder"):
        groups[name]["module.backbone.pos_embed"] = table
    narrow = torch.from_numpy(sincos_3d((2, 4, 4), 24)[None])
    groups["predictor"]["module.backbone.predictor_pos_embed"] = narrow
    torch.save(groups, tmp_path / "a.pt")
    import_file(tmp_path / "a.pt", tmp_path / "run", ImportOptions(**SMALL))
    files = export_checkpoint(tmp_path / "run", tmp_path / "out", "vjepa1", whole=True)
    back = torch.load(files[0], weights_only=True)
    assert back.pop("epoch") == 0  # its load_pretrained reads it unasked
    assert back.keys() == groups.keys()
    for group, state in groups.items():
        same(*({k: v.numpy() for k, v in s.items()} for s in (back[group], state)))
