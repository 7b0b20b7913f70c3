#!/usr/bin/env python3
"""Records what Jinja makes of chat templates, in the environment that transformers gives them, for TokenizersTests.

Usage: RECORD_GOLDENS=1 record_templates.py                     (fails after writing: look at the change, then commit)

Templates are Tests/Goldens/templates/*.jinja, written in the style of each family. conversations.json holds 30
conversations; expected.txt a line for each template and conversation: the digest of its text without tools, with tools,
and with tools and a generation prompt, or `raised:` and the digest of the message where the template refuses.
snippets.json holds small templates with their context, and the text or that there is none.
"""
import datetime
import json
import os
import subprocess
import sys

from record_tokenizers import fnv
import jinja2
from record_tokens import SplitMix64
from transformers.utils.chat_template_utils import _compile_jinja_template

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
CONVERSATIONS, SEED = 30, 77
NOW = datetime.datetime(2026, 3, 7, 15, 4, 5)

TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Gets the weather of a place; \"now\" or <later> & more.",
        "parameters": {"type": "object", "properties": {
            "place": {"type": "string", "description": "Ort, z. B. Köln — 北京"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer", "minimum": 1}},
            "required": ["place"]}}},
    {"type": "function", "function": {
        "name": "add", "description": "Adds.\nTwo lines.", "parameters": {
            "type": "object", "properties": {"b": {"type": "number", "default": 0.5}, "a": {"type": "number"}},
            "required": ["a", "b"], "additionalProperties": False}, "return": {"type": "number"}}},
]
TEXTS = ["Hello!", "  What is 2 + 2?  ", "Erzähl mir etwas über Köln.\n\nBitte kurz.", "你好，世界", "She said \"it's <b>fine</b>\" & left.\t",
         "", "line one\nline two\r\nline three\n", "{{ not a template }} {% raw %}", "👩🏽‍💻 emoji ❤️", "\\n is not a line end", "Ünïcödé ß İ ǆ",
         "<|im_end|> and [/INST] and </s>", "'single' and \"double\"", "a" * 300, "\u00a0no-break\u2028separator\u0085next", "1. one\n2. two"]
SYSTEMS = [None, "You are helpful.", "  Be brief.\n", "Antworte auf Deutsch.", ""]
ARGUMENTS = [{"place": "Köln"}, {"a": 1, "b": 2.5}, {"place": "北京", "unit": "celsius", "days": 3}, {}, {"nested": {"x": [1, None, True, "q\"'"]}}]


