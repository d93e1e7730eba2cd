"""Makes the files beside it with PEFT itself: a tiny base, adapters of several kinds with what they give, and a table
of which modules a configuration targets, with their ranks and scales.

  python generate.py        (torch 2.13.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8.0)

Everything is computed in float64 from float32 weights and stored as float32. Two runs give the same bytes.
"""

import json
import math
import pathlib
import re
import shutil

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

HERE = pathlib.Path(__file__).parent
IDS = [[5, 9, 33, 60, 2, 17, 44], [1, 8, 8, 63]]

BASE = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    num_labels=1, dtype="float32",
)

# name: (task, dtype of the stored tensors, configuration)
ADAPTERS = {
    "patterns": ("CAUSAL_LM", "float32", dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True,
        rank_pattern={"q_proj": 2, r"layers.1.self_attn.v_proj": 6}, alpha_pattern={"^model.layers.0.mlp.down_proj": 3})),
    "regex": ("CAUSAL_LM", "bfloat16", dict(
        r=3, lora_alpha=7, target_modules=r".*layers\.(?P<layer>[01])\.(self_attn\.(k|o)_proj|mlp\.up_proj)",
        exclude_modules=["layers.0.self_attn.k_proj"])),
    "all_linear": ("CAUSAL_LM", "float16", dict(r=2, lora_alpha=5, target_modules="all-linear")),
    "layers": ("CAUSAL_LM", "float32", dict(
        r=4, lora_alpha=4, target_modules=["gate_proj", "model.layers.0.self_attn.q_proj"], layers_to_transform=[1],
        layers_pattern="layers")),
    "score": ("SEQ_CLS", "float32", dict(
        r=4, lora_alpha=8, target_modules="all-linear", use_rslora=True, modules_to_save=["score"])),
}

# What PEFT 0.3 wrote, and no more.
OLD_KEYS = (
    "base_model_name_or_path bias fan_in_fan_out inference_mode init_lora_weights lora_alpha lora_dropout modules_to_save "
    "peft_type r revision target_modules task_type").split()


