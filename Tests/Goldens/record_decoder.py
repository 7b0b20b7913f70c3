"""Records what transformers computes, for Tests/ModelsTests/DecoderGoldenTests.swift.

   RECORD_GOLDENS=1 python record_decoder.py

Writes decoder/{llama,mistral,qwen2,qwen3,smollm2}.safetensors, one small configuration per family with random weights:
token ids and starts of sequences laid end to end, the logits of every token, greedy continuations of 64 tokens, the mean
loss of the completions' tokens under factors A and B at all seven sites, and its gradients at A and B. Weights, ids and
factors come from `stream`, which the tests have in Swift; none are stored. Its 8-bit values are exact in float32,
float16 and bfloat16, so one recording serves all three. A prompt in whose continuation two best logits come closer than
1e-3 is passed over: there the order of sums would decide. The work tree must be clean but for the goldens; the script ends with status 1, so no check run can bless its
own values."""
import hashlib, importlib.metadata, json, os, pathlib, subprocess, sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
MASK = (1 << 64) - 1
LENGTHS = [1, 5, 33, 70]
# Of the sequences above: how many tokens are the prompt, whose loss does not count.
PROMPTS = [None, 2, 10, 41]
RANK = 4
SITES = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj mlp.gate_proj mlp.up_proj mlp.down_proj".split()

SHAPES = {
    "llama": dict(
        model_type="llama", hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=150, max_position_embeddings=192, vocab_size=211, rms_norm_eps=1e-5, hidden_act="silu",
        tie_word_embeddings=False, rope_theta=500000.0, attention_bias=True, mlp_bias=True, eos_token_id=[3, 4],
        rope_scaling=dict(
            rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=48)),
    "mistral": dict(
        model_type="mistral", hidden_size=60, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
        head_dim=20, intermediate_size=96, max_position_embeddings=160, vocab_size=193, rms_norm_eps=1e-5,
        hidden_act="silu", tie_word_embeddings=False, rope_theta=1000000.0, sliding_window=19, eos_token_id=2),
    "qwen2": dict(
        model_type="qwen2", hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        intermediate_size=128, max_position_embeddings=256, vocab_size=223, rms_norm_eps=1e-6, hidden_act="silu",
        tie_word_embeddings=True, rope_theta=10000.0, use_sliding_window=True, sliding_window=25,
        max_window_layers=2, eos_token_id=1,
        rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=64)),
    "qwen3": dict(
        model_type="qwen3", hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=24, intermediate_size=112, max_position_embeddings=160, vocab_size=199, rms_norm_eps=1e-6,
        hidden_act="silu", tie_word_embeddings=True, attention_bias=False, eos_token_id=1,
        rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=1000000.0)),
    "smollm2": dict(
        model_type="llama", hidden_size=72, num_hidden_layers=4, num_attention_heads=9, num_key_value_heads=3,
        intermediate_size=192, max_position_embeddings=160, vocab_size=251, rms_norm_eps=1e-5, hidden_act="silu",
        tie_word_embeddings=True, rope_theta=100000.0, rope_scaling=None, eos_token_id=2),
}


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


def tensor(name, shape):
    return torch.from_numpy(stream(name, int(np.prod(shape))).reshape(shape))


def fill(model, label):
    """Norms around 1, everything else an eighth; embeddings as they are where they are not the head too, which would
    choose the last token again and again."""
    for name, parameter in model.named_parameters():
        values = stream(f"{label}/{name}", parameter.numel()).reshape(tuple(parameter.shape))
        if name.endswith("norm.weight"):
            values = np.round((1 + values / 2) * 128) / 128
        elif model.config.tie_word_embeddings or not name.endswith("embed_tokens.weight"):
            values = values / 8
        parameter.data = torch.from_numpy(values.astype(np.float32))
        parameter.requires_grad_(False)


def ids_of(label, row, length, vocabulary):
    return (hashes(f"{label}/ids.{row}", length) % np.uint64(vocabulary)).astype(np.int64)


def greedy(model, prompt, count):
    """The continuation, and how close the two best logits came."""
    ids, closest = list(prompt), 1.0
    for _ in range(count):
        scores = model(input_ids=torch.tensor(ids)[None]).logits[0, -1]
        best = torch.topk(scores, 2).values
        closest = min(closest, float(best[0] - best[1]))
        ids.append(int(scores.argmax()))
    return ids[len(prompt):], closest


