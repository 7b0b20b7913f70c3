"""held-out-accuracy.py URL TASK FILE: share of the rows of FILE (NDJSON of text and label) answered rightly."""
import json, sys, urllib.parse, urllib.request

_, url, task, path = sys.argv
rows = [json.loads(line) for line in open(path, encoding="utf-8")]
target = f"{url.rstrip('/')}/adapters/{urllib.parse.quote(task)}/infer"
right = 0
for start in range(0, len(rows), 64):
    batch = rows[start:start + 64]
    body = json.dumps({"inputs": [r["text"] for r in batch]}).encode()
    request = urllib.request.Request(target, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        predictions = json.load(answer)["predictions"]
    right += sum(p["label"] == r["label"] for p, r in zip(predictions, batch))
print(f"held-out accuracy {right / len(rows):.4f} ({right} of {len(rows)} rows)")
