"""Reads with transformers, PEFT, gguf and llama.cpp what rlhf4j wrote, and compares what they compute; see README.md.

Prints one table and ends with status 1 if anything differs. A check whose package is absent is skipped, with a message.
"""

import argparse
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig,
    LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM,
    Qwen3Config, Qwen3ForCausalLM, logging)

import tiny_tokenizer

logging.set_verbosity_error()
logging.disable_progress_bar()

# Tolerances: the largest difference of two logits (scores), relative to the largest of them in the comparison.
#
# Both sides in f32, sums in another order: some 1e-6 for each of a few hundred additions, over all layers. Wrong scales,
# names, or rows give differences of 1e-2 and more.
F32 = 1e-4
# llama.cpp multiplies f16 weights with activations that it rounds to f16 (2^-11 each).
F16 = 5e-3
# bitsandbytes computes in bf16 (2^-9 each), rlhf4j beside it in f32.
BF16 = 3e-2
# llama.cpp multiplies q8_0 weights with activations that it rounds to 8 bits in blocks of 32 (1/254 of a block's largest
# each). rlhf4j keeps them in f32, so this is the rounding of llama.cpp's activations alone.
Q8_0 = 6e-2

NEW_TOKENS = 24


class Table:
    def __init__(self):
        self.rows = []

    def add(self, verdict, what, peer, figure=""):
        self.rows.append((verdict, what, peer, figure))
        if sys.stderr.isatty():
            print(f"{verdict:8} {what}: {peer} {figure}", file=sys.stderr, flush=True)

    def close(self, what, peer, ours, theirs, tolerance):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if ours.shape != theirs.shape:
            self.add("DIFFERS", what, peer, f"shapes {ours.shape} and {theirs.shape}")
            return
        difference = np.abs(ours - theirs).max() / np.abs(ours).max()
        verdict = "equal" if difference <= tolerance else "DIFFERS"  # a NaN differs
        self.add(verdict, what, peer, f"{difference:.1e} of {tolerance:.0e}")

    def same(self, what, peer, equal, figure=""):
        self.add("equal" if equal else "DIFFERS", what, peer, figure)

    def attempt(self, what, check, *arguments):
        """What a check returns; where a peer cannot even read what was written, that is a difference too."""
        try:
            return check(self, *arguments)
        except Exception as e:  # whatever the peer throws
            self.add("DIFFERS", what, "reading it", f"{type(e).__name__}: {str(e).splitlines()[0][:80] if str(e) else ''}")
            return None

    def print(self):
        width = [max(len(r[i]) for r in self.rows) for i in range(4)]
        print()
        for row in [("", "what rlhf4j wrote", "compared with", "largest difference")] + self.rows:
            print("  ".join(cell.ljust(w) for cell, w in zip(row, [max(8, width[0]), *width[1:]])).rstrip())
        counts = {v: sum(r[0] == v for r in self.rows) for v in ("equal", "DIFFERS", "skipped")}
        print(f"\n{counts['equal']} equal, {counts['DIFFERS']} differ, {counts['skipped']} skipped")
        return 1 if counts["DIFFERS"] else 0


class Rlhf4j:
    def __init__(self, launcher, work):
        self.launcher, self.work = launcher, work

    def run(self, *arguments):
        command = [str(self.launcher), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stderr[-4000:]}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.run(*arguments, "--json", "--quiet"))

    def ids(self, sequences):
        file = self.work / "ids.json"
        file.write_text(json.dumps({"input_ids": sequences}))
        return file

    def logits(self, sequences, *model):
        found = self.json("logprobs", "--logits", "--ids", self.ids(sequences), "--dtype", "f32", *model)["sequences"]
        return np.concatenate([np.array(s["logits"]) for s in found])

    def scores(self, sequences, *model):
        return np.array(self.json("score", "--ids", self.ids(sequences), "--dtype", "f32", *model)["scores"])

    def greedy(self, prompt, *model):
        options = ["--greedy", "--ignore-eos", "--max-new-tokens", NEW_TOKENS, "--dtype", "f32"]
        return self.json("generate", "--ids", self.ids([prompt]), *options, *model)["sequences"][0]["ids"]

    def text_ids(self, text, model):
        return self.json("tokenize", "--model", model, "--text", text)["sequences"][0]["ids"]


def have(package):
    return importlib.util.find_spec(package) is not None


