"""Makes the folders beside it: tiny random models of the families and options that need a case of their own.

    python generate.py        (torch 2.13, transformers 5.23.0, peft 0.21.2, safetensors 0.8)

Each holds config.json and model.safetensors as transformers writes them, and what transformers makes of some sequences:
expected.json (input_ids, greedy continuations that ignore EOS, loss) and expected.safetensors (logits.N of sequence N,
grad.NAME of every parameter for the mean cross entropy over all next tokens). Computed in float64 from float32 weights;
transformers keeps norms, softmax and rotary angles in float32. Two runs give the same bytes.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

HERE = Path(__file__).parent
SIZES = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
             num_key_value_heads=1, head_dim=8, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
             pad_token_id=0)
NEW_TOKENS = 12


def randomise(model, seed):
    """Larger weights than a new model has, and norms and biases of their own, so that every part counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(noise * 0.25 if p.dim() > 1 else p + noise * 0.2)


def expected(model, lengths, seed, gradients=True):
    r = np.random.default_rng(seed)
    sequences = [r.integers(2, 64, n).tolist() for n in lengths]
    model = model.double().eval()
    tensors, losses = {}, 0
    for i, ids in enumerate(sequences):
        logits = model(torch.tensor([ids])).logits[0]
        tensors[f"logits.{i}"] = logits.detach().float().contiguous()
        losses = losses + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
    loss = losses / sum(n - 1 for n in lengths)
    if gradients:
        loss.backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                tensors["grad." + name] = p.grad.float().contiguous()
    greedy = []
    for ids in sequences:
        row = list(ids)
        for _ in range(NEW_TOKENS):
            with torch.no_grad():
                row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
        greedy.append(row[len(ids):])
    return tensors, dict(input_ids=sequences, greedy_ignoring_eos=greedy, loss=float(loss))


def write(folder, tensors, facts):
    save_file(tensors, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps(facts) + "\n")


def make(name, config, lengths, seed):
    config._attn_implementation = "eager"
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float()
    randomise(model, seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write(folder, *expected(model, lengths, seed))
    return folder


def gpt2_with_adapter():
    """Saved without the head, so without the names' first part; beside it an adapter and the logits with it."""
    config = tf.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=48, n_inner=40, bos_token_id=0,
                           eos_token_id=1, scale_attn_by_inverse_layer_idx=True)
    folder = make("gpt2_bare", config, [9, 1 + 1, 17], 5)
    model = tf.GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager")
    model.transformer.save_pretrained(folder)
    peft = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True,
                                            task_type="CAUSAL_LM"))
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for n, p in peft.named_parameters():
            if "lora_" in n:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    adapter = folder / "adapter"
    peft.save_pretrained(adapter)
    (adapter / "README.md").unlink(missing_ok=True)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "gpt2_bare"
    settings["target_modules"].sort()
    (adapter / "adapter_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    write(adapter, *expected(peft, [9, 17], 7, gradients=False))


def main():
    make("gemma3", tf.Gemma3TextConfig(
        **SIZES | dict(num_hidden_layers=4), sliding_window=5, query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}), [11, 2, 19], 1)
    phi = SIZES | dict(hidden_size=32, num_attention_heads=2)
    del phi["head_dim"]  # 16 columns, of which 12 are rotated
    make("phi3", tf.Phi3Config(
        **phi, original_max_position_embeddings=64, sliding_window=7,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75,
                         "short_factor": [1.0, 1.1, 1.25, 1.5, 1.9, 2.5],
                         "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]}), [13, 3, 21], 2)
    make("qwen2", tf.Qwen2Config(
        **{k: v for k, v in SIZES.items() if k != "head_dim"}, use_sliding_window=True, sliding_window=6,
        max_window_layers=1, tie_word_embeddings=False,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
                         "original_max_position_embeddings": 64}), [15, 2, 18], 3)
    make("llama", tf.LlamaConfig(
        **SIZES, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}), [12, 4, 16], 4)
    gpt2_with_adapter()


if __name__ == "__main__":
    main()
