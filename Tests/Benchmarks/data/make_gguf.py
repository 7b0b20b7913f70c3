#!/usr/bin/env python3
"""A decoder's folder as llama.cpp takes it.

    python make_gguf.py FOLDER ELEMENT

ELEMENT, float32 or bfloat16, is what matrices are held as; norms and biases are float32 either way. Prints the file, which
lies beside FOLDER and is made again where the weights are newer. The vocabulary has the right size and nothing else: every
token is ASCII text of its own, so that a server sends each one as soon as it has it. Prompts go in as token ids.
"""
import argparse, json, pathlib

import numpy as np

ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}
PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def name_of(name):
    """model.layers.3.mlp.up_proj.weight to blk.3.ffn_up.weight."""
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{kind}"
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def interleave(rows, heads):
    """[heads * size, …] with a head's halves side by side. Hugging Face's layout rotates dimension i with i + size / 2;
    llama.cpp rotates neighbours in the llama architecture.
    """
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def write(folder, element, path):
    import gguf
    import torch
    from safetensors.torch import load_file
    config = json.loads((folder / "config.json").read_text())
    architecture = ARCHITECTURES[config["architectures"][0]]
    heads, narrow = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_file_type(
        gguf.LlamaFileType.ALL_F32 if element == "float32" else gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(narrow)
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    writer.add_token_merges(["t 0"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        if architecture == "llama" and ".q_proj." in name:
            tensor = interleave(tensor, heads)
        if architecture == "llama" and ".k_proj." in name:
            tensor = interleave(tensor, narrow)
        if tensor.dim() == 2 and element == "bfloat16":
            values = tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
            writer.add_tensor(name_of(name), values, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name_of(name), np.ascontiguousarray(tensor.float().numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("element", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    path = folder.with_name(f"{folder.name}-{arguments.element}.gguf")
    weights = folder / "model.safetensors"
    if not path.exists() or path.stat().st_mtime < weights.stat().st_mtime:
        part = path.with_name(path.name + ".part")
        write(folder, arguments.element, part)
        part.replace(path)
    print(path)


if __name__ == "__main__":
    main()