def conversation(random, index):
    pick = lambda items: items[random.below(len(items))]
    messages = []
    system = SYSTEMS[index % len(SYSTEMS)]
    if system is not None:
        messages.append({"role": "system", "content": system})
    for turn in range(1 + random.below(4)):
        messages.append({"role": "user", "content": pick(TEXTS)})
        if random.below(4) == 0:
            call = "".join(chr(97 + random.below(26)) for _ in range(9))
            message = {"role": "assistant", "content": pick(["", "Let me see."]), "tool_calls": [
                {"id": call, "type": "function", "function": {"name": pick(["get_weather", "add"]), "arguments": pick(ARGUMENTS)}}]}
            if random.below(3) == 0:
                message["tool_calls"].append({"id": call[::-1], "type": "function", "function": {"name": "add", "arguments": pick(ARGUMENTS)}})
            messages.append(message)
            for tool_call in message["tool_calls"]:
                messages.append({"role": "tool", "tool_call_id": tool_call["id"], "name": "get_weather",
                                 "content": pick(["{\"temperature\": 21.5}", "42", "Fehler: ä"])})
        answer = {"role": "assistant", "content": pick(TEXTS)}
        if random.below(4) == 0:
            answer["reasoning_content"] = pick(["Think.\n", "hm\n\nso"])
        elif random.below(5) == 0:
            answer["content"] = "<think>\nlong thought\n</think>\n\n" + answer["content"]
        messages.append(answer)
    if index % 3 != 0:
        messages.pop()
    if index == 13:
        messages.append({"role": "user", "content": [{"type": "text", "text": " part one "}, {"type": "image"}, {"type": "text", "text": "two"}]})
    if index == 17:
        messages.insert(len(messages) // 2, {"role": "user", "content": "twice"})
    return messages


C = {"s": " Hello, Wörld ", "n": 7, "f": 2.5, "t": True, "z": None, "l": [3, 1, 2], "w": ["b", "A", "c"], "e": [], "d": {"b": 1, "a": "x"},
     "m": [{"role": "user", "content": "hi", "k": {"v": 1}}, {"role": "bot", "content": "yo", "k": {"v": 2}}, {"role": "user", "content": "x"}]}
SNIPPETS = [
    # White space and tags.
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "  {% if t %}  x  {% endif %}  ", "  {%+ if t %}x{% endif %}", "x {%- if t -%}  y  {%- endif -%} z",
    "{% if t +%}\nx{% endif %}", "{# c #}\nx", "  {# c #}  \nx", "a {#- c -#} b", "{{ n }}\n", "{{ n }}\n\n", "{{- n -}} \n x", "\n{{ n }}", " \t{% set x = 1 %}\n  {{ x }}",
    "{% raw %}{{ x }}{% endraw %}", "  {% raw -%}\n {{ x }} {%- endraw %}\n y", "{% raw %}\n{% if %}\n{% endraw %}\n!", "a\r\nb\rc", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{'}}'}}", "{% set x = '%}' %}{{ x }}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend", "\u00a0{% if t %}x{% endif %}", "{{ 'a' 'b' \"c\" }}", "{{ 'a\\n\\t\\\\\\'\\x41\\u00e9\\q' }}", "{}{ }{ {", "{%- set x = 1 -%}   \n\n y",
    # Values.
    "{{ s }}|{{ n }}|{{ f }}|{{ t }}|{{ z }}|{{ l }}|{{ d }}|{{ e }}|{{ q }}", "{{ [1, 2.0, 'a', \"it's\", none, true, ('x',), ()] }}", "{{ 1e3 }} {{ 0.1 + 0.2 }} {{ 1/3 }} {{ 7//2 }} {{ -7//2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2**10 }} {{ 1e16 }} {{ 1e-5 }} {{ 100000000000000000 }}",
    "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 'a' ~ 1 ~ none ~ q }} {{ 'ab' * 2 }} {{ 2 * 'x' }} {{ [1] + [2] }}", "{{ -n }} {{ +n }} {{ -n|abs }} {{ 5 / 2 }} {{ 4 / 2 }}", "{{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 1 - -1 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' != 'b' }}", "{{ 'ell' in s }} {{ 1 in l }} {{ 'a' in d }} {{ 'q' not in d }} {{ 3 not in l }} {{ 'x' in q }}",
    "{{ t and n }} {{ z or 'x' }} {{ not t }} {{ not z and t }} {{ e or d }} {{ '' or 0 }}", "{{ 'y' if t else 'n' }} {{ 'y' if z }} {{ 'a' if z else 'b' if z else 'c' }}", "{{ l[0] }} {{ l[-1] }} {{ l[9] }} {{ s[1] }} {{ d['a'] }} {{ d.a }} {{ d.zz }} {{ d['zz'] }} {{ m[0].k.v }}",
    "{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ s[2:5] }} {{ s[::-1] }} {{ s[-3:] }} {{ s[9:2:-2] }} {{ l[5:] }} {{ l[-9:9] }}", "{{ q is defined }} {{ s is defined }} {{ q is undefined }} {{ z is none }} {{ d.zz is defined }}",
    "{{ 1 is number }} {{ t is number }} {{ t is integer }} {{ n is integer }} {{ f is float }} {{ t is boolean }} {{ s is string }} {{ d is mapping }} {{ l is sequence }} {{ d is iterable }} {{ n is iterable }} {{ s is iterable }} {{ s is sequence }}",
    "{{ 3 is odd }} {{ 3 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ n is eq 7 }} {{ n is equalto(8) }} {{ n is ge 7 }} {{ n is lt 3 }} {{ t is true }} {{ 1 is true }} {{ z is sameas none }} {{ 'a' is in ['a'] }} {{ 'ab' is lower }} {{ 'AB' is upper }}",
    "{{ n is not none }} {{ q is not defined and t }} {{ n is number and s is string }}",  "{{ range(3)|list }} {{ range(1, 7, 2)|list }} {{ range(5, 0, -2)|list }}", "{{ dict(a=1, b='x') }} {{ dict(d, c=3) }}", "{{ loop is defined }}", "{{ true }} {{ True }} {{ None }} {{ false }}",
    # Filters.
    "{{ s|trim }}|{{ s|upper }}|{{ s|lower }}|{{ 'hello wORLD foo-bar'|title }}|{{ 'hELLO'|capitalize }}|{{ 'xxaxx'|trim('x') }}", "{{ s|length }} {{ l|length }} {{ d|count }} {{ ''|length }} {{ q|length }}", "{{ q|default('x') }} {{ z|default('x') }} {{ z|default('x', true) }} {{ z|d('x', boolean=true) }} {{ d.q|default }}",
    "{{ l|join }} {{ l|join(', ') }} {{ m|join('-', attribute='role') }} {{ w|join(d='+') }} {{ d|join }}", "{{ l|first }} {{ l|last }} {{ e|first }} {{ s|first }} {{ l|sum }} {{ l|min }} {{ l|max }} {{ w|min }} {{ l|sum(start=10) }}", "{{ l|sort }} {{ l|sort(reverse=true) }} {{ w|sort }} {{ w|sort(case_sensitive=true) }} {{ m|sort(attribute='content')|map(attribute='content')|join(',') }}",
    "{{ l|reverse|list }} {{ s|reverse }} {{ ['a', 'A', 'b']|unique|list }} {{ d|dictsort }} {{ d|items|list }} {{ 'abc'|list }} {{ d|list }}", "{{ m|map(attribute='role')|list }} {{ w|map('upper')|list }} {{ m|map(attribute='k.v', default=0)|list }} {{ l|map('string')|join('/') }}",
    "{{ m|selectattr('role', 'equalto', 'user')|list|length }} {{ m|rejectattr('role', 'eq', 'user')|map(attribute='content')|list }} {{ m|selectattr('k')|list|length }} {{ [1, 0, 2]|select|list }} {{ [1, 2, 3]|reject('odd')|list }} {{ l|select('gt', 1)|list }} {{ m|selectattr('k', 'defined')|list|length }}",
    "{{ '3'|int }} {{ 'x'|int }} {{ '3.7'|int }} {{ 3.9|int }} {{ 'x'|int(5) }} {{ '2.5'|float }} {{ 3|float }} {{ -3|abs }} {{ 2.567|round(2) }} {{ 2.5|round }} {{ 2.1|round(0, 'ceil') }} {{ 1|string + 'x' }}", "{{ 'a-b-a'|replace('a', 'c') }} {{ 'aaa'|replace('a', 'b', 2) }} {{ '<a href=\"x\">&\\''|e }} {{ '<b>'|safe }}", "{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb\n'|indent(2, true) }}|{{ 'a\n\nb'|indent(width=1, blank=true) }}",
    "{{ d|tojson }} {{ m|tojson }} {{ s|tojson }} {{ z|tojson }} {{ f|tojson }} {{ e|tojson }} {{ {}|tojson }}", "{{ m|tojson(indent=2) }}", "{{ {'b': [1, {'c': '\\u00e9\\n\\u0001\"/<>&'}], 'a': {}}|tojson(indent=4, sort_keys=true) }}", "{{ s|tojson(ensure_ascii=true) }} {{ l|tojson(separators=(',', ':')) }} {{ {1: 2, none: 3, true: 1.5}|tojson }}", "{{ 'one two'|wordcount }}", "{% filter upper|trim %} x {{ s }} {% endfilter %}",
    # Methods.
    "{{ s.strip() }}|{{ s.lstrip() }}|{{ s.rstrip() }}|{{ 'xyax'.strip('xy') }}|{{ 'a b  c '.split() }}|{{ 'a,b,,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ ' a b c'.split(none, 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}", "{{ s.upper() }} {{ s.lower() }} {{ 'they\\'re bill\\'s'.title() }} {{ 'aBC'.capitalize() }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abcb'.find('b') }} {{ 'abcb'.rfind('b') }} {{ 'abc'.find('x') }} {{ 'äbc'.index('c') }} {{ 'aXbX'.count('X') }}",
    "{{ 'a.b'.replace('.', '-') }} {{ 'aaa'.replace('a', 'b', 1) }} {{ 'abc'.replace('', '-') }} {{ ', '.join(w) }} {{ 'a\\nb\\r\\nc'.splitlines() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ 'ab'.isalpha() }} {{ ' '.isspace() }} {{ 'abc'.removeprefix('ab') }} {{ 'abc'.removesuffix('bc') }} {{ '7'.zfill(3) }} {{ 'a-b-c'.partition('-') }}",
    "{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.get('a') }} {{ d.get('q') }} {{ d.get('q', 'z') }} {{ d['items'] is defined }} {{ l.index(1) }} {{ l.count(2) }}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{{ 'İ'.lower() }} {{ 'ß'.upper() }} {{ 'ǆ'.title() }}",
    # Statements.
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }};{% endfor %}", "{% for x in e %}x{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% else %}no{% endfor %}", "{% for x in l if x > 9 %}y{% else %}no{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% for y in w %}{{ loop.index }}{{ loop.depth }}{% endfor %}{{ loop.depth0 }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for c in 'añ' %}{{ c }},{% endfor %}{% for x in q %}x{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }} {{ ns.q is defined }}", "{% if t %}{% set y = 1 %}{% endif %}{{ y }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}{{ x|length }}", "{% set x | upper %}abc{% endset %}{{ x }}", "{% if z %}1{% elif n == 7 %}2{% else %}3{% endif %}", "{% if z %}{% elif z %}{% else %}3{% endif %}",
    "{% macro m(a, b='x', c=none) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(n) %}{% if n > 0 %}{{ n }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(x) m() %}in{{ x }}{% endcall %}", "{% set g = 1 %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 2 %}{{ m() }}", "{% macro m(a) %}{{ a|upper }}{% endmacro %}{{ m('x')|lower ~ m.name }}",
    "{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% generation %}x{% set q1 = 1 %}{% endgeneration %}{{ q1 }}", "{{ strftime_now('%d %b %Y %H:%M:%S %A %B %j %p %I %y %-d %m %F %T %%') }}", "{% set x = [1, 2] %}{% set x = x + [3] %}{{ x }}", "{{ (1, 2) }} {{ 1, 2 }} {{ (1,) }}", "{% for m in m %}{{ m.role }}{{ m['content'] }}{% endfor %}", "{{ m[0] == m[0] }} {{ m[0] == m[1] }} {{ m|last == m[-1] }}", "{{ messages is defined and messages }}", "{{ l|map('string')|map('length')|sum }}", "{% for x in l|sort %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{{ '%s' }}", "{{ 10|string|length }}", "{{ {'a': 1, 'a': 2} }}", "{{ not (1 == 2) }} {{ not 1 == 2 }} {{ 1 if 0 else 2 if 0 else 3 }}", "{{ d | tojson | length }}", "{{ s | trim | lower | replace(' ', '_') }}", "{{ 'a' in ['a'] and 'b' not in ['a'] }}", "{{ [1, 2, 3][1:] | first }}", "{{ n == 7 and f == 2.5 or z }}", "{{ (n, f) == (7, 2.5) }}",
    # What gives no text.
    "{{ q.a }}", "{{ q + 1 }}", "{{ 1 + 'a' }}", "{{ z.upper() }}", "{{ raise_exception('no') }}", "{% for x in 5 %}{% endfor %}", "{{ 1 / 0 }}", "{% if %}", "{% endif %}", "{{ x", "{% for x in l %}", "{{ l.append(1) }}", "{{ d.update({}) }}", "{{ unknown_function() }}", "{{ s|nofilter }}", "{{ s is notest }}", "{% include 'x' %}", "{% set d.a = 1 %}", "{{ 'a' < 1 }}", "{{ range(1000000) }}", "{% set a, b = [1] %}",
    "{{ {}[[]] }}", "{{ [][none] }}", "{{ 'abc'[q] }}", "{{ 5 in 5 }}", "{{ q() }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "{{ ''.join([1]) }}", "{{ 'a'.split('') }}", "{{ q|tojson }}", "{{ }}", "{{ 1 2 }}", "{% break %}", "{{ d|dictsort(1, 2, 3, 4) }}", "{{ a.b.c }}",
]


