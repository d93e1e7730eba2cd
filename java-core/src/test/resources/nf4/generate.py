"""Makes the files beside this script: a tiny Llama in bf16, the same in NF4 with and without double quantisation as
transformers' save_pretrained writes it, and what the two quantised models answer: transformers dequantises them, since
bitsandbytes' products on a CPU are rounded to bf16, and computes in f32.

Made with torch 2.13.0, transformers 5.23.0, bitsandbytes 0.50.2:  python generate.py
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
IDS = [[3, 17, 99, 5, 64, 22, 8, 120], [1, 2, 3, 70, 41]]


def quantised(double, dtype):
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=dtype,
    )
    return AutoModelForCausalLM.from_pretrained(
        HERE / "bf16", quantization_config=config, dtype=dtype, device_map="cpu"
    )


def main():
    torch.manual_seed(20261123)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=320,  # 320 blocks in a matrix: more than one group of 256
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,  # answers that depend on the matrices
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(HERE / "bf16")
    logits = {}
    for name, double in (("nf4", False), ("nf4-double", True)):
        quantised(double, torch.bfloat16).save_pretrained(HERE / name)
        model = quantised(double, torch.float32).dequantize().float().eval()
        with torch.no_grad():
            logits[name] = [model(torch.tensor([ids])).logits[0].tolist() for ids in IDS]
    for folder in ("bf16", "nf4", "nf4-double"):
        (HERE / folder / "generation_config.json").unlink(missing_ok=True)
    logits = {k: [[[round(x, 6) for x in row] for row in s] for s in v] for k, v in logits.items()}
    (HERE / "golden.json").write_text(json.dumps({"input_ids": IDS, "logits": logits}) + "\n")


main()