def randomise(module, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            if p.requires_grad or seed == 0:
                noise = torch.randn(p.shape, generator=generator)
                p.copy_(noise * 0.3 + (1 if "norm" in name else 0))


def adapters():
    expected = {}
    base = LlamaForCausalLM(BASE)
    randomise(base, 0)
    base.save_pretrained(HERE / "base")
    (HERE / "base" / "generation_config.json").unlink(missing_ok=True)
    for number, (name, (task, dtype, options)) in enumerate(ADAPTERS.items(), 1):
        kind = LlamaForSequenceClassification if task == "SEQ_CLS" else LlamaForCausalLM
        model = get_peft_model(kind.from_pretrained(HERE / "base"), LoraConfig(task_type=task, **options))
        randomise(model, number)
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        config = json.loads((folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "base"
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # PEFT keeps them as a set
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        file = folder / "adapter_model.safetensors"
        stored = {k: v.to(getattr(torch, dtype)) for k, v in load_file(file).items()}
        save_file(stored, file, metadata={"format": "pt"})
        # What the stored numbers give, whatever their type cut off.
        state = {k.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")
                  .replace("model.score.", "model.score.modules_to_save.default."): v.float() for k, v in stored.items()}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and not [k for k in missing if "lora" in k or "modules_to_save" in k], (missing, unexpected)
        model = model.double().eval()
        with torch.no_grad():
            for row, ids in enumerate(IDS):
                expected[f"{name}.{row}"] = model(torch.tensor([ids])).logits[0].float().contiguous()
    shutil.rmtree(HERE / "old", ignore_errors=True)
    (HERE / "old").mkdir()
    model = get_peft_model(LlamaForCausalLM.from_pretrained(HERE / "base"),
                           LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    randomise(model, 99)
    model.save_pretrained(HERE / "old")
    (HERE / "old" / "README.md").unlink(missing_ok=True)
    config = json.loads((HERE / "old" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "base"
    config["target_modules"].sort()
    (HERE / "old" / "adapter_config.json").write_text(json.dumps({k: config[k] for k in OLD_KEYS}, indent=2) + "\n")
    model = model.double().eval()
    with torch.no_grad():
        for row, ids in enumerate(IDS):
            expected[f"old.{row}"] = model(torch.tensor([ids])).logits[0].float().contiguous()
    save_file(expected, HERE / "expected.safetensors")
    (HERE / "ids.json").write_text(json.dumps({"input_ids": IDS}) + "\n")


LLAMA = [f"model.layers.{i}.{m}" for i in (0, 1, 10) for m in (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj")]
GPT2 = [f"transformer.h.{i}.{m}" for i in (0, 1, 11) for m in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]

MATCHING = [
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=["proj"]),
    dict(target_modules=["self_attn.q_proj", "attn.c_proj"]),
    dict(target_modules=["model.layers.1.mlp.up_proj"]),
    dict(target_modules=["layers.1.mlp.up_proj", "h.1.attn.c_attn"]),
    dict(target_modules=[".*_proj"]),
    dict(target_modules=".*_proj"),
    dict(target_modules="q_proj"),
    dict(target_modules=r".*\.(q|v)_proj"),
    dict(target_modules=r"model\.layers\.\d\..*"),
    dict(target_modules=r"(?i).*\.C_(ATTN|FC)"),
    dict(target_modules=r"(?P<first>model|transformer)\.[a-z]+\.1\..*"),
    dict(target_modules=["q_proj", "c_fc"], exclude_modules=["layers.0.self_attn.q_proj"]),
    dict(target_modules=r".*(proj|c_fc)", exclude_modules=r".*\.(10|11)\..*"),
    dict(target_modules=["q_proj", "o_proj"], exclude_modules=["q_proj"]),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[0, 10]),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=1),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[1, 11], layers_pattern="h"),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[1, 11], layers_pattern=["layers", "h"]),
    dict(target_modules=["model.layers.0.self_attn.q_proj", "k_proj"], layers_to_transform=[10]),
    dict(target_modules=["down_proj"], layers_to_transform=[]),
    dict(target_modules=["q_proj", "k_proj", "c_proj"], r=16, lora_alpha=4,
         rank_pattern={"k_proj": 8, "mlp.c_proj": 3, "c_proj": 5}, alpha_pattern={"layers.1.self_attn.q_proj": 10}),
    dict(target_modules=["q_proj", "k_proj"], r=16, lora_alpha=4, use_rslora=True,
         rank_pattern={r"layers\.(1|10)\.self_attn\.[qk]_proj": 9, "q_proj": 25}, alpha_pattern={"k_proj|q_proj": 2.5}),
    dict(target_modules=["q_proj", "v_proj"], rank_pattern={"^q_proj": 3, "^model.layers.0.self_attn.v_proj": 4, "proj": 2}),
    dict(target_modules=["q_proj"], rank_pattern={"layers.1.self_attn.q_proj": 3, "q_proj": 2}),
    dict(target_modules=["q_proj"], rank_pattern={"q_proj": 2, "layers.1.self_attn.q_proj": 3}),
]


def plain(value):
    return sorted(value) if isinstance(value, set) else value


def matching():
    cases = []
    for options in MATCHING:
        config = LoraConfig(**options)
        modules = {}
        for module in LLAMA + GPT2:
            # As LoraModel does for every module (peft/tuners/lora/model.py).
            found = bool(check_target_module_exists(config, module))
            r = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), module), config.r)
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), module), config.lora_alpha)
            scale = alpha / math.sqrt(r) if config.use_rslora else alpha / r
            modules[module] = [r, scale] if found else None
        saved = {k: plain(v) for k, v in config.to_dict().items() if k != "runtime_config"}
        saved["peft_type"] = "LORA"
        cases.append({"config": saved, "modules": modules})
    # all-linear needs a model to look at.
    tiny = GPT2Config(vocab_size=16, n_embd=8, n_layer=2, n_head=2, n_positions=8)
    everywhere = {}
    for name, model in {"llama": LlamaForCausalLM(BASE), "llama_score": LlamaForSequenceClassification(BASE),
                        "gpt2": GPT2LMHeadModel(tiny)}.items():
        task = "SEQ_CLS" if name.endswith("score") else "CAUSAL_LM"
        peft = get_peft_model(model, LoraConfig(task_type=task, target_modules="all-linear"))
        everywhere[name] = sorted(
            re.sub(r"^base_model\.model\.", "", n) for n, m in peft.named_modules() if hasattr(m, "lora_A"))
    text = json.dumps({"cases": cases, "all_linear": everywhere}, indent=1)
    (HERE / "matching.json").write_text(text + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    adapters()
    matching()