def torch_logits(model, sequences):
    with torch.no_grad():
        return np.concatenate([model(torch.tensor([ids])).logits[0].float().numpy() for ids in sequences])


def torch_greedy(model, prompt):
    ids = torch.tensor([prompt])
    model.generation_config.eos_token_id = None  # as --ignore-eos: EOS may come, and does not end it
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS,
                         pad_token_id=0)
    return out[0, len(prompt):].tolist()


def causal(path, **options):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **options).eval()


# ---- the models that the checks are made on


def tiny_models(work):
    """Random models of two layers, with a byte-level BPE tokenizer that is trained on a few sentences."""
    torch.manual_seed(20261123)
    shape = dict(hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 max_position_embeddings=256, bos_token_id=0, eos_token_id=1, pad_token_id=2, vocab_size=tiny_tokenizer.ROWS)
    llama3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=64)
    kinds = {
        "llama": LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=llama3, tie_word_embeddings=False)),
        "mistral": MistralForCausalLM(MistralConfig(**shape, sliding_window=64, tie_word_embeddings=False)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=True)),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**shape, head_dim=32, tie_word_embeddings=True)),
        "gpt2": GPT2LMHeadModel(GPT2Config(
            vocab_size=tiny_tokenizer.ROWS, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=1,
            pad_token_id=2)),
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny_tokenizer.train(), bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>")
    for name, model in kinds.items():
        with torch.no_grad():
            for key, parameter in model.named_parameters():  # so that biases and norms count
                norm = "norm" in key or ".ln_" in key and key.endswith("weight")
                parameter.copy_(torch.randn_like(parameter) * 0.15 + (1 if norm else 0))
        folder = work / name
        model.float().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return {name: work / name for name in kinds}


def sequences(vocabulary, seed=7):
    random = np.random.default_rng(seed)
    return [random.integers(3, vocabulary, n).tolist() for n in (5, 17, 33)]


# ---- the checks


def adapters(table, ours, work, model, rows):
    """An SFT adapter and a reward adapter, trained for a few steps with options that show in their numbers."""
    if not have("peft"):
        table.add("skipped", "adapters", "PEFT", "the package peft is not there")
        return {}
    merged = sft_adapter(
        table, ours, work, "SFT adapter (rsLoRA, patterns, regex)", model, rows,
        r"lora.target_modules=.*\.(q_proj|v_proj|up_proj|down_proj)", "lora.exclude_modules=layers.1.mlp.down_proj",
        "lora.rank_pattern={up_proj: 2, 'layers.1.self_attn.q_proj': 7}", "lora.alpha_pattern={v_proj: 3}")
    gpt2 = sft_adapter(table, ours, work, "SFT adapter of gpt2 (Conv1D)", model.parent / "gpt2", rows,
                       "lora.target_modules=all-linear")
    reward_adapter(table, ours, work, model, rows)
    return {"merged": merged, "merged gpt2": gpt2}


TRAINING = ["max_steps=4", "batch_size=4", "learning_rate=0.05", "lora.r=4", "lora.alpha=9", "lora.use_rslora=true", "dtype=f32"]


def sft_adapter(table, ours, work, what, model, rows, *options):
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    text = [{"prompt": f"{a} plus {b} is", "completion": f" {a + b}."} for a in range(4) for b in range(4)]
    data = work / "sft.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in text))
    run = work / f"sft-{model.name}"
    ours.run("sft", "--model", model, "--data", data, "--out", run, "--quiet", *TRAINING, *options)
    adapter = run / "adapter"
    base = causal(model)
    before = torch_logits(base, rows)
    peft = PeftModel.from_pretrained(base, adapter).eval()
    theirs = {k: tuple(v.shape) for k, v in get_peft_model_state_dict(peft).items()}
    written = {k: tuple(v.shape) for k, v in load_file(adapter / "adapter_model.safetensors").items()}
    table.same(what, "PEFT: tensor names and shapes", theirs == written, f"{len(theirs)} tensors")
    found = ours.logits(rows, "--model", model, "--adapter", adapter)
    if np.abs(found - before).max() < 0.05 * np.abs(before).max():
        table.add("DIFFERS", what, "the base", "training changed so little that the check would say nothing")
    table.close(what, "PEFT: logits", found, torch_logits(peft, rows), F32)

    what = what.replace("SFT adapter", "merged")
    merged = work / f"merged-{model.name}"
    ours.run("convert", "--model", model, "--adapter", adapter, "--out", merged)
    alone = causal(merged)
    table.close(what, "transformers: logits", found, torch_logits(alone, rows), F32)
    table.same(what, f"transformers: {NEW_TOKENS} greedy tokens",
               ours.greedy(rows[1], "--model", model, "--adapter", adapter) == torch_greedy(alone, rows[1]))
    unloaded = peft.merge_and_unload().state_dict()
    state = alone.state_dict()
    table.same(what, "PEFT's merge_and_unload: names", set(state) == set(unloaded), f"{len(state)} tensors")
    worst = max(((state[k] - unloaded[k]).abs().max() / unloaded[k].abs().max()).item() for k in state)
    table.close(what, "PEFT's merge_and_unload: weights", [1], [1 + worst], 1e-6)

    tokenizer = AutoTokenizer.from_pretrained(merged)
    text = "Hello,  it's 12 o'clock\n\n<|end|>é"
    table.same(what, "transformers: token ids", ours.text_ids(text, merged) == tokenizer(text)["input_ids"])
    return merged


