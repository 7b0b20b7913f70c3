"""Records gradients of A, B and head with torch, for Tests/TrainingTests/GradientTests.swift and WriterGradientTests.swift.

   python record_gradients.py [MINILM_FOLDER | decoder | tokens]

Writes gradients/random-mean.safetensors, gradients/random-pooler.safetensors, gradients/decoder-last.safetensors (with
`decoder` that one alone), gradients/decoder-tokens.safetensors (with `tokens` that one alone) and, with a folder of all-MiniLM-L6-v2, gradients/minilm-mean.safetensors: one tensor per
gradient, the loss in the metadata. Weights of the random models, the inputs and the factors come from `stream`, which the
tests have in Swift; no weights are stored."""
import sys, pathlib
import numpy as np, torch
from safetensors.numpy import save_file
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model

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


def fill_decoder(model):
    """The names of a checkpoint of a language model: the tests write one."""
    for name, p in model.named_parameters():
        p.requires_grad_(False)
        u = tensor("model." + name, tuple(p.shape), 1)
        p.copy_(1 + 0.1 * u if name.endswith("norm.weight") else 0.2 * u)


LENGTHS = [3, 11, 26, 7, 40, 19]
WEIGHTS = [1.0, 2.0, 1.0, 0.5, 1.0, 3.0]
LABELS, RANK, ALPHA = 4, 4, 16.0


DECODER_SITES = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]


def adapted(model):
    """Name and module of each adapted projection: query and value of a BERT, all seven of a decoder."""
    if isinstance(model, BertModel):
        for layer, block in enumerate(model.encoder.layer):
            for kind in ("query", "value"):
                yield f"encoder.layer.{layer}.attention.self.{kind}", getattr(block.attention.self, kind)
    else:
        for layer, block in enumerate(model.layers):
            for path in DECODER_SITES:
                yield f"model.layers.{layer}.{path}", block.get_submodule(path)


def adapt(model):
    """Adds A and B to each adapted projection."""
    factors = {}
    for site, linear in adapted(model):
        a = tensor(site + ".A", (RANK, linear.in_features), 0.05).requires_grad_()
        b = tensor(site + ".B", (linear.out_features, RANK), 0.05).requires_grad_()
        factors[site + ".A"], factors[site + ".B"] = a, b
        linear.register_forward_hook(
            lambda m, i, o, a=a, b=b: o + (ALPHA / RANK) * (i[0] @ a.T) @ b.T)
    return factors


def tokens(row, length, vocabulary):
    return ((stream(f"ids.{row}", length).astype(np.float64) + 1) / 2 * vocabulary).astype(np.int64)


def record_tokens(model, out, vocabulary):
    """The tied output head's cross-entropy on the second half of each row, and on places 3 to 6 of the row of 40."""
    factors = adapt(model)
    loss, count = 0, 0
    for row, (length, weight) in enumerate(zip(LENGTHS, WEIGHTS)):
        ids = torch.tensor(tokens(row, length, vocabulary))
        hidden = model(input_ids=ids[None]).last_hidden_state[0]
        logits = hidden @ model.embed_tokens.weight.T
        written = torch.arange(length) >= max(1, length // 2)
        if length == 40:
            written[3:7] = True
        at = written.nonzero()[:, 0]
        loss = loss + weight * torch.nn.functional.cross_entropy(logits[at - 1], ids[at], reduction="sum")
        count += weight * len(at)
    loss = loss / count
    loss.backward()
    save_file({n: p.grad.numpy() for n, p in factors.items()}, out, metadata={"loss": repr(float(loss))})
    print(out, float(loss))


def record(model, out, pooler, vocabulary):
    width = model.config.hidden_size
    is_decoder = not isinstance(model, BertModel)
    factors, head = adapt(model), {}
    head["head.linear.weight"] = tensor("head.linear.weight", (LABELS, width), 0.3).requires_grad_()
    head["head.linear.bias"] = tensor("head.linear.bias", (LABELS,), 0.1).requires_grad_()
    if pooler:
        head["head.dense.weight"] = tensor("head.dense.weight", (width, width), 0.2).requires_grad_()
        head["head.dense.bias"] = tensor("head.dense.bias", (width,), 0.05).requires_grad_()
    loss = 0
    for row, (length, weight) in enumerate(zip(LENGTHS, WEIGHTS)):
        ids = tokens(row, length, vocabulary)
        types = (np.arange(length) >= length - length // 3).astype(np.int64)
        types = {} if is_decoder else {"token_type_ids": torch.tensor(types)[None]}
        hidden = model(
            input_ids=torch.tensor(ids)[None], attention_mask=torch.ones(1, length, dtype=torch.long),
            **types).last_hidden_state[0]
        x = hidden[-1] if is_decoder else hidden[0] if pooler else hidden.mean(0)
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
    config = Qwen3Config(
        vocab_size=120, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        intermediate_size=80, max_position_embeddings=64, rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0), attn_implementation="eager")
    for name in ("decoder", "tokens"):
        if sys.argv[1:] in (["decoder"], ["tokens"]) and sys.argv[1] != name:
            continue
        model = Qwen3Model(config).eval()
        fill_decoder(model)
        if name == "decoder":
            record(model, here / "decoder-last.safetensors", False, 120)
        else:
            record_tokens(model, here / "decoder-tokens.safetensors", 120)
    if sys.argv[1:] in (["decoder"], ["tokens"]):
        return
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
