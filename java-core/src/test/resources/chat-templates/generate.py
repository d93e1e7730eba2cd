"""Renderings by Jinja2, set up as transformers does, for chat templates and for single constructs of the language.

    python generate.py

Made with Python 3.11, transformers 5.23.0, Jinja2 3.1.6. The templates are written for this test after the formats that the models'
cards describe. Templates as models ship them are compared by compatibility/check.py.
"""
import json, pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = pathlib.Path(__file__).parent
ALTERNATE = ("{% for m in conversation %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
             "{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}")
OWN = {
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
               "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}{% endif %}"
               "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
               "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
              "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "mistral_v1": "{% set conversation = messages %}{{ bos_token }}" + ALTERNATE + "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
                  "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant!') }}"
                  "{% endif %}{% endfor %}",
    "llama3": """{% for m in messages %}{% set head = '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' %}
{%- if loop.first %}{{ bos_token }}{% endif %}{{ head ~ (m.content | trim) ~ '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
    # With tools as Llama 3.1 takes them: in the first user message, calls and results as JSON.
    "llama3_1": """{{- bos_token }}
{%- set today = date_string if date_string is defined else "26 Jul 2024" %}
{%- set first = messages[0] if messages and messages[0].role == 'system' else none %}
{%- set turns = messages[1:] if first else messages %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is defined and tools is not none %}{{- "Environment: ipython\\n" }}{% endif %}
{{- "Today Date: " ~ today ~ "\\n\\n" }}{{- first.content | trim if first else "" }}{{- "<|eot_id|>" }}
{%- for m in turns %}
    {%- if loop.first and tools is not none and tools is defined %}
        {%- if m.role != 'user' %}{{- raise_exception("tools are told in the first user message, and there is none") }}{% endif %}
        {{- "<|start_header_id|>user<|end_header_id|>\\n\\nGiven the following functions, answer in the format {\\"name\\": function name, \\"parameters\\": its arguments}.\\n\\n" }}
        {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
        {{- m.content | trim ~ "<|eot_id|>" }}
    {%- elif m.tool_calls is defined and m.tool_calls %}
        {%- if m.tool_calls | length != 1 %}{{- raise_exception("only one call at a time") }}{% endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}{{- call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- elif m.role in ["tool", "ipython"] %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if m.content is mapping or m.content is not string and m.content is iterable %}{{- m.content | tojson }}{% else %}{{- m.content }}{% endif %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>" + m.role + "<|end_header_id|>\\n\\n" + m.content | trim + "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|start_header_id|>assistant<|end_header_id|>\\n\\n" }}{% endif %}""",
    "qwen2_5": """{%- macro turn(role, text) -%}{{ '<|im_start|>' + role + '\\n' + text + '<|im_end|>\\n' }}{%- endmacro -%}
{%- set told = messages[0].content if messages[0].role == 'system' else 'You are a helpful assistant.' %}
{%- if tools %}
    {{- '<|im_start|>system\\n' + told + "\\n\\n# Tools\\n\\nThe functions are within <tools></tools>:\\n<tools>" }}
    {%- for t in tools %}{{- "\\n" }}{{- t | tojson }}{% endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}{{- turn('system', told) }}{% endif %}
{%- for m in messages %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) or (m.role == 'assistant' and not m.tool_calls) %}
        {{- turn(m.role, m.content) }}
    {%- elif m.role == 'assistant' %}
        {{- '<|im_start|>assistant' }}{% if m.content %}{{- '\\n' + m.content }}{% endif %}
        {%- for c in m.tool_calls %}
            {%- set c = c.function if c.function is defined else c %}
            {{- '\\n<tool_call>\\n{"name": "' ~ c.name ~ '", "arguments": ' }}{{- c.arguments | tojson }}{{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif m.role == 'tool' %}
        {%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|im_start|>user' }}{% endif %}
        {{- '\\n<tool_response>\\n' ~ m.content ~ '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{- '<|im_end|>\\n' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}""",
    # Thoughts of answers before the last question are dropped, as Qwen 3 does.
    "qwen3": """{%- set ns = namespace(last=messages | length - 1, found=false) %}
{%- for m in messages[::-1] %}
    {%- set at = messages | length - 1 - loop.index0 %}
    {%- if not ns.found and m.role == 'user' and m.content is string %}{% set ns.found = true %}{% set ns.last = at %}{% endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set text = m.content if m.content is string else '' %}
    {%- set thought = m.reasoning_content if m.reasoning_content is string else '' %}
    {%- if m.role == 'assistant' and '</think>' in text %}
        {%- set thought = text.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set text = text.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' ~ m.role ~ '\\n' }}
    {%- if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or thought) %}{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}{% endif %}
    {{- text + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}""",
    "gemma": """{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set lead = messages[0]['content'] + '\\n\\n' -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set lead = '' -%}{%- set turns = messages -%}{%- endif -%}
{%- for m in turns -%}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{%- endif -%}
    {{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + (lead if loop.first else '') }}
    {%- if m['content'] is string -%}{{ m['content'] | trim }}{%- elif m['content'] is iterable -%}
        {%- for part in m['content'] -%}{%- if part['type'] == 'text' -%}{{ part['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- endif -%}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}""",
    "mistral_v3": """{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set rest = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set users = rest | selectattr("role", "equalto", "user") | list %}
{#- Turns alternate, but for calls and results of tools. #}
{%- set ns = namespace(index=0) %}
{%- for m in rest %}
    {%- if not (m.role == "tool" or m.role == "tool_results" or (m.tool_calls is defined and m.tool_calls is not none)) %}
        {%- if (m["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for m in rest %}
    {%- if m["role"] == "user" %}
        {%- if tools is not none and (m == users[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system is defined %}
            {{- "[INST] " + system + "\\n\\n" + m["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + m["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in m.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif m["role"] == "assistant" %}
        {{- " " + m["content"]|trim + eos_token }}
    {%- elif m["role"] == "tool_results" or m["role"] == "tool" %}
        {%- if m.content is defined and m.content.content is defined %}
            {%- set content = m.content.content %}
        {%- else %}
            {%- set content = m.content %}
        {%- endif %}
        {{- '[TOOL_RESULTS] {"content": ' + content|string + ", " }}
        {{- '"call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
""",
}

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather <now> & 'then'", "return": {"type": "string"},
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Größe"}, "unit": {"type": "string", "enum": ["c", "f"]},
                                                    "days": {"type": "array", "items": {"type": "integer"}}}, "required": ["city"]}}}]
