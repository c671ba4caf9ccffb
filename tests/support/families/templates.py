"""Chat templates with the structure of each family's own, for its tiny model."""

_ITEMS = """{%- if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'image' -%}{{ IMAGE }}
{%- elif item['type'] == 'text' -%}{{ item['text'] }}{%- endif -%}
{%- endfor -%}
{%- endif -%}"""


def _items(image: str) -> str:
    """What a message holds, in its order, with a placeholder for each image."""
    return _ITEMS.replace("{{ IMAGE }}", "{{ '" + image + "' }}")


# Images first, and no token of the beginning: the tokenizer adds it.
LLAVA = """{%- for message in messages -%}
{{ message['role'].upper() + ': ' }}
{%- for item in message['content'] if item['type'] == 'image' -%}{{ '<image>\n' }}{%- endfor -%}
{%- for item in message['content'] if item['type'] == 'text' -%}{{ item['text'] + ' ' }}
{%- endfor -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'ASSISTANT:' }}{%- endif -%}"""

LLAVA_ONEVISION = """{%- for message in messages -%}
{{ '<|im_start|>' + message['role'] + ' ' }}
{%- for item in message['content'] if item['type'] == 'image' -%}{{ '<image>' }}{%- endfor -%}
{%- for item in message['content'] if item['type'] == 'text' -%}{{ '\n' + item['text'] }}
{%- endfor -%}
{{ '<|im_end|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"""


def _chatml(image: str, system: str = "") -> str:
    """Turns between <|im_start|> and <|im_end|>; `system` is said if the first turn is not."""
    first = (
        "{%- if loop.first and message['role'] != 'system' -%}"
        "{{ '<|im_start|>system\n" + system + "<|im_end|>\n' }}{%- endif -%}"
    )
    return (
        "{%- for message in messages -%}"
        + (first if system else "")
        + "{{ '<|im_start|>' + message['role'] + '\n' }}"
        + _items(image)
        + "{{ '<|im_end|>\n' }}{%- endfor -%}"
        + "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
    )


INTERNVL = _chatml("<IMG_CONTEXT>\\n")
QWEN2_VL = _chatml(
    "<|vision_start|><|image_pad|><|vision_end|>", system="You are a helpful assistant."
)
QWEN3_VL = _chatml("<|vision_start|><|image_pad|><|vision_end|>")

GEMMA = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' }}"
    + _items("<start_of_image>")
    + "{{ '<end_of_turn>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)

# The colon is followed by a space only if no image comes next.
IDEFICS = (
    "{{ '<|im_start|>' }}{%- for message in messages -%}{{ message['role'] | capitalize }}"
    "{%- if message['content'][0]['type'] == 'image' -%}{{ ':' }}{%- else -%}{{ ': ' }}"
    "{%- endif -%}" + _items("<image>") + "{{ '<end_of_utterance>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}"
)

_INSTRUCT = (
    "{%- elif message['role'] == 'user' -%}{{ '[INST]' }}"
    + _items("[IMG]")
    + "{{ '[/INST]' }}{%- else -%}"
    + _items("[IMG]")
    + "{{ eos_token }}{%- endif -%}{%- endfor -%}"
)
PIXTRAL = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}" + _items("[IMG]") + _INSTRUCT
)
MISTRAL_3 = (
    "{{ bos_token }}{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ '[SYSTEM_PROMPT]' }}"
    + _items("[IMG]")
    + "{{ '[/SYSTEM_PROMPT]' }}"
    + _INSTRUCT
)

# The family has no chat template of its own: its prompt is the image and the text of the task.
PALIGEMMA = "{%- for message in messages -%}" + _items("<image>") + "{%- endfor -%}"

AYA_VISION = (
    "{{ bos_token }}{%- for message in messages -%}{{ '<|START_OF_TURN_TOKEN|>' }}"
    "{%- if message['role'] == 'user' -%}{{ '<|USER_TOKEN|>' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ '<|CHATBOT_TOKEN|>' }}"
    "{%- else -%}{{ '<|SYSTEM_TOKEN|>' }}{%- endif -%}"
    + _items("<image>")
    + "{{ '<|END_OF_TURN_TOKEN|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{%- endif -%}"
)
