#!/usr/bin/env python3
"""Real configurations with random weights in bfloat16, for speed and memory.

    python make_decoder.py SHAPE [--to DIR] [--index DIR]

SHAPE is smollm2-135m or qwen2.5-0.5b. Prints the folder, which lies outside the tree (DIR defaults to
${XDG_CACHE_HOME:-~/.cache}/corad/decoders); made once, the same seed gives the same bytes. Matrices are normal with a
deviation of 0.02, norms 1, biases normal too. The tokenizer is byte-level BPE of the package index's text, filled up with
unused tokens to the rows that the shape has.
"""
import argparse, pathlib

import decoder_folder as folders

TRAINED_TOKENS = 16384
SEED = 20240902

SHAPES = {
    "smollm2-135m": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
        "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
        "max_position_embeddings": 8192, "rope_theta": 100000.0, "rope_scaling": None, "rms_norm_eps": 1e-05,
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "initializer_range": 0.041666666666666664, "use_cache": True, "torch_dtype": "bfloat16"},
    "qwen2.5-0.5b": {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
        "max_position_embeddings": 32768, "rope_theta": 1000000.0, "rms_norm_eps": 1e-06, "hidden_act": "silu",
        "sliding_window": 32768, "max_window_layers": 24, "use_sliding_window": False, "tie_word_embeddings": True,
        "initializer_range": 0.02, "use_cache": True, "torch_dtype": "bfloat16"},
}


def shapes_of(config):
    """Tensor names and shapes of a tied decoder; biases on query, key and value where the family has them."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    size = width // config["num_attention_heads"]
    narrow = size * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], width)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        for part, rows in (("q", width), ("k", narrow), ("v", narrow), ("o", width)):
            shapes[f"{name}self_attn.{part}_proj.weight"] = (rows, width)
            if config["model_type"] == "qwen2" and part != "o":
                shapes[f"{name}self_attn.{part}_proj.bias"] = (rows,)
        shapes[f"{name}mlp.gate_proj.weight"] = (inner, width)
        shapes[f"{name}mlp.up_proj.weight"] = (inner, width)
        shapes[f"{name}mlp.down_proj.weight"] = (width, inner)
        shapes[f"{name}input_layernorm.weight"] = (width,)
        shapes[f"{name}post_attention_layernorm.weight"] = (width,)
    shapes["model.norm.weight"] = (width,)
    return shapes


def weights(config):
    import torch
    random = torch.Generator().manual_seed(SEED)
    tensors = {}
    for name, shape in shapes_of(config).items():
        if name.endswith("norm.weight"):
            tensors[name] = torch.ones(shape, dtype=torch.bfloat16)
        else:
            tensors[name] = (torch.randn(shape, generator=random) * 0.02).to(torch.bfloat16)
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("--to", type=pathlib.Path, default=folders.cache() / "decoders")
    parser.add_argument("--index", type=pathlib.Path, default=folders.cache() / "package-index")
    arguments = parser.parse_args()
    config = {**SHAPES[arguments.shape], "eos_token_id": 0, "bos_token_id": 0}
    settings = {"config": config, "seed": SEED, "tokens": TRAINED_TOKENS, "format": 1}
    folder = arguments.to / f"{arguments.shape}-{folders.digest_of(settings)[:8]}"
    if not (folder / "config.json").exists():
        rows, _ = folders.index_rows(arguments.index)
        tokenizer = folders.train_tokenizer((row["long"] for row in rows), TRAINED_TOKENS)
        document = folders.pad_vocabulary(tokenizer, config["vocab_size"])
        folders.write_model(folder, config, document, weights(config))
    print(folder.resolve())


if __name__ == "__main__":
    main()
