"""transformers and PEFT on torch, inference over given tokenised rows.

    python infer_peer.py [--threads N] [--model DIR]

    {"command": "prepare", "variant": "base" | "lora" | "mixed", "rows": [[101, …], …], "batch_size": 32, "rank": 8,
     "adapters": 8, "target": ["query", "value"]}
        -> {"tokens", "batches"}
    {"command": "run", "passes": 1}
        -> {"seconds", "tokens", "padded_tokens", "tokens_per_second", "batch_ms": median}

`lora` answers all rows with one adapter, `mixed` row i with adapter i modulo `adapters` (PEFT's adapter_names).
Rows are mean-pooled; a batch is padded to its longest row; tokens count real ones only.
"""
from peer import batches, load_base, mean_pool, pad, serve
import statistics, time
import torch
from peft import LoraConfig, get_peft_model


class Session:
    def __init__(self, request):
        torch.manual_seed(0)
        self.variant = request["variant"]
        self.model = load_base()
        self.names = []
        if self.variant != "base":
            config = lambda: LoraConfig(
                r=request["rank"], lora_alpha=2 * request["rank"], init_lora_weights=False,
                target_modules=request.get("target", ["query", "value"]))
            count = request.get("adapters", 1) if self.variant == "mixed" else 1
            self.names = [f"task{i}" for i in range(count)]
            self.model = get_peft_model(self.model, config(), adapter_name=self.names[0])
            for name in self.names[1:]:
                self.model.add_adapter(name, config())
            self.model.set_adapter(self.names[0])
        self.model.eval()
        self.batches = batches(request["rows"], request["batch_size"])

    def forward(self, rows):
        ids, mask = pad(rows)
        options = {}
        if self.variant == "mixed":
            options["adapter_names"] = [self.names[i % len(self.names)] for i in range(len(rows))]
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask, **options).last_hidden_state
            mean_pool(hidden, mask)
        return ids.numel()


session = None


def prepare(request):
    global session
    session = Session(request)
    return {"tokens": sum(map(len, request["rows"])), "batches": len(session.batches)}


def run(request):
    times, tokens, padded = [], 0, 0
    for _ in range(request.get("passes", 1)):
        for rows in session.batches:
            started = time.perf_counter()
            padded += session.forward(rows)
            times.append(time.perf_counter() - started)
            tokens += sum(map(len, rows))
    return {
        "seconds": sum(times), "tokens": tokens, "padded_tokens": padded, "tokens_per_second": tokens / sum(times),
        "batch_ms": 1e3 * statistics.median(times)}


serve({"prepare": prepare, "run": run})
