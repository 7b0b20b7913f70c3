"""Loaded by schemathesis: the check of refused valid requests, and the count of what was called.

CORAD_RULES is the committed list of unstated rules; CORAD_COUNTS is the file that the counts go to.
"""

import atexit
import collections
import json
import os
import re
import threading

import schemathesis
import yaml

with open(os.environ["CORAD_RULES"], encoding="utf-8") as file:
    RULES = yaml.safe_load(file)["rules"]
counts = collections.Counter()
lock = threading.Lock()


def is_covered(operation, code, error):
    """Whether one refusal is by a listed rule: same operation and code, its pointer and detail match in full."""
    return any(
        operation in rule["operations"]
        and code == rule["code"]
        and re.fullmatch(rule.get("pointer", ".*"), error.get("pointer", ""))
        and re.fullmatch(rule.get("detail", ".*"), error.get("detail", ""), re.DOTALL)
        for rule in RULES
    )


@schemathesis.check
def unstated_rules(ctx, response, case):
    """A 422 to a schema-valid request must be by a rule of the list, every one of its errors."""
    if response.status_code != 422 or not case.meta or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
    # OpenAI's routes: its error object has the same code, and the same list of refused fields.
    problem = problem.get("error") or problem
    operation = case.operation.definition.raw["operationId"]
    for error in problem.get("errors") or [problem]:
        if not is_covered(operation, problem["code"], error):
            raise AssertionError(f"{operation}: no listed rule refuses this valid request: {json.dumps(error)}")


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    """Lines are text already."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.check
def asked_deadlines(ctx, response, case):
    """A 504 is the answer to a deadline that the request itself set."""
    if response.status_code != 504:
        return
    asked = (case.headers or {}).get("X-Request-Timeout")
    problem = response.json()
    if asked is None or (problem.get("error") or problem)["deadline_ms"] > int(asked):
        raise AssertionError(f"504 without a deadline in the request: {response.text}")


@schemathesis.hook
def after_call(ctx, case, response):
    operation = case.operation.definition.raw["operationId"]
    mode = "valid" if case.meta and case.meta.generation.mode.is_positive else "invalid"
    with lock:
        counts[f"{operation} {mode} {response.status_code}"] += 1


@atexit.register
def write():
    with open(os.environ["CORAD_COUNTS"], "w", encoding="utf-8") as file:
        json.dump(counts, file)
