"""transformers and PEFT on torch, a decoder: greedy decoding of n streams as one batch over a KV cache, and logits for
parity.

    python decode_peer.py [--threads N] --model DIR

    {"command": "prepare", "element": "float32" | "bfloat16", "adapters": 0, "rank": 8, "target": ["q_proj", "v_proj"]}
        -> {"parameters"}
    {"command": "decode", "prompts": [[7, …], …], "steps": 64, "distinct": 0}
        -> {"prompt_seconds", "decode_seconds", "prompt_tokens", "decode_tokens", "first": [the first stream's tokens]}
    {"command": "logits", "sequences": [[7, …], …], "element": "float32" | "bfloat16", "path": FILE}
        -> {"rows", "vocabulary"}

Prompts are of one length, so nothing is padded. `decode` is a bare loop (forward, argmax of the last row, forward of one
token a stream): `generate` does the same and more. End tokens end nothing. Prompt time runs up to every stream's first
token, decode time from there; decode tokens are `steps` a stream, the first one not counted. With `distinct` adapters,
neighbouring streams share one (PEFT's adapter_names).

`logits` rounds every matrix to bfloat16 first and computes in float32 over them, or with activations in bfloat16 too; it
writes float32 rows, sequence after sequence.
"""
from peer import MODEL, serve
import time
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

model = None
element = None


def prepare(request):
    global model, element
    element = {"float32": torch.float32, "bfloat16": torch.bfloat16}[request["element"]]
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=element, attn_implementation="sdpa").eval()
    parameters = sum(p.numel() for p in model.parameters())
    names = [f"task{i}" for i in range(request.get("adapters", 0))]
    for i, name in enumerate(names):
        config = LoraConfig(
            r=request["rank"], lora_alpha=2 * request["rank"], init_lora_weights=False, target_modules=request["target"])
        if i == 0:
            model = get_peft_model(model, config, adapter_name=name)
        else:
            model.add_adapter(name, config)
    # PEFT makes adapters in float32, which the base's element then waits for.
    model = model.to(element).eval()
    return {"parameters": parameters}


def decode(request):
    ids = torch.tensor(request["prompts"])
    distinct = request.get("distinct", 0)
    options = {}
    if distinct:
        options["adapter_names"] = [f"task{i * distinct // len(ids)}" for i in range(len(ids))]
    with torch.inference_mode():
        started = time.perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1, **options)
        chosen = out.logits[:, -1].argmax(-1, keepdim=True)
        middle = time.perf_counter()
        tokens = [chosen[0, 0].item()]
        for _ in range(request["steps"]):
            out = model(input_ids=chosen, past_key_values=out.past_key_values, use_cache=True, **options)
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
