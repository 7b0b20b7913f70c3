"""Holds the live daemon to openapi.yaml with schemathesis; called by conformance.sh.

Each seed has a daemon of its own on a fresh store, filled through the API: tasks of every kind, data sets, jobs that
ended and jobs that are paused. Their ids are a dictionary for the generator, so that a share of the requests meets
something that is there; DELETE and the moves of jobs have things of their own, so that they do not take them from
the others. A job that the generator gets accepted is cancelled about a second later: it would train 1,000 epochs if
it were told to. Such a job is a valid answer; what training then does is the other tests' matter.

All default checks are on. Two take more answers than by default: positive_data_acceptance a 422 where
unstated-rules.yaml lists the operation, and hooks.py then holds every single error to a rule of that list;
not_a_server_error a 504 of the operations with X-Request-Timeout, and hooks.py then asks that the request set that
deadline. The stream of events is tried on jobs that have ended, and left out of the stateful phase. The examples of
an operation are at most the number asked for and those of the other phases; one without parameters has fewer, all
that there are.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import requests
import yaml

HERE = pathlib.Path(__file__).resolve().parent
CONTRACT = HERE.parent.parent / "openapi.yaml"
RULES = HERE / "unstated-rules.yaml"
# What positive_data_acceptance takes by itself; 422 is added for the operations of the list.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429", "5xx"]
# They take X-Request-Timeout; that a 504 was asked for by it is a check of hooks.py.
DEADLINES = ["infer", "inferAdapter", "createEmbeddings"]
# They need a base that writes: on an encoder every valid request is answered 501, which is not a fault.
WRITERS = ["createCompletion", "createChatCompletion"]
TEXTS = ["the card was charged twice", "cannot log in today", "how do I cancel my plan", "the parcel never came"]
LABELS = ["billing", "access", "plan", "parcel"]


class Daemon:
    """The binary on a port of its own, with a store that goes away with it."""

    def __init__(self, binary, model, folder):
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            [binary, "serve", "--model", model, "--store", str(folder / "corad.sqlite"), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=self.log, cwd=folder,
        )
        self.url = None
        for line in self.process.stdout:
            if line.startswith(b"listening on "):
                self.url = line.split()[2].decode()
                break
        if self.url is None:
            sys.exit(f"conformance: the daemon ended:\n{(folder / 'log').read_text()}")

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.log.close()
        if code != 0:
            sys.exit(f"conformance: the daemon ended with {code}")


class Fixtures:
    """What a daemon holds before it is tried."""

    def __init__(self, url, copies):
        self.url = url
        self.session = requests.Session()
        self.kept = set()
        rows = [{"text": f"{TEXTS[n % 4]} {n}", "label": LABELS[n % 4]} for n in range(24)]
        self.dataset = self.upload("tickets", "classification", rows)
        self.spare_datasets = [self.upload(f"spare-{n}", "classification", rows[:8]) for n in range(copies)]
        self.jobs = []
        for _ in range(3):
            self.train("tickets", rows)
        self.train("own", rows, method="lora")
        self.train("topics", [{"text": r["text"], "labels": [r["label"]]} for r in rows])
        self.train("stars", [{"text": r["text"], "value": n % 5} for n, r in enumerate(rows)])
        self.train("pairs", [{"anchor": r["text"], "positive": r["label"]} for r in rows])
        for n in range(copies):
            self.train(f"spare-{n}", rows[:8])
        for _ in range(copies):
            self.train("shelf", rows[:8])
        self.wait()
        self.cancelled = self.paused(rows)
        self.post(f"/jobs/{self.cancelled}/cancel")
        self.to_cancel = [self.paused(rows) for _ in range(copies)]
        self.to_resume = [self.paused(rows) for _ in range(copies)]
        # They last longer than a seed: whenever one is asked to pause, it runs or waits.
        self.to_pause = [self.train(f"steady-{n}", rows * 16, epochs=1000, activate="never") for n in range(3)]
        self.jobs = self.jobs[:-3]

    def answer(self, response):
        if not response.ok:
            sys.exit(f"conformance: {response.request.method} {response.url}: {response.status_code} {response.text}")
        return response.json()

    def get(self, path):
        return self.answer(self.session.get(self.url + path))

    def post(self, path, body=None):
        return self.answer(self.session.post(self.url + path, json=body))

    def upload(self, name, kind, rows):
        body = "".join(json.dumps(row) + "\n" for row in rows)
        return self.answer(
            self.session.post(
                f"{self.url}/datasets?name={name}&kind={kind}", data=body,
                headers={"Content-Type": "application/x-ndjson"},
            )
        )["id"]

    def train(self, task, rows, **settings):
        job = self.post("/train", {"task": task, "data": {"examples": rows}, "epochs": 1, **settings})["id"]
        self.kept.add(job)
        self.jobs.append(job)
        return job

    def paused(self, rows):
        job = self.train("shelf", rows[:8], activate="never")
        state = self.post(f"/jobs/{job}/pause")["state"]
        if state != "paused":
            sys.exit(f"conformance: the job to pause is {state}")
        self.jobs.pop()
        return job

    def wait(self):
        for job in self.jobs:
            while (found := self.get(f"/jobs/{job}"))["state"] in ("queued", "running"):
                time.sleep(0.05)
            if found["state"] != "succeeded":
                sys.exit(f"conformance: the job of a fixture is {found['state']}: {found['error']}")


class Reaper(threading.Thread):
    """Cancels what the generator got accepted, about a second after, and resumes what is there to be paused."""

    def __init__(self, url, kept, to_pause):
        super().__init__(daemon=True)
        self.url, self.kept, self.to_pause, self.ended, self.count = url, kept, to_pause, threading.Event(), 0

    def run(self):
        session = requests.Session()
        seen = {}
        while not self.ended.wait(0.2):
            try:
                for state in ("running", "queued", "paused"):
                    for job in session.get(f"{self.url}/jobs", params={"state": state, "limit": 1000}).json()["items"]:
                        if job["id"] in self.to_pause:
                            if state == "paused":
                                session.post(f"{self.url}/jobs/{job['id']}/resume")
                            continue
                        if job["id"] in self.kept and state != "queued":
                            continue
                        if time.monotonic() - seen.setdefault(job["id"], time.monotonic()) > 1:
                            session.post(f"{self.url}/jobs/{job['id']}/cancel")
                            self.count += 1
            except requests.RequestException:
                continue


def quoted(values):
    return "[" + ", ".join(json.dumps(value) for value in values) + "]"


def configuration(fixtures, rules):
    """schemathesis.toml: the dictionaries of real ids, and 422 for the operations that have unstated rules."""
    tasks = ["tickets", "topics", "stars", "pairs", "own", "base"]
    dictionaries = {
        "tasks": tasks,
        "versions": [1, 2, 3],
        "subspaces": ["default"],
        "datasets": [fixtures.dataset],
        "jobs": fixtures.jobs[:5] + [fixtures.cancelled],
        "finished": fixtures.jobs[:5],
        "from": ["tickets@1", "tickets@2", "own@1"],
        "spare_tasks": [f"spare-{n}" for n in range(0, len(fixtures.spare_datasets), 2)],
        "spare_models": [f"spare-{n}" for n in range(1, len(fixtures.spare_datasets), 2)],
        # Half for each of the two routes that delete them.
        "spare_datasets": fixtures.spare_datasets[::2],
        "spare_files": fixtures.spare_datasets[1::2],
        "shelf": ["shelf"],
        "shelf_versions": list(range(1, len(fixtures.spare_datasets))),
        "to_cancel": fixtures.to_cancel[::2],
        "to_cancel_openai": fixtures.to_cancel[1::2],
        "to_resume": fixtures.to_resume[::2],
        "to_resume_openai": fixtures.to_resume[1::2],
        "to_pause": fixtures.to_pause,
        "models": tasks + ["tickets@1", "pairs@1"],
    }
    general = {
        "path.task": "tasks", "path.version": "versions",
        "body.version": "versions", "body.expected": "versions", "body.parameters.version": "versions",
        "body.items[*].task": "tasks", "body.data.dataset": "datasets", "body.subspace": "subspaces",
        "body.from": "from", "body.versions[*]": "from", "path.model": "models", "body.model": "models",
        "body.training_file": "datasets",
    }
    special = {
        "getSubspace": {"path.id": "subspaces"},
        "getDataset": {"path.id": "datasets"},
        "getJob": {"path.id": "jobs"},
        "getJobEvents": {"path.id": "finished"},
        "pauseJob": {"path.id": "to_pause"},
        "cancelJob": {"path.id": "to_cancel"},
        "resumeJob": {"path.id": "to_resume"},
        "deleteAdapter": {"path.task": "spare_tasks"},
        "deleteDataset": {"path.id": "spare_datasets"},
        "deleteAdapterVersion": {"path.task": "shelf", "path.version": "shelf_versions"},
        "deleteModel": {"path.model": "spare_models"},
        "getFile": {"path.id": "datasets"},
        "getFileContent": {"path.id": "datasets"},
        "deleteFile": {"path.id": "spare_files"},
        "getFineTuningJob": {"path.id": "jobs"},
        "listFineTuningEvents": {"path.id": "finished"},
        "listFineTuningCheckpoints": {"path.id": "jobs"},
        "pauseFineTuningJob": {"path.id": "to_pause"},
        "cancelFineTuningJob": {"path.id": "to_cancel_openai"},
        "resumeFineTuningJob": {"path.id": "to_resume_openai"},
    }
    lines = [f"hooks = {json.dumps(str(HERE / 'hooks.py'))}", "request-timeout = 30", 'warnings = false', ""]
    for name, values in dictionaries.items():
        lines += [f"[dictionaries.{name}]", f"values = {quoted(values)}", ""]
    binding = '{{ dictionary = "{}", probability = 0.6 }}'
    lines += ["[parameters]"] + [f'"{key}" = {binding.format(name)}' for key, name in general.items()] + [""]
    listed = {operation for rule in rules for operation in rule["operations"]}
    for operation in sorted(listed | set(special) | set(DEADLINES) | set(WRITERS)):
        lines += ["[[operations]]", f'include-operation-id = "{operation}"']
        if operation in listed:
            lines.append(f"checks.positive_data_acceptance.expected-statuses = {quoted(ACCEPTED + ['422'])}")
        if operation in DEADLINES:
            lines.append('checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "504"]')
        if operation in WRITERS:
            lines.append('checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "501", "504"]')
        if operation == "getJobEvents" or operation.startswith("delete"):
            # Ids out of answers would be of jobs that never end, or of the fixtures.
            lines += [f"phases.{phase}.extra-data-sources.responses = false" for phase in ("coverage", "fuzzing")]
        if operation == "getJobEvents":
            lines.append("phases.stateful.enabled = false")
        lines += [f'parameters."{key}" = {binding.format(name)}' for key, name in special.get(operation, {}).items()]
        lines.append("")
    return "\n".join(lines)


def operations():
    contract = yaml.safe_load(CONTRACT.read_text())
    return [
        entry["operationId"] for path in contract["paths"].values() for method, entry in path.items()
        if method in ("get", "put", "post", "delete", "patch")
    ]


def attempt(seed, arguments, rules):
    """One seed: (examples, failures, counts by operation)."""
    with tempfile.TemporaryDirectory(prefix="corad-conformance-") as name:
        folder = pathlib.Path(name)
        daemon = Daemon(arguments.binary, arguments.model, folder)
        try:
            fixtures = Fixtures(daemon.url, arguments.copies)
            reaper = Reaper(daemon.url, fixtures.kept, fixtures.to_pause)
            reaper.start()
            (folder / "schemathesis.toml").write_text(configuration(fixtures, rules))
            command = [
                str(pathlib.Path(sys.executable).with_name("schemathesis")), "--config-file",
                str(folder / "schemathesis.toml"), "run", str(CONTRACT),
                "--url", daemon.url, "--seed", str(seed), "--max-examples", str(arguments.examples),
                "--continue-on-failure", "--report", "ndjson", "--report-ndjson-path", str(folder / "events.ndjson"),
            ]
            environment = os.environ | {
                "CORAD_RULES": str(RULES), "CORAD_COUNTS": str(folder / "counts.json"), "NO_COLOR": "1",
            }
            output = arguments.logs / f"seed-{seed}.log"
            with open(output, "wb") as file:
                code = subprocess.run(
                    command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
                ).returncode
            reaper.ended.set()
            reaper.join()
            counts = json.loads((folder / "counts.json").read_text())
        finally:
            daemon.stop()
    return code, counts, reaper.count, output


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--examples", type=int, default=200, help="for each operation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--copies", type=int, default=16, help="of what the generator may delete or move")
    parser.add_argument("--logs", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    rules = yaml.safe_load(RULES.read_text())["rules"]
    failed = 0
    total = 0
    answered = collections.Counter()
    for seed in arguments.seeds:
        started = time.monotonic()
        code, counts, cancelled, output = attempt(seed, arguments, rules)
        calls = sum(counts.values())
        total += calls
        for key, count in counts.items():
            operation, mode, status = key.split()
            answered[operation, mode, status[0] + "xx" if status != "422" else "422"] += count
        text = output.read_text()
        found = re.search(r"(\d+) unique failures?", text)
        failures = int(found[1]) if found else 0 if code == 0 else 1
        failed += failures
        print(
            f"seed {seed}: {calls} examples of {len(operations())} operations, {failures} failures, "
            f"{cancelled} accepted jobs cancelled, {time.monotonic() - started:.0f} s", flush=True,
        )
        if code != 0:
            print(text, flush=True)
    print(f"{'operation':24} {'valid 2xx':>10} {'valid 422':>10} {'valid other':>12} {'invalid':>8}")
    unmet = []
    for operation in operations():
        of = {key[1:]: count for key, count in answered.items() if key[0] == operation}
        good, refused = of.get(("valid", "2xx"), 0), of.get(("valid", "422"), 0)
        valid = sum(count for (mode, _), count in of.items() if mode == "valid")
        invalid = sum(count for (mode, _), count in of.items() if mode == "invalid")
        print(f"{operation:24} {good:10} {refused:10} {valid - good - refused:12} {invalid:8}")
        if good == 0 and operation not in WRITERS:
            unmet.append(operation)
    if unmet:
        print(f"never answered with 2xx: {', '.join(unmet)}")
    print(
        f"conformance: {total} examples, {len(arguments.seeds)} seeds, {failed} failures, "
        f"{len(operations()) - len(unmet)} of {len(operations())} operations answered as an encoder does"
    )
    sys.exit(1 if failed or unmet else 0)


main()
