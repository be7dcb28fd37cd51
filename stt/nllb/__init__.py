"""A hand-written NLLB decoder: weights, model, decode; signals, kernels, layers, encoder, selection, pack. Read so.

Only `stt.translator.cuda` imports it, inside `load`, so torch stays out of everything else.
"""
