"""Encoder-decoder models as two ONNX graphs: built from the packaged checkpoint (`build`), run token by token (`run`)."""
