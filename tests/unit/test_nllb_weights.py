"""Reading checkpoints for the hand-written decoder."""

import json

import pytest

from stt import embedded
from stt.errors import EngineUnavailable

torch = pytest.importorskip("torch", reason="the hand-written decoder needs torch")

from stt.nllb import weights  # noqa: E402


def test_int8_rows_survive_reading_and_storing_again():
    read = weights.read(embedded.FOLDER, torch.float32, torch.float32, "cpu")
    values, _ = weights.quantize(read.embedding)
    stored = torch.from_numpy(embedded.tensors()["model.shared.weight"])
    assert torch.equal(values, stored)


def test_another_architecture_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(EngineUnavailable, match="t5"):
        weights.read_shape(tmp_path)


def test_a_missing_tensor_is_named(tmp_path):
    (tmp_path / "config.json").write_bytes((embedded.FOLDER / "config.json").read_bytes())
    with pytest.raises(EngineUnavailable, match=r"shared\.weight"):
        weights.read(tmp_path, torch.float32, torch.float32, "cpu")


def test_positions_are_those_the_packaged_engines_use():
    ours = weights.sinusoids(20, 512, torch.device("cpu"))
    torch.testing.assert_close(
        ours, torch.from_numpy(embedded.positions(20, 512)), atol=1e-5, rtol=0
    )
