"""transformers on torch, a decoder: greedy decoding of n streams as one batch over a KV cache, and logits for parity.

    python decode_peer.py [--threads N] --model DIR

    {"command": "prepare", "element": "float32" | "bfloat16"}
        -> {"parameters"}
    {"command": "decode", "prompts": [[7, …], …], "steps": 64}
        -> {"prompt_seconds", "decode_seconds", "prompt_tokens", "decode_tokens", "first": [the first stream's tokens]}
    {"command": "logits", "sequences": [[7, …], …], "element": "float32" | "bfloat16", "path": FILE}
        -> {"rows", "vocabulary"}

Prompts are of one length, so nothing is padded. `decode` is a bare loop (forward, argmax of the last row, forward of one
token a stream): `generate` does the same and more. End tokens end nothing. Prompt time runs up to every stream's first
token, decode time from there; decode tokens are `steps` a stream, the first one not counted.

`logits` rounds every matrix to bfloat16 first and computes in float32 over them, or with activations in bfloat16 too; it
writes float32 rows, sequence after sequence.
"""
from peer import MODEL, serve
import time
import torch
from transformers import AutoModelForCausalLM

model = None
element = None


def prepare(request):
    global model, element
    element = {"float32": torch.float32, "bfloat16": torch.bfloat16}[request["element"]]
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=element, attn_implementation="sdpa").eval()
    return {"parameters": sum(p.numel() for p in model.parameters())}


def decode(request):
    ids = torch.tensor(request["prompts"])
    with torch.inference_mode():
        started = time.perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        chosen = out.logits[:, -1].argmax(-1, keepdim=True)
        middle = time.perf_counter()
        tokens = [chosen[0, 0].item()]
        for _ in range(request["steps"]):
            out = model(input_ids=chosen, past_key_values=out.past_key_values, use_cache=True)
            chosen = out.logits[:, -1].argmax(-1, keepdim=True)
            tokens.append(chosen[0, 0].item())
        ended = time.perf_counter()
    return {
        "prompt_seconds": middle - started, "decode_seconds": ended - middle, "prompt_tokens": ids.numel(),
        "decode_tokens": len(ids) * request["steps"], "first": tokens}


def logits(request):
    peer = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    for parameter in peer.parameters():
        if parameter.dim() == 2:
            parameter.data = parameter.data.bfloat16().float()
    if request["element"] == "bfloat16":
        peer = peer.bfloat16()
    rows = 0
    with torch.inference_mode(), open(request["path"], "wb") as file:
        for sequence in request["sequences"]:
            values = peer(input_ids=torch.tensor([sequence]), use_cache=False).logits[0].float().contiguous()
            file.write(values.numpy().tobytes())
            rows += len(values)
    return {"rows": rows, "vocabulary": peer.config.vocab_size}


serve({"prepare": prepare, "decode": decode, "logits": logits})