def main():
    if os.environ.get("RECORD_GOLDENS") != "1":
        sys.exit("set RECORD_GOLDENS=1 to record")
    if subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout:
        sys.exit("the work tree is not clean")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    random = SplitMix64(SEED)
    conversations = [conversation(random, i) for i in range(CONVERSATIONS)]
    strftime = lambda form: NOW.strftime(form)

    def render(template, **context):
        try:
            return _compile_jinja_template(template).render(strftime_now=strftime, **context)
        except (jinja2.exceptions.TemplateError, TypeError, ValueError, ZeroDivisionError, KeyError, OverflowError, SyntaxError) as error:
            return error

    lines = [f"corad-templates 1 jinja={jinja2.__version__} commit={commit}"]
    for file in sorted(os.listdir(FOLDER)):
        if not file.endswith(".jinja"):
            continue
        template = open(os.path.join(FOLDER, file), encoding="utf-8").read()
        lines.append(f"template {file[:-6]}")
        for messages in conversations:
            row = []
            for tools, prompt in ((None, False), (TOOLS, False), (TOOLS, True)):
                text = render(template, messages=messages, tools=tools, documents=None, add_generation_prompt=prompt,
                              bos_token="<s>", eos_token="</s>")
                if isinstance(text, Exception):
                    row.append("raised:" + fnv(str(text).encode()) if type(text) is jinja2.exceptions.TemplateError else "failed")
                else:
                    row.append(fnv(text.encode()))
            lines.append(" ".join(row))
    with open(os.path.join(FOLDER, "expected.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    with open(os.path.join(FOLDER, "conversations.json"), "w") as f:
        json.dump({"tools": TOOLS, "conversations": conversations}, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    results = [render(snippet, **C) for snippet in SNIPPETS]
    with open(os.path.join(FOLDER, "snippets.json"), "w") as f:
        json.dump({"context": C, "snippets": [
            {"template": s, "error" if isinstance(r, Exception) else "text": str(r)} for s, r in zip(SNIPPETS, results)]},
            f, ensure_ascii=True, indent=1)
        f.write("\n")
    print(sum(isinstance(r, Exception) for r in results), "of", len(results), "snippets give no text;",
          sum("raised" in line for line in lines), "conversations are refused;", sum("failed" in line for line in lines), "fail")
    sys.exit(1)


if __name__ == "__main__":
    main()
