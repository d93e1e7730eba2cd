"""Loads the model and its tokenizer for the PyTorch side, from a Hugging Face folder or a GGUF file.

As a program it prepares what a comparison needs, once:

    peer_model.py --model FILE.gguf --hf-folder DIR --reward-adapter DIR

DIR gets the dequantised bf16 model as safetensors (so that PyTorch need not dequantise at every start), and a reward
adapter in PEFT's format: LoRA of the usual shape and a score head, random, since only its cost is measured.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def source(model: str) -> tuple[str, dict]:
    """The (folder, keyword arguments) by which transformers names a folder or a GGUF file."""
    path = Path(model)
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name}
    if not (path / "config.json").is_file():
        raise SystemExit(f"--model {model}: expected a Hugging Face folder (config.json) or a .gguf file")
    return str(path), {}


def load_config(model: str) -> AutoConfig:
    folder, how = source(model)
    config = AutoConfig.from_pretrained(folder, **how)
    if how:
        from gguf import GGUFReader

        # transformers 4.46 overlooks a tied head in a GGUF file and would leave lm_head random.
        names = {tensor.name for tensor in GGUFReader(model).tensors}
        config.tie_word_embeddings = "output.weight" not in names
    return config


def load_model(model: str, dtype: torch.dtype, kind=AutoModelForCausalLM, **extra):
    folder, how = source(model)
    config = load_config(model)
    for key, value in extra.items():
        setattr(config, key, value)
    return kind.from_pretrained(folder, config=config, torch_dtype=dtype, **how)


def load_tokenizer(model: str):
    folder, how = source(model)
    tokenizer = AutoTokenizer.from_pretrained(folder, **how)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def lora(dropout: float, task: TaskType = TaskType.CAUSAL_LM) -> LoraConfig:
    return LoraConfig(r=8, lora_alpha=16, lora_dropout=dropout, target_modules=LORA_TARGETS, bias="none", task_type=task)


def write_reward_adapter(model: str, out: Path) -> None:
    torch.manual_seed(7)
    base = load_model(model, torch.bfloat16, AutoModelForSequenceClassification, num_labels=1, pad_token_id=0)
    reward = get_peft_model(base, lora(0.0, TaskType.SEQ_CLS))
    with torch.no_grad():
        for name, weight in reward.named_parameters():
            if "lora_B" in name:  # zero at first; a reward adapter that was trained is not
                weight.normal_(std=0.01)
    reward.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--hf-folder", type=Path)
    parser.add_argument("--reward-adapter", type=Path)
    args = parser.parse_args()
    if args.hf_folder:
        load_tokenizer(args.model).save_pretrained(args.hf_folder)
        (args.hf_folder / "tokenizer.model").unlink(missing_ok=True)  # transformers 4.46 copies the GGUF file to this name
        load_model(args.model, torch.bfloat16).save_pretrained(args.hf_folder)
    if args.reward_adapter:
        write_reward_adapter(args.model, args.reward_adapter)


if __name__ == "__main__":
    main()
