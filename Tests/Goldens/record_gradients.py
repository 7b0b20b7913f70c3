"""Records gradients of A, B and head with torch, for Tests/TrainingTests/GradientGoldenTests.swift.

   python record_gradients.py [MINILM_FOLDER]

Writes gradients/random-mean.safetensors, gradients/random-pooler.safetensors and, with a folder of all-MiniLM-L6-v2,
gradients/minilm-mean.safetensors: one tensor per gradient, the loss in the metadata. Weights of the random BERT, the
inputs and the factors come from `stream`, which the tests have in Swift; no weights are stored."""
import sys, pathlib
import numpy as np, torch
from safetensors.numpy import save_file
from transformers import BertConfig, BertModel

M = (1 << 64) - 1


def stream(name, count):
    """`count` floats in -1 ..< 1: SplitMix64 as a counter, seeded by FNV-1a of the name; 24 bits each."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & M
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32)


def tensor(name, shape, scale):
    return torch.from_numpy(stream(name, int(np.prod(shape))).reshape(shape) * np.float32(scale))


def fill(model):
    for name, p in model.named_parameters():
        u = tensor(name, tuple(p.shape), 1)
        if name.endswith("LayerNorm.weight"):
            p.data = 1 + 0.1 * u
        elif name.endswith("bias"):
            p.data = 0.05 * u
        else:
            p.data = 0.2 * u


LENGTHS = [3, 11, 26, 7, 40, 19]
WEIGHTS = [1.0, 2.0, 1.0, 0.5, 1.0, 3.0]
LABELS, RANK, ALPHA = 4, 4, 16.0


def record(model, out, pooler, vocabulary):
    width = model.config.hidden_size
    factors, head = {}, {}
    for layer, block in enumerate(model.encoder.layer):
        for kind in ("query", "value"):
            linear = getattr(block.attention.self, kind)
            site = f"encoder.layer.{layer}.attention.self.{kind}"
            a = tensor(site + ".A", (RANK, width), 0.05).requires_grad_()
            b = tensor(site + ".B", (width, RANK), 0.05).requires_grad_()
            factors[site + ".A"], factors[site + ".B"] = a, b
            linear.register_forward_hook(
                lambda m, i, o, a=a, b=b: o + (ALPHA / RANK) * (i[0] @ a.T) @ b.T)
    head["head.linear.weight"] = tensor("head.linear.weight", (LABELS, width), 0.3).requires_grad_()
    head["head.linear.bias"] = tensor("head.linear.bias", (LABELS,), 0.1).requires_grad_()
    if pooler:
        head["head.dense.weight"] = tensor("head.dense.weight", (width, width), 0.2).requires_grad_()
        head["head.dense.bias"] = tensor("head.dense.bias", (width,), 0.05).requires_grad_()
    loss = 0
    for row, (length, weight) in enumerate(zip(LENGTHS, WEIGHTS)):
        u = stream(f"ids.{row}", length)
        ids = ((u.astype(np.float64) + 1) / 2 * vocabulary).astype(np.int64)
        types = (np.arange(length) >= length - length // 3).astype(np.int64)
        hidden = model(
            input_ids=torch.tensor(ids)[None], token_type_ids=torch.tensor(types)[None],
            attention_mask=torch.ones(1, length, dtype=torch.long)).last_hidden_state[0]
        x = hidden[0] if pooler else hidden.mean(0)
        if pooler:
            x = torch.tanh(head["head.dense.weight"] @ x + head["head.dense.bias"])
        logits = head["head.linear.weight"] @ x + head["head.linear.bias"]
        loss = loss + weight * torch.nn.functional.cross_entropy(logits[None], torch.tensor([row % LABELS]))
    loss = loss / sum(WEIGHTS)
    loss.backward()
    tensors = {n: p.grad.numpy().astype(np.float32) for n, p in {**factors, **head}.items()}
    save_file(tensors, out, metadata={"loss": repr(float(loss))})
    print(out, float(loss))


def main():
    torch.set_num_threads(1)
    here = pathlib.Path(__file__).parent / "gradients"
    here.mkdir(exist_ok=True)
    for pooler in (False, True):
        config = BertConfig(
            vocab_size=120, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=80,
            max_position_embeddings=64, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
        model = BertModel(config, add_pooling_layer=False).double().eval()
        fill(model)
        model = model.float()
        record(model, here / f"random-{'pooler' if pooler else 'mean'}.safetensors", pooler, 120)
    if len(sys.argv) > 1:
        model = BertModel.from_pretrained(sys.argv[1], attn_implementation="eager").eval()
        for p in model.parameters():
            p.requires_grad_(False)
        record(model, here / "minilm-mean.safetensors", False, 30522)


main()
