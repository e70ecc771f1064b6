"""The chat template: the only place that says how a conversation becomes one line of tokens."""

PAD = "<|pad|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END = "<|end|>"
SPECIAL_TOKENS = (PAD, SYSTEM, USER, ASSISTANT, END)

CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|system|>You may call these functions; answer with JSON {"name": ..., "arguments": ...}:' }}
{%- for tool in tools %}{{- ' ' + (tool | tojson) }}{%- endfor %}
{{- '<|end|>' }}
{%- endif %}
{%- for message in messages %}
{%- set content = message['content'] if message['content'] is string else '' %}
{%- if message['role'] == 'assistant' %}
{{- '<|assistant|>' + content }}
{%- for call in message['tool_calls'] or [] %}
{%- set function = call['function'] or call %}
{{- '{"name": ' + (function['name'] | tojson) + ', "arguments": ' }}
{%- if function['arguments'] is string %}{{- function['arguments'] }}
{%- else %}{{- function['arguments'] | tojson }}{%- endif %}{{- '}' }}
{%- endfor %}
{{- '<|end|>' }}
{%- elif message['role'] == 'tool' %}
{{- '<|system|>Result: ' + content + '<|end|>' }}
{%- elif message['role'] in ('system', 'developer') %}
{{- '<|system|>' + content + '<|end|>' }}
{%- else %}
{{- '<|user|>' + content + '<|end|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"""
