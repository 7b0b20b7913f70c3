"""Records what transformers computes, for Tests/ModelsTests/EncoderGoldenTests.swift.

   RECORD_GOLDENS=1 python record_encoder.py MINILM_FOLDER

Writes encoder/minilm.safetensors and encoder/{narrow,prefixed,odd}.safetensors: token ids, segments and starts of
sequences laid end to end, the hidden state of every token, pooler output and logits where the model has them, and a
header in the metadata: magic, version, digest of this script, config, versions. Random weights come from `stream`,
which the tests have in Swift; none are stored. Its 8-bit values are exact in float32, float16 and bfloat16, so one
recording serves all three. The work tree must be clean but for the goldens; the script ends with status 1, so no check
run can bless its own values."""
import hashlib, importlib.metadata, json, os, pathlib, subprocess, sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import BertConfig, BertForSequenceClassification, BertModel

HERE = pathlib.Path(__file__).resolve().parent
MASK = (1 << 64) - 1


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


def stream(name, count):
    """`count` multiples of 1/128 in -1 ..< 1."""
    return ((hashes(name, count) >> np.uint64(56)).astype(np.float32) - 128) / 128


def fill(model, label):
    for name, parameter in model.named_parameters():
        bare = name.removeprefix("bert.")
        values = stream(f"{label}/{bare}", parameter.numel()).reshape(tuple(parameter.shape))
        if bare.endswith("LayerNorm.weight"):
            values = 1 + values / 2
            values = np.round(values * 128) / 128
        elif bare.startswith("embeddings.") and bare.endswith("embeddings.weight"):
            pass
        else:
            values = values / 8
        parameter.data = torch.from_numpy(values.astype(np.float32))


def sequences(label, lengths, vocabulary, types):
    ids, segments, starts = [], [], [0]
    for row, length in enumerate(lengths):
        ids.append((hashes(f"{label}/ids.{row}", length) % np.uint64(vocabulary)).astype(np.int32))
        segments.append((np.arange(length) * types // length).astype(np.int32))
        starts.append(starts[-1] + length)
    return ids, segments, np.array(starts, dtype=np.int32)


def record(label, model, lengths):
    config = model.config
    ids, segments, starts = sequences(label, lengths, config.vocab_size, config.type_vocab_size)
    hidden, pooled, logits = [], [], []
    with torch.no_grad():
        for row, types in zip(ids, segments):
            inputs = dict(
                input_ids=torch.from_numpy(row).long()[None], token_type_ids=torch.from_numpy(types).long()[None],
                attention_mask=torch.ones(1, len(row), dtype=torch.long))
            encoder = model.bert if hasattr(model, "bert") else model
            output = encoder(**inputs)
            hidden.append(output.last_hidden_state[0].float().numpy())
            if output.pooler_output is not None:
                pooled.append(output.pooler_output[0].float().numpy())
            if hasattr(model, "classifier"):
                logits.append(model(**inputs).logits[0].float().numpy())
    tensors = {
        "ids": np.concatenate(ids), "types": np.concatenate(segments), "starts": starts,
        "hidden": np.concatenate(hidden)}
    if pooled:
        tensors["pooled"] = np.stack(pooled)
    if logits:
        tensors["logits"] = np.stack(logits)
    kept = (
        "model_type hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings "
        "vocab_size type_vocab_size layer_norm_eps hidden_act pad_token_id").split()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    metadata = {
        "magic": "corad-golden-encoder", "version": "1",
        "generator": hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(), "commit": commit,
        "config": json.dumps({key: getattr(config, key) for key in kept}, sort_keys=True),
        "prefix": "bert." if hasattr(model, "bert") else "",
        "labels": str(config.num_labels) if hasattr(model, "classifier") else "0",
        "torch": torch.__version__, "transformers": importlib.metadata.version("transformers")}
    path = HERE / "encoder" / f"{label}.safetensors"
    save_file(tensors, path, metadata=metadata)
    print(path.name, path.stat().st_size, "bytes, largest value", float(np.abs(tensors["hidden"]).max()))


def main():
    if os.environ.get("RECORD_GOLDENS") != "1" or len(sys.argv) != 2:
        sys.exit(__doc__)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!encoder"], capture_output=True, text=True, cwd=HERE).stdout
    if changed:
        sys.exit("the work tree is not clean:\n" + changed)
    torch.set_num_threads(1)
    (HERE / "encoder").mkdir(exist_ok=True)
    minilm = BertModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()
    record("minilm", minilm, [1, 2, 5, 17, 33, 64, 128])
    shapes = {
        "narrow": (BertModel, dict(
            vocab_size=211, hidden_size=60, num_hidden_layers=3, num_attention_heads=4, intermediate_size=150,
            max_position_embeddings=48, type_vocab_size=2, hidden_act="gelu_new", layer_norm_eps=1e-12)),
        "prefixed": (BertForSequenceClassification, dict(
            vocab_size=97, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256,
            max_position_embeddings=80, type_vocab_size=2, hidden_act="relu", layer_norm_eps=1e-5, num_labels=5)),
        "odd": (BertModel, dict(
            vocab_size=301, hidden_size=96, num_hidden_layers=4, num_attention_heads=6, intermediate_size=77,
            max_position_embeddings=67, type_vocab_size=3, hidden_act="gelu", layer_norm_eps=1e-12)),
    }
    for label, (kind, settings) in shapes.items():
        config = BertConfig(**settings, attn_implementation="eager")
        # "odd" has no pooler.
        model = kind(config, add_pooling_layer=False) if label == "odd" else kind(config)
        fill(model, label)
        limit = settings["max_position_embeddings"]
        record(label, model.eval(), [1, 3, 16, 31, limit - 1, limit])
    sys.exit("recorded; commit the files and run the tests")


main()