def reward_adapter(table, ours, work, model, rows):
    from peft import PeftModel

    pairs = [{"question": f"{a} plus {b}?", "chosen": f"{a + b}", "rejected": f"{a * 3 + 1}, no"} for a in range(4) for b in range(4)]
    data = work / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    ours.run("reward", "--model", model, "--data", data, "--out", work / "reward", "--quiet", *TRAINING,
             "lora.target_modules=all-linear")
    adapter = work / "reward" / "adapter"
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    scorer = PeftModel.from_pretrained(scorer, adapter).eval()
    with torch.no_grad():
        theirs = np.array([scorer(torch.tensor([ids])).logits.item() for ids in rows])
    table.close("reward adapter with score head", "PEFT, SEQ_CLS: scores", ours.scores(rows, "--model", model, "--adapter", adapter),
                theirs, F32)
    merged = work / "merged-reward"
    ours.run("convert", "--model", model, "--adapter", adapter, "--out", merged)
    alone = AutoModelForSequenceClassification.from_pretrained(merged, dtype=torch.float32).eval()
    with torch.no_grad():
        scores = np.array([alone(torch.tensor([ids])).logits.item() for ids in rows])
    table.close("merged reward folder", "transformers, SEQ_CLS: scores", scores, theirs, F32)


def gguf_files(table, ours, work, name, source, rows, names=None):
    """source as GGUF: its bytes as gguf's own quantisation makes them, and what transformers and llama.cpp compute."""
    for dtype, tolerance in (("f32", F32), ("f16", F16), ("q8_0", Q8_0)):
        if names and dtype not in names:
            continue
        file = work / f"{name}.{dtype}.gguf"
        ours.run("convert", "--model", source, "--dtype", dtype, "--out", file)
        what = f"{name} as GGUF {dtype}"
        if not have("gguf"):
            table.add("skipped", what, "gguf", "the package gguf is not there")
        else:
            gguf_bytes(table, what, file, source)
            # transformers dequantises the file. It passes over rope_freqs.weight, so not where rotary frequencies are
            # stretched (llama); it takes gpt2's vocabulary and qwen3's head size for granted, and has no tensor names for
            # mistral.
            if dtype == "f16" and not name.startswith(("llama", "merged", "mistral", "gpt2", "qwen3")):
                theirs = causal(file.parent, gguf_file=file.name)
                table.close(what, "transformers: logits", ours.logits(rows, "--model", file), torch_logits(theirs, rows), F32)
                del theirs
        if not have("llama_cpp"):
            table.add("skipped", what, "llama.cpp", "the package llama-cpp-python is not there")
        else:
            # Its GELU is a table of f16 values, whatever the file's type.
            llama_cpp(table, ours, what, file, rows, F16 if dtype == "f32" and "gpt2" in name else tolerance)


