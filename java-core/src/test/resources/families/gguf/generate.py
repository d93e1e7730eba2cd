"""Makes the files beside it: tiny random models as GGUF, and what transformers makes of a sequence.

    python generate.py        (gguf 0.19, llama-cpp-python 0.3.36, torch 2.13, transformers 5.23.0)

ARCH.gguf is written with the gguf package: its own table of names, and the changes of values that llama.cpp's converter
makes. ARCH.json has input_ids and greedy_ignoring_eos, ARCH.safetensors the logits (logits.0), from transformers before the
conversion. The script stops if llama.cpp reads something else from the file: its logits, in f32 with a cache in f32, must be
within 1e-4, or within 1e-2 where there is a GELU, which ggml looks up in a table of half precision.
"""
import json
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers as tf
from llama_cpp import Llama
from safetensors.torch import save_file

HERE = Path(__file__).parent
SIZES = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=1, head_dim=8, max_position_embeddings=128)
NEW_TOKENS = 8


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(noise * 0.25 if p.dim() > 1 else p + noise * 0.2)


def rotary_pairs(w, heads):
    """(head, half, i) -> (head, i, half)."""
    return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def converted(arch, config, name, w):
    if arch == "gemma3" and name.endswith("norm.weight"):
        return w + 1
    if arch == "gpt2" and ".h." in name and w.ndim == 2:
        return w.T
    if arch == "llama" and ".q_proj." in name:
        return rotary_pairs(w, config.num_attention_heads)
    if arch == "llama" and ".k_proj." in name:
        return rotary_pairs(w, config.num_key_value_heads)
    return w


def make(arch, config, keys, seed):
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    randomise(model, seed)
    file = HERE / f"{arch}.gguf"
    writer = gguf.GGUFWriter(file, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    keys(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config.num_hidden_layers)
    for name, p in model.named_parameters():
        w = np.ascontiguousarray(converted(arch, config, name, p.detach().numpy()))
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), w)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        for kind in ["long", "short"]:
            writer.add_tensor(f"rope_factors_{kind}.weight", np.array(rope[f"{kind}_factor"], np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    ids = np.random.default_rng(seed).integers(2, 64, 20).tolist()
    llama = Llama(str(file), n_ctx=128, logits_all=True, verbose=False, type_k=0, type_v=0, flash_attn=False, n_threads=1)
    llama.eval(ids)
    theirs = np.array(llama.scores[:20, :64], np.float32)
    model = model.double()
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
        row = list(ids)
        for _ in range(NEW_TOKENS):
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
    worst = float(np.abs(theirs - logits.numpy()).max())
    print(arch, "differs from llama.cpp by at most", worst)
    assert worst < (1e-2 if arch in ("gemma3", "gpt2") else 1e-4)
    save_file({"logits.0": logits.float().contiguous()}, HERE / f"{arch}.safetensors")
    facts = dict(input_ids=[ids], greedy_ignoring_eos=[row[20:]])
    (HERE / f"{arch}.json").write_text(json.dumps(facts) + "\n")


def decoder(config):
    """Keys of every decoder with rotary positions."""
    def keys(writer):
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        writer.add_key_length(head)
        writer.add_value_length(head)
    return keys


def main():
    llama = tf.LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 5e4, "factor": 2.0})

    def llama_keys(writer):
        decoder(llama)(writer)
        writer.add_rope_freq_base(5e4)
        writer.add_rope_dimension_count(8)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(2.0)
    make("llama", llama, llama_keys, 1)

    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32}
    qwen2 = tf.Qwen2Config(**{k: v for k, v in SIZES.items() if k != "head_dim"}, tie_word_embeddings=True,
                           rope_parameters=yarn)

    def qwen2_keys(writer):
        decoder(qwen2)(writer)
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(32)
    make("qwen2", qwen2, qwen2_keys, 2)

    qwen3 = tf.Qwen3Config(**SIZES)
    make("qwen3", qwen3, decoder(qwen3), 3)

    gemma3 = tf.Gemma3TextConfig(
        **SIZES | dict(num_hidden_layers=6), sliding_window=5, query_pre_attn_scalar=8,
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})

    def gemma3_keys(writer):
        decoder(gemma3)(writer)
        writer.add_rope_freq_base(1e6)
        writer.add_sliding_window(5)
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(8.0)
    make("gemma3", gemma3, gemma3_keys, 4)

    phi = SIZES | dict(hidden_size=32, max_position_embeddings=512)
    del phi["head_dim"]
    phi3 = tf.Phi3Config(**phi, pad_token_id=0, original_max_position_embeddings=256, rope_parameters={
        "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75, "attention_factor": 1.19,
        "short_factor": [1.0, 1.1, 1.25, 1.5, 1.9, 2.5], "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]})

    def phi3_keys(writer):
        decoder(phi3)(writer)
        writer.add_rope_freq_base(1e4)
        writer.add_rope_dimension_count(12)
        writer.add_rope_scaling_orig_ctx_len(256)
        writer.add_rope_scaling_attn_factors(1.19)
    make("phi3", phi3, phi3_keys, 5)

    gpt2 = tf.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=48, n_inner=40)

    def gpt2_keys(writer):
        writer.add_feed_forward_length(40)
        writer.add_layer_norm_eps(1e-5)
    make("gpt2", gpt2, gpt2_keys, 6)


if __name__ == "__main__":
    main()
