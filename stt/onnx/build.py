"""The two ONNX graphs of a checkpoint in the packaged form (`stt.embedded`): M2M100, batch of one.

Inputs and outputs are named as Optimum's exports name them, with two differences: the encoder
also gives the keys and values of the cross-attention, so that they are computed once a sentence,
and the decoder gives logits of the last position only. The cache starts with one row that nothing
sees, because Core ML takes no empty tensors. Only operators of ONNX itself: any provider may take them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stt import embedded

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dims = list[int | str]
OPSET = 17
UNSEEN = -1e9
"""Added to a score, it leaves a weight of exactly zero."""


def graphs(
    stored: embedded.Tensors, shape: dict[str, Any], produced: list[int], int8: bool
) -> tuple[bytes, bytes]:
    """Encoder and decoder as ONNX files.

    The encoder takes `input_ids` [1, n] and gives `present.LAYER.encoder.key` and `.value` [1, heads, n, width]; the decoder
    takes these and its cache [1, heads, 1 + tokens so far, width] and gives the cache with the new tokens, and logits [1, 1, rows].

    Args:
        shape: what `config.json` says.
        produced: ids of the tokens that the decoder has rows for; it is given and gives row numbers.
        int8: multiply in int8, the inputs of each product scaled at run time; else everything is float32.
    """
    tensors = stored if int8 else embedded.dequantized(stored)
    return _encoder(tensors, shape), _decoder(tensors, shape, produced)


def _encoder(stored: embedded.Tensors, shape: dict[str, Any]) -> bytes:
    import numpy as np

    g = _Graph(stored, shape["encoder_attention_heads"], shape["d_model"])
    tokens = g.add("Shape", g.take("input_ids", "int64", [1, "tokens"]), start=1, end=2)
    x = g.embed(stored["model.shared.weight"], stored.get("model.shared.weight_scale"), shape)
    encodings = embedded.positions(shape["max_position_embeddings"] + 2, shape["d_model"])
    place = g.add("Slice", g.constant(encodings), g.constant(np.zeros(1, "int64")), tokens)
    x = g.add("Add", x, place)
    for i in range(shape["encoder_layers"]):
        name = f"model.encoder.layers.{i}"
        q, k, v = g.project(g.norm(x, f"{name}.self_attn_layer_norm"), f"{name}.self_attn", "qkv")
        x = g.add("Add", x, g.attend(q, k, v, None, f"{name}.self_attn"))
        x = g.feed_forward(x, name)
    x = g.norm(x, "model.encoder.layer_norm")
    for i in range(shape["decoder_layers"]):
        k, v = g.project(x, f"model.decoder.layers.{i}.encoder_attn", "kv")
        g.give(k, f"present.{i}.encoder.key", [1, g.heads, "tokens", g.width])
        g.give(v, f"present.{i}.encoder.value", [1, g.heads, "tokens", g.width])
    return g.file()


def _decoder(stored: embedded.Tensors, shape: dict[str, Any], produced: list[int]) -> bytes:
    import numpy as np

    g = _Graph(stored, shape["decoder_attention_heads"], shape["d_model"])
    layers = range(shape["decoder_layers"])
    new = g.add("Shape", g.take("input_ids", "int64", [1, "new"]), start=1, end=2)
    cache: Dims = [1, g.heads, "past", g.width]
    source: Dims = [1, g.heads, "tokens", g.width]
    past = [
        [g.take(f"past_key_values.{i}.decoder.{kind}", "float32", cache) for kind in ("key", "value")]
        for i in layers
    ]  # fmt: skip
    given = [
        [g.take(f"past_key_values.{i}.encoder.{kind}", "float32", source) for kind in ("key", "value")]
        for i in layers
    ]  # fmt: skip
    begin = g.add("Shape", past[0][0], start=2, end=3)
    end = g.add("Add", begin, new)
    rows = stored["model.shared.weight"][produced]
    scale = stored.get("model.shared.weight_scale")
    scale = None if scale is None else scale[produced]
    x = g.embed(rows, scale, shape)
    encodings = embedded.positions(shape["max_position_embeddings"] + 2, shape["d_model"])
    encodings = np.concatenate([0 * encodings[:1], encodings])  # the row that nothing sees
    x = g.add("Add", x, g.add("Slice", g.constant(encodings), begin, end))
    seen = np.tril(np.ones([len(encodings)] * 2, "bool"))
    seen[:, 0] = False
    both, zero = g.add("Concat", end, end, axis=0), g.constant(np.zeros(1, "int64"))
    mask = g.constant(np.where(seen, 0, UNSEEN).astype("float32"))
    mask = g.add("Slice", mask, g.add("Concat", begin, zero, axis=0), both)
    for i in layers:
        name = f"model.decoder.layers.{i}"
        q, k, v = g.project(g.norm(x, f"{name}.self_attn_layer_norm"), f"{name}.self_attn", "qkv")
        k = g.add("Concat", past[i][0], k, axis=2)
        k = g.give(k, f"present.{i}.decoder.key", [1, g.heads, "total", g.width])
        v = g.add("Concat", past[i][1], v, axis=2)
        v = g.give(v, f"present.{i}.decoder.value", [1, g.heads, "total", g.width])
        x = g.add("Add", x, g.attend(q, k, v, mask, f"{name}.self_attn"))
        (q,) = g.project(g.norm(x, f"{name}.encoder_attn_layer_norm"), f"{name}.encoder_attn", "q")
        x = g.add("Add", x, g.attend(q, given[i][0], given[i][1], None, f"{name}.encoder_attn"))
        x = g.feed_forward(x, name)
    last, after = g.constant(np.array([-1])), g.constant(np.array([2**31]))
    x = g.norm(g.add("Slice", x, last, after), "model.decoder.layer_norm")
    logits = g.multiply(x, rows, scale, None)
    g.give(g.add("Unsqueeze", logits, zero), "logits", [1, 1, len(produced)])
    return g.file()


class _Graph:
    """One graph while it grows; values are called by the name of their tensor. Activations are [tokens, model width]."""

    def __init__(self, stored: embedded.Tensors, heads: int, d_model: int) -> None:
        self.heads, self.width = heads, d_model // heads
        self._stored, self._d_model = stored, d_model
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: dict[int, tuple[str, NDArray[Any]]] = {}

    def take(self, name: str, dtype: str, dims: Dims) -> str:
        """An input of the graph."""
        self._inputs.append(_described(name, dtype, dims))
        return name

    def give(self, value: str, name: str, dims: Dims) -> str:
        """Make `value`, which nothing has used yet, an output of the graph; returns what it is called now."""
        # Not an Identity: that would copy the cache at each step.
        node = next(node for node in self._nodes if value in node.output)
        node.output[list(node.output).index(value)] = name
        self._outputs.append(_described(name, "float32", dims))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        """An array that the file holds, once even if it is used twice."""
        name, _ = self._constants.setdefault(id(array), (f"c{len(self._constants)}", array))
        return name

    def several(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """The outputs of an operator."""
        outputs = [f"v{len(self._nodes)}_{i}" for i in range(count)]
        self._nodes.append(_node(op, list(inputs), outputs, **attributes))
        return outputs

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The only output of an operator."""
        return self.several(op, 1, *inputs, **attributes)[0]

    def embed(self, rows: NDArray[Any], scale: NDArray[Any] | None, shape: dict[str, Any]) -> str:
        """The rows of `input_ids`."""
        import numpy as np

        factor = np.float32(shape["d_model"] ** 0.5 if shape["scale_embedding"] else 1)
        flat = self.add("Reshape", "input_ids", self.constant(np.array([-1])))
        x = self.add("Gather", self.constant(rows), flat)
        if scale is None:
            return self.add("Mul", x, self.constant(np.array(factor)))
        scales = self.add("Gather", self.constant(scale[:, None] * factor), flat)
        return self.add("Mul", self.add("Cast", x, to=1), scales)

    def norm(self, x: str, name: str) -> str:
        """Layer normalization."""
        import numpy as np

        gamma, beta = (
            self._stored[f"{name}.{part}"].astype(np.float32) for part in ("weight", "bias")
        )
        return self.add("LayerNormalization", x, self.constant(gamma), self.constant(beta), axis=-1, epsilon=1e-5)  # fmt: skip

    def multiply(
        self, x: str, rows: NDArray[Any], scale: NDArray[Any] | None, bias: NDArray[Any] | None
    ) -> str:
        """`x` times the rows [out, in] (int8 if they have scales), plus `bias`."""
        import numpy as np

        added = [] if bias is None else [self.constant(bias.astype(np.float32))]
        if scale is None:
            return self.add("Gemm", x, self.constant(rows), *added, transB=1)
        # ONNX Runtime makes one operator of these (DynamicQuantizeMatMul).
        x, x_scale, zero = self.several("DynamicQuantizeLinear", 3, x)
        columns = self.constant(np.ascontiguousarray(rows.T))
        product = self.add("Cast", self.add("MatMulInteger", x, columns, zero), to=1)
        y = self.add("Mul", product, self.add("Mul", x_scale, self.constant(scale)))
        return self.add("Add", y, *added) if added else y

    def linear(self, x: str, *names: str, factors: tuple[float, ...] = ()) -> str:
        """Stored projections that read the same `x`, as one product; `factors`: of each."""
        import numpy as np

        factors = factors or (1.0,) * len(names)
        each = [(self._stored, name, np.float32(f)) for name, f in zip(names, factors, strict=True)]
        int8 = f"{names[0]}.weight_scale" in self._stored
        rows = [s[f"{n}.weight"] * (np.int8(1) if int8 else f) for s, n, f in each]
        scale = [s[f"{n}.weight_scale"] * f for s, n, f in each] if int8 else None
        bias = [s[f"{n}.bias"].astype(np.float32) * f for s, n, f in each]
        return self.multiply(
            x, np.concatenate(rows), np.concatenate(scale) if scale else None, np.concatenate(bias)
        )

    def project(self, x: str, name: str, letters: str) -> list[str]:
        """Queries, keys, values by letter, [1, heads, tokens, width]; queries are scaled."""
        import numpy as np

        factors = tuple(self.width**-0.5 if letter == "q" else 1.0 for letter in letters)
        both = self.linear(x, *(f"{name}.{letter}_proj" for letter in letters), factors=factors)
        parts = [both]
        if len(letters) > 1:
            sizes = self.constant(np.array([self._d_model] * len(letters)))
            parts = self.several("Split", len(letters), both, sizes, axis=1)
        split = self.constant(np.array([1, -1, self.heads, self.width]))
        return [
            self.add("Transpose", self.add("Reshape", part, split), perm=[0, 2, 1, 3])
            for part in parts
        ]

    def attend(self, q: str, k: str, v: str, mask: str | None, name: str) -> str:
        """What the queries see of the values, projected."""
        import numpy as np

        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.add("Add", scores, mask) if mask else scores
        seen = self.add("MatMul", self.add("Softmax", scores, axis=-1), v)
        seen = self.add("Transpose", seen, perm=[0, 2, 1, 3])
        joined = self.add("Reshape", seen, self.constant(np.array([-1, self._d_model])))
        return self.linear(joined, f"{name}.out_proj")

    def feed_forward(self, x: str, name: str) -> str:
        """`x` plus what the two layers make of it."""
        wide = self.add(
            "Relu", self.linear(self.norm(x, f"{name}.final_layer_norm"), f"{name}.fc1")
        )
        return self.add("Add", x, self.linear(wide, f"{name}.fc2"))

    def file(self) -> bytes:
        """The graph as the bytes of an .onnx file."""
        from onnx import helper, numpy_helper

        held = [numpy_helper.from_array(array, name) for name, array in self._constants.values()]
        graph = helper.make_graph(self._nodes, "stt", self._inputs, self._outputs, held)
        model = helper.make_model(
            graph, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="stt"
        )
        made: bytes = model.SerializeToString()
        return made


def _node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, outputs, **attributes)


def _described(name: str, dtype: str, dims: Dims) -> Any:
    import numpy as np
    from onnx import helper

    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims
    )
