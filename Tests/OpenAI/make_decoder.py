"""Writes a small decoder's folder with random weights: make_decoder.py FOLDER.

Qwen3's shape, as Tests/Support/MadeDecoder.swift; the tokenizer is a golden of the tokenizer tests. It writes nonsense and
does not end by itself.
"""

import json
import pathlib
import random
import shutil
import struct
import sys

WIDTH, LAYERS, HEADS, GROUPS, HEAD, INNER, VOCABULARY, POSITIONS = 48, 2, 4, 2, 16, 80, 2048, 1024
CONFIG = {
    "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu", "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "head_dim": HEAD,
    "intermediate_size": INNER, "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0, "tie_word_embeddings": True, "eos_token_id": 0,
}
TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""


def shapes():
    yield "model.embed_tokens.weight", (VOCABULARY, WIDTH)
    yield "model.norm.weight", (WIDTH,)
    for layer in range(LAYERS):
        block = f"model.layers.{layer}."
        yield block + "input_layernorm.weight", (WIDTH,)
        yield block + "post_attention_layernorm.weight", (WIDTH,)
        yield block + "self_attn.q_norm.weight", (HEAD,)
        yield block + "self_attn.k_norm.weight", (HEAD,)
        yield block + "self_attn.q_proj.weight", (HEADS * HEAD, WIDTH)
        yield block + "self_attn.k_proj.weight", (GROUPS * HEAD, WIDTH)
        yield block + "self_attn.v_proj.weight", (GROUPS * HEAD, WIDTH)
        yield block + "self_attn.o_proj.weight", (WIDTH, HEADS * HEAD)
        yield block + "mlp.gate_proj.weight", (INNER, WIDTH)
        yield block + "mlp.up_proj.weight", (INNER, WIDTH)
        yield block + "mlp.down_proj.weight", (WIDTH, INNER)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    # Beyond the vocabulary: no text ends by itself.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 100_000}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = pathlib.Path(__file__).resolve().parent.parent / "Goldens/tokenizers/qwen.json"
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    numbers = random.Random(1)
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        is_norm = len(shape) == 1
        values = [
            1 + numbers.uniform(-0.1, 0.1) if is_norm else numbers.uniform(-0.2, 0.2) for _ in range(count)
        ]
        start = len(data)
        data += struct.pack(f"<{count}f", *values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