def gguf_bytes(table, what, file, source):
    import gguf

    config = json.loads((source / "config.json").read_text()) if source.is_dir() else None
    if config is None or not (source / "model.safetensors").exists():
        return
    from safetensors.torch import load_file

    stored = load_file(source / "model.safetensors")
    reader = gguf.GGUFReader(file)
    name = reader.fields["general.architecture"].contents()
    architecture = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == name)
    layers = config.get("num_hidden_layers") or config["n_layer"]
    names = gguf.get_tensor_name_map(architecture, layers)
    expected = {}
    for key, tensor in stored.items():
        value = tensor.float().numpy()
        if name == "llama" and (".q_proj." in key or ".k_proj." in key):
            heads = config["num_attention_heads" if ".q_proj." in key else "num_key_value_heads"]
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        if name == "gpt2" and ".h." in key and value.ndim == 2:
            value = value.T
        expected[names.get_name(key, try_suffixes=(".weight", ".bias"))] = value
    found = {t.name: t for t in reader.tensors if t.name != "rope_freqs.weight"}
    wrong = sorted(set(expected) ^ set(found))
    for key in set(expected) & set(found):
        own = gguf.quants.quantize(np.ascontiguousarray(expected[key]), found[key].tensor_type)
        if own.view(np.uint8).tobytes() != found[key].data.view(np.uint8).tobytes():
            wrong.append(key)
    table.same(what, "gguf: tensor names, types and bytes", not wrong, ", ".join(wrong[:3]) or f"{len(found)} tensors")


def llama_cpp(table, ours, what, file, rows, tolerance):
    from llama_cpp import GGML_TYPE_F32, Llama

    # By default llama.cpp keeps keys and values in f16, which has nothing to do with the file.
    model = Llama(str(file), n_ctx=128, logits_all=True, verbose=False, n_threads=2, seed=1, type_k=GGML_TYPE_F32,
                  type_v=GGML_TYPE_F32, n_batch=64)
    theirs = []
    for ids in rows:
        model.reset()
        model.eval(ids)
        theirs.append(np.array(model.scores[:len(ids)]))
    table.close(what, "llama.cpp: logits", ours.logits(rows, "--model", file), np.concatenate(theirs), tolerance)

    tokens = ours.greedy(rows[1], "--model", file)
    model.reset()
    model.eval(rows[1] + tokens[:-1])
    logits = np.array(model.scores[len(rows[1]) - 1:len(rows[1]) + len(tokens) - 1])
    picked = logits.argmax(axis=1)
    # After our own tokens, llama.cpp's best is ours, or nearly: where two tokens are closer than its rounding allows
    # for, either is right.
    slack = 2 * tolerance * np.abs(logits).max()
    behind = logits.max(axis=1) - logits[np.arange(len(tokens)), tokens]
    table.same(what, f"llama.cpp: {NEW_TOKENS} greedy tokens", bool((behind <= slack).all()),
               f"{(picked == np.array(tokens)).sum()} the same, {(picked != np.array(tokens)).sum()} within its rounding")
    text = "Hello,  it's 12 o'clock\n\nin 2026 é"
    table.same(what, "llama.cpp: token ids", ours.text_ids(text, file) == model.tokenize(text.encode(), add_bos=False, special=True))
    model.close()


def quantised(table, ours, work):
    """4-bit folders. bitsandbytes reads other rows' scales on a CPU where a width is no multiple of 64, so of a model that has none."""
    model = pathlib.Path(__file__).resolve().parent.parent / "java-core/src/test/resources/nf4/bf16"
    rows = sequences(json.loads((model / "config.json").read_text())["vocab_size"])
    what = "NF4 folder"
    if "--quantization" not in ours.run("convert", "--help"):
        table.add("skipped", what, "transformers", "convert has no --quantization")
        return
    if not have("bitsandbytes"):
        table.add("skipped", what, "transformers", "the package bitsandbytes is not there")
        return
    for kind in ("nf4", "nf4-double"):
        folder = work / f"{model.name}-{kind}"
        ours.run("convert", "--model", model, "--quantization", kind, "--out", folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu").eval()
        own = transformers_codes(model, kind)
        read = {name: value for name, value in theirs.state_dict().items() if value.dtype == torch.uint8}
        read = {name: value for name, value in read.items() if not name.endswith("bitsandbytes__nf4")}  # JSON
        same = bool(read) and all(torch.equal(value, own[name]) for name, value in read.items())
        table.same(f"{what} ({kind})", "transformers with bitsandbytes: its own codes", same, f"{len(read)} tensors")
        # Only then: the first product on a CPU packs the codes anew.
        table.close(f"{what} ({kind})", "transformers with bitsandbytes: logits",
                    ours.logits(rows, "--model", folder), torch_logits(theirs, rows), BF16)


def transformers_codes(model, kind):
    """What transformers itself makes of the model."""
    settings = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=kind == "nf4-double",
        bnb_4bit_compute_dtype=torch.bfloat16)
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.bfloat16, device_map="cpu", quantization_config=settings).state_dict()


