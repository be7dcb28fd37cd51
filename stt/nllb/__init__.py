"""A hand-written NLLB decoder: weights, model, kernels, decode. Read in that order.

Only `stt.translator.cuda` imports it, inside `load`, so torch stays out of everything else.
"""
