"""ONNX Runtime over an encoder and a decoder: sessions on a device, and decoding token by token.

The decoder is one that `stt.onnx.build` makes, or a merged one as Optimum exports it
(https://huggingface.co/docs/optimum-onnx): what a graph takes and gives is read from the graph.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stt.device import Device
from stt.errors import UnsupportedDevice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CPU = "CPUExecutionProvider"
PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cpu": (CPU, {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),  # float32 is asked for
    # The older format (NeuralNetwork) lacks operators; exported decoders are two subgraphs of one.
    "coreml": ("CoreMLExecutionProvider", {"ModelFormat": "MLProgram", "EnableOnSubgraphs": "1"}),
}
"""Execution provider and its options, by name of the device."""
PRODUCTS = {"Gemm", "MatMul", "MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul", "MatMulNBits"}  # fmt: skip
"""Operators in which the time goes."""
INT8 = {"MatMulInteger", "DynamicQuantizeMatMul", "QLinearMatMul"}


def session(graph: bytes | Path, device: Device, threads: int) -> Any:
    """An ONNX Runtime session whose threads sleep while they wait.

    Raises:
        UnsupportedDevice: ONNX Runtime has no provider for `device` here, or leaves most products to the CPU.
    """
    import onnxruntime

    provider, how = PROVIDERS[device.name]
    there = onnxruntime.get_available_providers()
    if provider not in there:
        raise UnsupportedDevice(
            f"device={device.name}: onnxruntime {onnxruntime.__version__} has no {provider} on this machine (it has: "
            f"{', '.join(there)}). Choose device=cpu, or install a build of onnxruntime for {device.name}."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # that some operators stay on the CPU is told by `products`
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without it int8 products overflow where the CPU has AVX2 but no VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    made = onnxruntime.InferenceSession(
        str(graph) if isinstance(graph, Path) else graph,
        options,
        providers=[(provider, how)] if provider == CPU else [(provider, how), (CPU, {})],
        enable_fallback=0,
    )
    runs = products(made)
    if 2 * runs.get(provider, 0) < sum(runs.values()):
        raise UnsupportedDevice(
            f"device={device.name}: {provider} takes {runs.get(provider, 0)} of the {sum(runs.values())} matrix products "
            f"of a graph, the others would run on the CPU. Choose device=cpu, or translator.precision=float32; "
            f"if it takes none, libraries that it needs are missing."
        )
    return made


def operators(made: Any) -> dict[str, dict[str, int]]:
    """How many operators of which kind each provider runs in this session."""
    found: dict[str, Counter[str]] = {}
    for part in made.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return {provider: dict(counts) for provider, counts in found.items()}


def products(made: Any) -> dict[str, int]:
    """How many matrix products each provider runs in this session: what it does not know is left to the CPU."""
    return {
        provider: sum(count for op, count in kinds.items() if op in PRODUCTS)
        for provider, kinds in operators(made).items()
    }


class Runner:
    """One sentence at a time: `begin` with the source, then `step` with new tokens until enough are found.

    Keys and values stay where the device computed them; a step copies the cache once, when it appends to it.
    """

    def __init__(self, encoder: Any, decoder: Any, device: Device) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._where = "cuda" if device.name == "cuda" else "cpu"
        self._takes = {taken.name: taken for taken in decoder.get_inputs()}
        self._gives = [given.name for given in decoder.get_outputs() if given.name != "logits"]

    @property
    def precision(self) -> str:
        """What the products of both graphs are computed in."""
        both = self._encoder, self._decoder
        int8 = [bool(INT8 & set().union(*operators(made).values())) for made in both]
        types = {given.type for made in both for given in made.get_outputs()}
        if all(int8):
            return "int8"
        return "float32" if types == {"tensor(float)"} and not any(int8) else "mixed"

    def begin(self, source: list[int]) -> None:
        """Encode the source ids; the cache is empty."""
        import numpy as np

        ids = np.array([source])
        for_encoder = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        bound = self._encoder.io_binding()
        for taken in self._encoder.get_inputs():
            bound.bind_cpu_input(taken.name, for_encoder[taken.name])
        given = [made.name for made in self._encoder.get_outputs()]
        for name in given:
            bound.bind_output(name, self._where)
        self._encoder.run_with_iobinding(bound)
        encoded = {_taken_as(name): v for name, v in zip(given, bound.get_outputs(), strict=True)}
        self._step = self._decoder.io_binding()
        for name, taken in self._takes.items():
            if name in encoded:
                self._step.bind_ortvalue_input(name, encoded[name])
            elif name == "encoder_attention_mask":
                self._step.bind_cpu_input(name, for_encoder["attention_mask"])
            elif name == "use_cache_branch":
                self._step.bind_cpu_input(name, np.array([False]))
            elif name != "input_ids":  # caches have a first row that is not looked at
                _, heads, _, width = taken.shape
                self._step.bind_cpu_input(name, np.zeros((1, heads, 1, width), "float32"))
        self._begun = False

    def step(self, new: list[int]) -> NDArray[np.float32]:
        """Logits of the token after `new`, which come after all tokens of earlier steps."""
        import numpy as np

        step = self._step
        step.bind_cpu_input("input_ids", np.array([new]))
        step.clear_binding_outputs()
        # An exported decoder gives the keys and values of the source at its first step.
        given = [name for name in self._gives if not self._begun or ".encoder." not in name]
        for name in given:
            step.bind_output(name, self._where)
        step.bind_output("logits", "cpu")
        self._decoder.run_with_iobinding(step)
        *kept, logits = step.get_outputs()
        for name, value in zip(given, kept, strict=True):
            step.bind_ortvalue_input(_taken_as(name), value)
        if "use_cache_branch" in self._takes and not self._begun:
            step.bind_cpu_input("use_cache_branch", np.array([True]))
        self._begun = True
        row: NDArray[np.float32] = logits.numpy()[0, -1]
        return row


def _taken_as(given: str) -> str:
    """What the decoder calls an output of the encoder or of the step before."""
    if given == "last_hidden_state":
        return "encoder_hidden_states"
    return given.replace("present.", "past_key_values.")