def real_model(table, ours, work, file):
    name = file.stem.split(".")[0]
    folder = work / name
    ours.run("convert", "--model", file, "--dtype", "f32", "--out", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = ["The capital of France is", "Question: What is 12 plus 30?\nAnswer:", "Once upon a time"]
    rows = [tokenizer(p)["input_ids"] for p in prompts]
    theirs = causal(folder)
    table.close(f"{name} as a folder", "transformers: logits", ours.logits(rows, "--model", file), torch_logits(theirs, rows), F32)
    table.same(f"{name} as a folder", f"transformers: {NEW_TOKENS} greedy tokens",
               ours.greedy(rows[1], "--model", file) == torch_greedy(theirs, rows[1]))
    del theirs
    gguf_files(table, ours, work, name, folder, rows, ("f16", "q8_0"))


def templates(table, ours, work, model):
    """Chat templates as models ship them: those that the package trl carries, through `tokenize --chat` and through Jinja2."""
    what = "chat templates"
    if not have("trl"):
        table.add("skipped", what, "Jinja2", "the package trl, which carries some, is not there")
        return
    from transformers.utils.chat_template_utils import _compile_jinja_template

    tool = {"type": "function", "function": {
        "name": "weather", "description": "The weather <now>",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    call = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
    user, answer = {"role": "user", "content": " Hi\n"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello 'you'"}
    system = {"role": "system", "content": "Be brief."}
    conversations = [
        {"messages": [user]}, {"messages": [user, answer, user]}, {"messages": [system, user, answer]},
        {"messages": [system, user], "tools": [tool]}, {"messages": [answer, user, user]},
        {"messages": [user, {"role": "assistant", "content": "", "tool_calls": [call]},
                      {"role": "tool", "name": "weather", "content": "3", "tool_call_id": "abcdefghi"}], "tools": [tool]}]
    folder = work / "templates"
    shutil.copytree(model, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    special = {k: v if isinstance(v, str) else v.get("content") for k, v in settings.items() if k.endswith("_token") and v}
    data, equal, refused, different = work / "conversations.jsonl", 0, 0, []
    package = pathlib.Path(importlib.util.find_spec("trl").submodule_search_locations[0])
    for file in sorted((package / "chat_templates").glob("*.jinja")):
        source = file.read_text()
        (folder / "chat_template.jinja").write_text(source)
        lines, want = [], []
        for conversation in conversations:
            known = {"tools": None, "documents": None, **special, "date_string": "23 Nov 2026"}
            try:
                text = _compile_jinja_template(source).render(**{**known, **conversation}, add_generation_prompt=True)
            except Exception:  # a template may refuse a conversation
                refused += 1
                continue
            lines.append(json.dumps({**conversation, "chat_template_kwargs": {"date_string": "23 Nov 2026"}}))
            want.append(text)
        data.write_text("\n".join(lines) + "\n")
        got = ours.json("tokenize", "--model", folder, "--chat", "--add-generation-prompt", "--data", data)["sequences"]
        for number, text in enumerate(want):
            if got[number]["text"] == text:
                equal += 1
            else:
                different.append(f"{file.stem} {number}")
    table.same(what, "Jinja2: text", not different, f"{equal} equal, {refused} refuse; {', '.join(different[:5])}".rstrip("; "))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rlhf4j", type=pathlib.Path, required=True, help="the launcher")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file or a Hugging Face folder of a real model")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    table = Table()
    ours = Rlhf4j(arguments.rlhf4j, work)
    models = tiny_models(work)
    rows = sequences(tiny_tokenizer.ROWS)
    for name, folder in models.items():
        table.close(f"(reading) {name}", "transformers: logits", ours.logits(rows, "--model", folder),
                    torch_logits(causal(folder), rows), F32)
    merged = table.attempt("adapters", adapters, ours, work, models["llama"], rows) or {}
    for name, folder in (models | merged).items():
        table.attempt(f"{name} as GGUF", gguf_files, ours, work, name, folder, rows)
    table.attempt("NF4 folder", quantised, ours, work)
    table.attempt("chat templates", templates, ours, work, models["llama"])
    if arguments.model:
        table.attempt(arguments.model.name, real_model, ours, work, arguments.model)
    return table.print()


if __name__ == "__main__":
    sys.exit(main())