def continuations(model, label, vocabulary):
    """Two prompts of 7 and 30 tokens, and 64 tokens after each: of a dozen, the one with the most different tokens."""
    prompts, texts, margins = [], [], []
    for length in (7, 30):
        best = None
        for trial in range(12):
            prompt = ids_of(label, f"prompt.{length}.{trial}", length, vocabulary)
            text, margin = greedy(model, prompt, 64)
            if margin >= 1e-3 and (best is None or len(set(text)) > len(set(best[1]))):
                best = prompt, text, margin
        if best is None:
            sys.exit(f"{label}: no prompt of {length} tokens has a clear continuation")
        prompt, text, margin = best
        prompts.append(prompt.astype(np.int32))
        texts.append(np.array(text, dtype=np.int32))
        margins.append(margin)
    return prompts, texts, margins


def gradients(model, sequences):
    """Mean cross-entropy of the completions' tokens, and its gradients at A and B of every site."""
    factors, hooks = {}, []
    for layer, block in enumerate(model.model.layers):
        for kind, path in enumerate(SITES):
            linear = block.get_submodule(path)
            index = layer * len(SITES) + kind
            a = (tensor(f"A/{index}", (RANK, linear.in_features)) / 4).requires_grad_()
            b = (tensor(f"B/{index}", (linear.out_features, RANK)) / 4).requires_grad_()
            factors[f"model.layers.{layer}.{path}.A"], factors[f"model.layers.{layer}.{path}.B"] = a, b
            hooks.append(linear.register_forward_hook(lambda m, i, o, a=a, b=b: o + (i[0] @ a.T) @ b.T))
    loss, count = 0, 0
    for row, prompt in zip(sequences, PROMPTS):
        if prompt is None:
            continue
        logits = model(input_ids=torch.from_numpy(row)[None]).logits[0]
        loss = loss + torch.nn.functional.cross_entropy(
            logits[prompt - 1:-1], torch.from_numpy(row[prompt:]), reduction="sum")
        count += len(row) - prompt
    loss = loss / count
    loss.backward()
    for hook in hooks:
        hook.remove()
    return loss.item(), {name: factor.grad.numpy() for name, factor in factors.items()}


def record(label, settings):
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**settings), attn_implementation="eager").float().eval()
    fill(model, label)
    sequences = [ids_of(label, row, length, settings["vocab_size"]) for row, length in enumerate(LENGTHS)]
    with torch.no_grad():
        logits = np.concatenate([model(input_ids=torch.from_numpy(row)[None]).logits[0].numpy() for row in sequences])
        prompts, texts, margins = continuations(model, label, settings["vocab_size"])
    loss, factors = gradients(model, sequences)
    tensors = {
        "ids": np.concatenate(sequences).astype(np.int32), "starts": np.cumsum([0] + LENGTHS).astype(np.int32),
        "logits": logits.astype(np.float32), "prompts": np.concatenate(prompts), "greedy": np.stack(texts),
        **{name: np.ascontiguousarray(values) for name, values in factors.items()}}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout.strip()
    metadata = {
        "magic": "corad-golden-decoder", "version": "1",
        "generator": hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(), "commit": commit,
        "config": json.dumps(settings, sort_keys=True), "loss": repr(loss),
        "prompts": json.dumps([prompt or 0 for prompt in PROMPTS]),
        "torch": torch.__version__, "transformers": importlib.metadata.version("transformers")}
    path = HERE / "decoder" / f"{label}.safetensors"
    save_file(tensors, path, metadata=metadata)
    print(
        path.name, path.stat().st_size, "bytes, largest logit", float(np.abs(logits).max()), "margin", min(margins),
        "different tokens", len(set(np.concatenate(texts).tolist())), "loss", loss)


def main():
    if os.environ.get("RECORD_GOLDENS") != "1" or len(sys.argv) != 1:
        sys.exit(__doc__)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", ".", ":!decoder"], capture_output=True, text=True, cwd=HERE).stdout
    if changed:
        sys.exit("the work tree is not clean:\n" + changed)
    torch.set_num_threads(1)
    (HERE / "decoder").mkdir(exist_ok=True)
    for label, settings in SHAPES.items():
        record(label, settings)
    sys.exit("recorded; commit the files and run the tests")


main()