CALL = [{"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {"city": "Köln", "n": 2, "x": [1, 2.5, True, None]}}}]


def user(text): return {"role": "user", "content": text}
def assistant(text, **more): return {"role": "assistant", "content": text, **more}
def system(text): return {"role": "system", "content": text}
def result(text): return {"role": "tool", "name": "get_weather", "content": text, "tool_call_id": "abcdefghi"}


CONVERSATIONS = [
    ([user("Hi there")], {}), ([user(" Hi \n"), assistant("Hello <b>'you'</b> & \"me\""), user("How's 2 > 1?\n")], {}),
    ([system(" Be brief. "), user("Hi"), assistant("Yo"), user("Bye")], {}),
    ([user("Q"), assistant("<think>\nhm\n</think>\n\nA1"), user("Q2"), assistant("<think>\nhm2\n</think>\n\nA2")], {}),
    ([user("Q"), assistant("A1", reasoning_content="why"), user("Q2")], {}), ([system("Sys"), user("Weather?")], {"tools": TOOLS}),
    ([system("Sys"), user("Weather?"), assistant("", tool_calls=CALL), result('{"t": 3}'), assistant("Cold."), user("Ok")], {"tools": TOOLS}),
    ([user("Weather?"), assistant(None, tool_calls=CALL), result("1"), result("2")], {"tools": TOOLS}),
    ([assistant("first"), user("x"), user("y")], {}), ([user("Q")], {"enable_thinking": False}),
]

DATA = {"s": "Hello, World", "u": "aé🙂b", "n": 7, "f": 2.5, "l": [3, 1, 2], "w": ["b", "A", "c"], "e": [], "d": {"b": 1, "a": {"x": [1, 2]}, "items": 5}, "t": True,
        "o": None, "ms": [{"r": "u", "v": 1}, {"r": "a", "v": 2}, {"r": "u", "v": 3, "z": 0}], "nl": "x\n y \n\nz", "html": "<a href='x'>&\"</a>"}
SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 7 }} {{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 1_000 }}
{{ "a" ~ 1 ~ none ~ true ~ 2.0 ~ [1, "x'y"] ~ {"k": (1, 2)} }} {{ "a" "b" }} {{ 'it\'s' }} {{ "\u00e9\x41\n\q" }} {{ "-" * 3 + "x" }} {{ [1] + [2] * 2 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ "a" == "a" and "b" != "a" }} {{ [1, 2] == [1, 2.0] }} {{ "a" < "b" }} {{ none == false }} {{ [1] < [1, 2] }}
{{ not t is defined }} {{ not x is defined }} {{ not o }} {{ t and s }} {{ e or "none" }} {{ x or "y" }} {{ o is none and x is undefined }} {{ not n == 7 }}
{{ "ell" in s }} {{ "b" in d }} {{ 3 in l }} {{ 9 not in l }} {{ "x" in e }} {{ n is in [7, 8] }}
{{ "yes" if t else "no" }} {{ "yes" if e else "no" if o else "maybe" }} [{{ "x" if e }}]
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[::-1] }} {{ s[:-1] }} {{ s[-3:] }} {{ l[::-1] }} {{ l[1:] }} {{ l[5:] }} {{ s[::2] }} {{ u[2] }} {{ u[1:3] }} {{ u | length }} {{ l[-3] }} [{{ l[9] }}]
{{ d.b }} {{ d["a"]["x"][1] }} {{ d.a.x.0 }} [{{ d.zz }}] [{{ d["zz"] }}] [{{ s.zz }}] {{ d["items"] }} {{ d.get("zz") }} {{ d.get("zz", 4) }} {{ d.get("b") }}
{{ d.zz.y }}
{{ x.y }}
{{ o.y }}|{{ o.y.z }}
{{ x + 1 }}
{{ "a" + 1 }}
{{ 1 + "a" }}
{{ s() }}
{{ l.append(4) }}
{{ 1 // 0 }}
{{ nothing("x") }}
{{ s | nope }}
{{ s is nope }}
{% nope %}
{% if t %}
{{ 1 +
{{ (1 }}
{% for x in 5 %}{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for k in d %}{{ k }}{% endfor %} {% for c in "aé🙂" %}[{{ c }}]{% endfor %} {% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}
{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}:{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {{ loop.cycle("o", "e") }}|{% else %}none{% endfor %}
{% for x in e %}x{% else %}none{% endfor %} {% for x in undefinedthing %}x{% else %}nothing{% endfor %} {% for x in l if x > 1 %}{{ loop.index }}{{ x }}{% endfor %} {% for x in l if x > 9 %}x{% else %}empty{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %} {% for x in range(5, 1, -2) %}{{ x }}{% endfor %} {{ range(3) | list }}
{% set a = 1 %}{% for x in l %}{% set a = x %}{{ a }}{% endfor %}{{ a }} {% set ns = namespace(v=0) %}{% for x in l %}{% set ns.v = ns.v + x %}{% endfor %}{{ ns.v }} {% if t %}{% set q = 5 %}{% endif %}{{ q }}
{% set a, b = 1, 2 %}{{ a }}{{ b }} {% set c %}x{{ a }}y{% endset %}{{ c }} {% set c | upper %}x{{ a }}y{% endset %}{{ c }} {% set z = (1, 2) %}{{ z }} {% filter upper | trim %} abc {% endfilter %}!
{% macro m(a, b=2, c="z") %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=1, a=0) }}{{ m() }} {% macro r(n) %}{{ n }}{% if n > 0 %}{{ r(n - 1) }}{% endif %}{% endmacro %}{{ r(3) }}
{% macro m(a) %}{% set t = a %}{{ t }}{{ s }}{% endmacro %}{{ m(5) }}{{ t }} {{ (1,) }} {{ () }} {{ (1, 2) + (3,) }} {{ (1, 2) | list }}
{{ m(1) }}
{{ " x " | trim }}| {{ "xxaxx" | trim("x") }} {{ s | upper }} {{ s | lower | capitalize }} {{ "ab cd" | title }} {{ s | length }} {{ l | count }} {{ s | replace("l", "L") }} {{ s | replace("l", "L", 1) }} {{ html | e }} {{ s | string }}
{{ l | join(",") }} {{ ms | join("-", attribute="v") }} {{ l | first }} {{ l | last }} [{{ e | first }}] {{ l | sort }} {{ l | sort(reverse=true) }} {{ w | sort }} {{ w | sort(case_sensitive=true) }} {{ l | reverse | list }} {{ l | sum }} {{ l | max }} {{ l | min }} {{ [1, 1, 2] | unique | list }}
{{ ms | map(attribute="r") | list }} {{ w | map("upper") | join }} {{ ms | selectattr("r", "equalto", "u") | list | length }} {{ ms | selectattr("z", "defined") | list }} {{ ms | rejectattr("r", "eq", "u") | map(attribute="v") | list }} {{ l | select("odd") | list }} {{ l | reject(">", 1) | list }} {{ ms | map(attribute="z", default=9) | list }} {{ ms | sort(attribute="v", reverse=true) | map(attribute="v") | join }}
{{ x | default("d") }} {{ "" | default("d") }} {{ "" | default("d", true) }} {{ o | default("d") }} {{ "42" | int }} {{ "4x" | int }} {{ "4.7" | int }} {{ 3.9 | int }} {{ "2.5" | float }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ -3 | abs }} {{ d | dictsort }} {{ d | items | list }} {{ d | length }}
{{ nl | indent }}|{{ nl | indent(2, true) }}|{{ nl | indent(1, blank=true) }} {{ "a b  c" | wordcount }} {{ [1, 2, 3] | batch(2) | list }} {% for g, v in ms | groupby("r") %}{{ g }}{{ v | length }}{% endfor %}
{{ d | tojson }} {{ d | tojson(indent=2) }} {{ html | tojson }} {{ u | tojson }} {{ [1.0, 1e20, none, true, "\t\u001b"] | tojson }} {{ {} | tojson(indent=2) }} {{ [] | tojson }} {{ l | tojson(separators=(",", ":")) }} {{ d | tojson(sort_keys=true) }} {{ u | tojson(ensure_ascii=true) }}
{{ s.split(", ") }} {{ "a b  c".split() }} {{ "a,b,c".split(",", 1) }} {{ "a,b,c".rsplit(",", 1) }} {{ " x ".strip() }} {{ "xxa".lstrip("x") }} {{ "axx".rstrip("x") }} {{ s.startswith("He") }} {{ s.startswith(("x", "H")) }} {{ s.endswith("d") }} {{ s.find("W") }} {{ s.find("q") }} {{ s.count("l") }} {{ ", ".join(w) }} {{ "a\nb".splitlines() }} {{ s.replace("l", "", 1) }} {{ "x".isdigit() }} {{ "12".isdigit() }} {{ "k=v=w".partition("=") }} {{ "k=v=w".rpartition("=") }} {{ "pre-x".removeprefix("pre-") }} {{ "hello world".title() }} {{ "ABC".islower() }}
{{ d.keys() | list }} {{ d.values() | list }} {{ l.index(1) }} {{ l.count(3) }} {{ dict(a=1).a }} {{ namespace(a=2).a }}
{{ s is string }} {{ n is number }} {{ n is integer }} {{ f is float }} {{ d is mapping }} {{ l is iterable }} {{ s is iterable }} {{ l is sequence }} {{ d is sequence }} {{ t is boolean }} {{ t is true }} {{ n is odd }} {{ n is even }} {{ n is divisibleby 7 }} {{ n is divisibleby(2) }} {{ n is eq 7 }} {{ o is none }} {{ o is not none }} {{ "a" is lower }} {{ n is gt(3) }} {{ x is not defined }} {{ s is sameas s }} {{ range is callable }} {{ n is number and n > 3 }}
a {%- if t -%} b {%- endif -%} c {{- 1 -}} d {#- x -#} e {# y #} f
 {% if t %} x {% endif %} y  {{ 1 }}  {%+ if t %} z {% endif +%} 
{% raw %}{{ not run }}{% endraw %}{{ "{{ }} %}" }}{% if "%}" == "%}" %}ok{% endif %}{{ {"a": {"b": 1}}["a"]["b"] }}{{ {"a": 1}}}
{% generation %}inside{{ n }}{% endgeneration %} {% set x = "1" %}{% if x == "1" %}{% set x = "2" %}{% endif %}{{ x }}{{ none }} {{ true }} {{ [none, true, 1.0, "a\n"] }} {{ {"a": none} }}
{{ "%.2f" | string }} {{ [[1, 2], [3]] | map("first") | list }} {{ [1, 2, 3][-2:] | list }} {{ (l | length) > 2 and l[0] == 3 }} {{ l | length - 1 }} {{ -l[0] + 1 }} {{ not (t and o) }} {{ "a" if not e else "b" }}
"""


def main():
    cases = {"templates": OWN, "cases": [], "data": DATA, "snippets": []}
    for name, source in cases["templates"].items():
        for i, (messages, extra) in enumerate(CONVERSATIONS):
            if name == "llama3_1":
                extra = {**extra, "date_string": "23 Nov 2026"}  # its default is today
            case = {"template": name, "messages": messages, "extra": extra, "add_generation_prompt": i % 2 == 0}
            try:
                case["text"] = _compile_jinja_template(source).render(messages=messages, add_generation_prompt=i % 2 == 0, bos_token="<s>", eos_token="</s>",
                                                                      documents=None, **{"tools": None, **extra})
            except Exception as e:
                case["error"] = type(e).__name__
            cases["cases"].append(case)
    lines = SNIPPETS.strip("\n").split("\n")
    for source in lines + ["a\n  {% if t %}\n  b\n  {% endif %}\nc\n", "{{ n }}\n\n", "{% for x in l %}\n- {{ x }}\n{% endfor %}\nend", "{# a\nb #}\nx {#- c #}\n  y"]:
        try:
            cases["snippets"].append({"source": source, "text": _compile_jinja_template(source).render(**DATA)})
        except Exception as e:
            cases["snippets"].append({"source": source, "error": type(e).__name__})
    (HERE / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, indent=0, separators=(",", ":")) + "\n")
    print(sum("error" in c for c in cases["cases"]), "of", len(cases["cases"]), "are refused;", [(s["source"], s["error"]) for s in cases["snippets"] if "error" in s])


main()
