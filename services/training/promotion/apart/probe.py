"""Answer a model's golden questions with plain transformers: `python -I probe.py FOLDER OUT`.

Runs by itself under whichever Python serves, so nothing of ours is imported: it stands for a
server that knows the model only by its folder. No code of the folder is run, nothing is unpickled,
nothing is fetched. OUT gets JSON: versions and, for each question, the greedy answer and the mean
log-probability of its tokens (with the one that ends it), in nats.
"""

import base64
import io
import json
import os
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
import transformers
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

PLAIN = {"local_files_only": True, "trust_remote_code": False}


def main(folder: Path, out: Path) -> None:
    """Load, ask, and write what came out."""
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    tokenizer = AutoTokenizer.from_pretrained(folder, **PLAIN)
    images = AutoImageProcessor.from_pretrained(folder, **PLAIN)
    model, told = AutoModelForImageTextToText.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **PLAIN
    )
    # Weights that are missing would be drawn at random; a tied output layer is not missing.
    missing = [name for name in told["missing_keys"] if "lm_head" not in name]
    if missing or told["unexpected_keys"] or told["mismatched_keys"]:
        lost = [*missing, *told["unexpected_keys"], *told["mismatched_keys"]]
        raise SystemExit(f"the weights do not fit the class {type(model).__name__}: {lost[:3]}")
    model.eval()
    golden = json.loads((folder / "vila2_golden.json").read_text())
    answers = [ask(model, tokenizer, images, item) for item in golden]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    out.write_text(json.dumps({**versions, "class": type(model).__name__, "answers": answers}))


@torch.inference_mode()
def ask(model, tokenizer, images, item):
    """One question about one picture, decoded greedily."""
    png = io.BytesIO(base64.b64decode(item["image"]))
    picture = Image.open(png, formats=["PNG"]).convert("RGB")
    content = [{"type": "image"}, {"type": "text", "text": item["question"]}]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    image = tokenizer.convert_ids_to_tokens(model.config.image_token_id)
    prompt = prompt.replace(image, image * model.config.image_seq_length, 1)
    given = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    made = model.generate(
        input_ids=given["input_ids"],
        attention_mask=given["attention_mask"],
        pixel_values=images(images=picture, return_tensors="pt")["pixel_values"],
        do_sample=False,
        max_new_tokens=item["max_new_tokens"],
        output_logits=True,
        return_dict_in_generate=True,
    )
    ids = made.sequences[0, given["input_ids"].shape[1] :]
    steps = zip(ids.tolist(), made.logits, strict=True)
    chosen = [float(logits[0].float().log_softmax(-1)[token]) for token, logits in steps]
    text = tokenizer.decode(ids, skip_special_tokens=True).strip()
    return {"text": text, "logprob": sum(chosen) / len(chosen)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
