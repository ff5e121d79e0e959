"""Writes gptq.json: what GPTQ and plain rounding leave of W under H (both of calibrated.safetensors), in float64.

GPTQ is algorithm 1 of arXiv 2210.17323 with one column a block and everything as its authors' code has it: asymmetric
min-max grids over 0, fitted to a group's weights as they are when its first column is reached, damping of 0.01 times the
mean of the diagonal, `falling` for --act-order. The one addition: scales are rounded to the F16 that they are stored in
(without_f16: the errors without it).

    python test/golden/make_gptq.py        (numpy 2.4)
"""

import json
import struct
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent


def tensors(path):
    file = path.read_bytes()
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "F64":
            yield name, np.frombuffer(file[begin:end], "<f8").reshape(entry["shape"])


def fit(w, bits, f16):
    """Scale and zero [rows, 1] of weights [rows, group]."""
    least = np.minimum(w.min(1), 0)
    most = np.maximum(w.max(1), 0)
    scale = (most - least) / (2**bits - 1)
    if f16:
        scale = scale.astype(np.float16).astype(np.float64)
    return scale, np.round(-least / scale)


def quantise(w, scale, zero, bits):
    return scale * (np.clip(np.round(w / scale) + zero, 0, 2**bits - 1) - zero)


def rtn(w, bits, group, f16):
    q = np.zeros_like(w)
    for begin in range(0, w.shape[1], group):
        part = w[:, begin : begin + group]
        scale, zero = fit(part, bits, f16)
        q[:, begin : begin + group] = quantise(part, scale[:, None], zero[:, None], bits)
    return q


def gptq(w, h, bits, group, order, f16):
    n = w.shape[1]
    perm = np.argsort(-np.diag(h), kind="stable") if order == "falling" else np.arange(n)
    w = w[:, perm].copy()
    h = h[perm][:, perm].copy()
    h[np.diag_indices(n)] += 0.01 * np.mean(np.diag(h))
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    q = np.zeros_like(w)
    for j in range(n):
        if j % group == 0:
            scale, zero = fit(w[:, j : j + group], bits, f16)
        q[:, j] = quantise(w[:, j], scale, zero, bits)
        error = (w[:, j] - q[:, j]) / u[j, j]
        w[:, j:] -= np.outer(error, u[j, j:])
    return q[:, np.argsort(perm)]


given = dict(tensors(FOLDER / "calibrated.safetensors"))
W, H = (given[name].astype(np.float32).astype(np.float64) for name in "WH")


def errors(q):
    d = W - q
    return {
        "output_error": np.sqrt(np.trace(d @ H @ d.T) / np.trace(W @ H @ W.T)),
        "residual": np.linalg.norm(d) / np.linalg.norm(W),
    }


cases = []
for bits in (2, 3, 4):
    for group in (128, 16):
        for order in (None, "natural", "falling"):
            make = (lambda f16: rtn(W, bits, group, f16)) if order is None else (
                lambda f16: gptq(W, H, bits, group, order, f16))
            case = {"method": "rtn" if order is None else "gptq", "bits": bits, "group": group}
            if order is not None:
                case["order"] = order
            cases.append({**case, **errors(make(True)), "without_f16": errors(make(False))["output_error"]})
(FOLDER / "gptq.json").write_text(json.dumps(cases, indent=1) + "\n")
