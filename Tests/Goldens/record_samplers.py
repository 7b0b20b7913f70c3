"""Records what transformers' logits processors make of fixed scores, for Tests/EngineTests/SamplerGoldenTests.swift.

   RECORD_GOLDENS=1 python record_samplers.py

Writes samplers/samplers.safetensors: rows of scores (fine, with many ties, peaked, flat), the prompt's ids, and for each
row and case the scores after the case's processors, in the order of transformers' generate. Presence and frequency
penalties are not transformers'; their line is OpenAI's formula. The log-probabilities are torch's. The work tree must be
clean but for the goldens; the script ends with status 1, so no check run can bless its own values."""
import hashlib, importlib.metadata, json, os, pathlib, subprocess, sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import (
    LogitsProcessorList, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

HERE = pathlib.Path(__file__).resolve().parent
MASK = (1 << 64) - 1
VOCABULARY = 509
PROMPT = 40
BIAS = {"0": 2.5, "7": -100.0, "300": 0.125, "508": -3.75}
CASES = [
    {}, {"repetition_penalty": 1.3}, {"repetition_penalty": 0.7}, {"logit_bias": BIAS},
    {"logit_bias": BIAS, "repetition_penalty": 1.1},
    *({"temperature": t} for t in (0.1, 0.7, 1.5, 3.0)),
    *({"top_k": k} for k in (1, 2, 5, 40, 200, 508, 509, 1000)),
    *({"top_p": p} for p in (0.01, 0.1, 0.5, 0.9, 0.95, 0.999)),
    *({"min_p": p} for p in (0.001, 0.05, 0.3, 1.0)),
    {"temperature": 0.7, "top_k": 50, "top_p": 0.9}, {"temperature": 1.3, "top_p": 0.95, "min_p": 0.02},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.2, "logit_bias": BIAS},
]


def hashes(name, count):
    """SplitMix64 as a counter, seeded by FNV-1a of the name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name):
    """In -1 ..< 1."""
    return (hashes(name, VOCABULARY) >> np.uint64(40)).astype(np.float64) / (1 << 23) - 1


def processors(case):
    result = LogitsProcessorList()
    if "logit_bias" in case:
        result.append(SequenceBiasLogitsProcessor({(int(i),): b for i, b in case["logit_bias"].items()}))
    if "repetition_penalty" in case:
        result.append(RepetitionPenaltyLogitsProcessor(case["repetition_penalty"]))
    if "temperature" in case:
        result.append(TemperatureLogitsWarper(case["temperature"]))
    if "top_k" in case:
        result.append(TopKLogitsWarper(case["top_k"]))
    if "top_p" in case:
        result.append(TopPLogitsWarper(case["top_p"]))
    if "min_p" in case:
        result.append(MinPLogitsWarper(case["min_p"]))
    return result


def main():
    if os.environ.get("RECORD_GOLDENS") != "1" or len(sys.argv) != 1:
        sys.exit(__doc__)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!samplers"], capture_output=True, text=True, cwd=HERE).stdout
    if changed:
        sys.exit("the work tree is not clean:\n" + changed)
    torch.set_num_threads(1)
    rows = {
        "fine": uniform("fine") * 10, "ties": np.round(uniform("ties") * 12) / 2,
        "peaked": uniform("peaked") ** 5 * 30, "flat": uniform("flat") / 8}
    prompt = (hashes("prompt", PROMPT) % np.uint64(VOCABULARY)).astype(np.int32)
    chosen = (hashes("chosen", PROMPT) % np.uint64(16)).astype(np.int32)
    tensors = {"prompt": prompt, "chosen": chosen}
    ids = torch.from_numpy(prompt.astype(np.int64))[None]
    counts = torch.bincount(torch.from_numpy(chosen), minlength=VOCABULARY)
    for label, row in rows.items():
        scores = torch.from_numpy(row.astype(np.float32))[None]
        tensors[f"{label}.scores"] = scores[0].numpy()
        tensors[f"{label}.logprobs"] = torch.log_softmax(scores, dim=-1)[0].numpy()
        for index, case in enumerate(CASES):
            tensors[f"{label}.{index}"] = processors(case)(ids, scores.clone())[0].numpy()
        penalised = scores[0] - counts.float() * 0.3
        tensors[f"{label}.penalties"] = (penalised - (counts > 0).float() * 0.45).numpy()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    metadata = {
        "magic": "corad-golden-samplers", "version": "1",
        "generator": hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(), "commit": commit,
        "cases": json.dumps(CASES), "frequency_penalty": "0.3", "presence_penalty": "0.45",
        "torch": torch.__version__, "transformers": importlib.metadata.version("transformers")}
    path = HERE / "samplers" / "samplers.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, path, metadata=metadata)
    print(path.name, path.stat().st_size, "bytes")
    sys.exit("recorded; commit the files and run the tests")


main()
