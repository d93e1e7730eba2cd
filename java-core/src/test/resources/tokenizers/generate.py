"""Small tokenizers and what others make of texts with them.

    python generate.py

Made with Python 3.11, sentencepiece 0.2.3, tokenizers 0.23, transformers 5.23.0, gguf 0.19.0, llama-cpp-python 0.3.36.
For each of three kinds (bpe: SentencePiece BPE as Llama 2 has it; unigram: SentencePiece Unigram as T5 has it; bytes: byte-level BPE):
KIND.gguf is the vocabulary as llama.cpp's converter writes it, bpe/tokenizer.json the same as transformers' converter
writes it, cases.json the ids: "ids" by the tokenizers library from tokenizer.json, "gguf" by llama.cpp from the GGUF
file (for byte-level BPE by the name of the pre-tokenizer), both with the special tokens that stand in the text.
"""
import argparse, ctypes, io, json, os, pathlib, statistics, tempfile, textwrap, types

import gguf
import llama_cpp
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import generate_merges

HERE = pathlib.Path(__file__).parent
CORPUS = "\n".join(
    line for m in (argparse, statistics, textwrap, json) for name in sorted(vars(m))
    for line in (getattr(vars(m)[name], "__doc__", None) or "").splitlines() if line.strip()) + "\n" + "\n".join([
    "Größe, Straße und Übermut; naïve café, où est l'œuvre?", "原子和分子，很重要。大海对很多人都很重要", "Привет, мир! Как дела сегодня?",
    "It's we'll they've I'm you'd HELLO World's DON'T", "x = 12345 + 67.89 * (y - 3) / 100 == 0 != 1", "def f(x):\n    return x  # two\n\n\tend"] * 8)

TEXTS = ["Hello world", " leading and trailing ", "two  spaces   three", "line\nbreak\n\n\tand tab\r\n", "", " ", "  ", "a", "ﬁne ½ ＡＢＣ",
    "naïve café Straße", "原子和大海", "🙂🙃 flags 🇩🇪 family 👨‍👩‍👧", "Привет, мир!", "It's we'll DON'T they'VE I'm", "12345 1 22 333 4444 67.89",
    "x=(y-3)/100 != 0;", "return the statistics of the data as a list of strings", "\u0000\u007f\u00ad\u200b", "e\u0301 vs \u00e9", "aaaaaaaaaaaaa",
    "....---???!!!", "tail\n", "\n", "HTTPServer getURLName camelCase", "<s>begin</s>", "before<|user|>after", "before <|user|> after <|user|>",
    "<|user|><|user|> x", "a <tool> b<tool>c", "<unk> unknown", "▁under▁score ▁", "foo/bar/baz.py\n/ x", "١٢٣٤٥ ٣", "ǅ ǈ ʰʲ"]


def sentencepiece_model(kind):
    """kind: bpe or unigram"""
    out = io.BytesIO()
    options = dict(sentence_iterator=iter(CORPUS.splitlines()), model_writer=out, model_type=kind, vocab_size=700, character_coverage=0.99,
        num_threads=1, minloglevel=2, byte_fallback=kind == "bpe", split_digits=kind == "bpe", user_defined_symbols=["<tool>"],
        control_symbols=["<|user|>"])
    if kind == "bpe":
        options.update(normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
    sentencepiece.SentencePieceTrainer.train(**options)
    return out.getvalue()


def start(path, name):
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in ((writer.add_context_length, 128), (writer.add_embedding_length, 8), (writer.add_block_count, 1),
                       (writer.add_feed_forward_length, 16), (writer.add_head_count, 2), (writer.add_layer_norm_rms_eps, 1e-6)):
        add(value)
    writer.add_tokenizer_model(name)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def sentencepiece_gguf(model, path, name):
    proto = model_pb2.ModelProto.FromString(model)
    writer = start(path, name)
    writer.add_token_list([p.piece.replace("▁", " ") if p.type == 4 else p.piece for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    writer.add_unk_token_id(0), writer.add_bos_token_id(1), writer.add_eos_token_id(2)
    if name == "t5":
        writer.add_remove_extra_whitespaces(proto.normalizer_spec.remove_extra_whitespaces)
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
    finish(writer)


def sentencepiece_json(model, kind, path):
    """As transformers' LlamaConverter (BPE) and T5Converter (Unigram) have it."""
    proto = model_pb2.ModelProto.FromString(model)
    pieces = [(p.piece, p.score) for p in proto.pieces]
    if kind == "bpe":
        vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
        odd = {p.piece for p in proto.pieces if p.type not in (1, 4)}
        merges = generate_merges(vocab, pieces, skip_tokens=odd)
        tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        template = "<s> $A"
    else:
        tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(left=False, right=True), normalizers.Replace(__import__("tokenizers").Regex(" {2,}"), "▁")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        template = "$A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    for i, p in enumerate(proto.pieces):
        if p.type in (2, 3, 4):
            tokenizer.add_tokens([AddedToken(p.piece, normalized=False, special=p.type != 4)])
    # Added behind the vocabulary, with each of the flags.
    tokenizer.add_special_tokens([AddedToken("<|left|>", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<right>", rstrip=True, normalized=False), AddedToken("Word", single_word=True, normalized=True)])
    tokenizer.save(str(path), pretty=False)
    return tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    # Cut into a few words each, so that merges reach across what the pre-tokenizers cut.
    words = CORPUS.split(" ")
    tokenizer.train_from_iterator((" ".join(words[i:i + 2]) for i in range(len(words) - 1)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [t for t, _ in sorted(model["vocab"].items(), key=lambda e: e[1])], [" ".join(m) for m in model["merges"]]


def byte_level_gguf(vocab, merges, path, pre):
    writer = start(path, "gpt2")
    writer.add_tokenizer_pre(pre)
    extra = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<|user|>", 3), ("<tool>", 4)]
    writer.add_token_list(vocab + [t for t, _ in extra])
    writer.add_token_types([1] * len(vocab) + [t for _, t in extra])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(len(vocab) + 1), writer.add_eos_token_id(len(vocab) + 2)
    finish(writer)


def llama_cpp_ids(path, texts, special=False):
    """special: also what the tokenizer adds by itself"""
    llama_cpp.llama_log_set(QUIET, ctypes.c_void_p())
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    vocab = llama_cpp.llama_model_get_vocab(model)
    found = []
    for text in texts:
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 16))()
        n = llama_cpp.llama_tokenize(vocab, data, len(data), buffer, len(buffer), special, True)
        found.append(list(buffer[:n]))
    llama_cpp.llama_model_free(model)
    return found


QUIET = llama_cpp.llama_log_callback(lambda *_: None)
PRE = ["gpt-2", "phi-2", "olmo", "mpt", "smollm", "starcoder", "refact", "command-r", "codeshell", "llama-bpe", "llama3", "llama-v3", "falcon3", "dbrx",
       "smaug-bpe", "qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "tekken", "pixtral", "gpt-4o", "llama4", "default"]


def main():
    cases = {"texts": TEXTS}
    flags = ["a <|left|> b", "a <right>  b", "Word Words Word.", "x<|left|><right> y"]
    for kind, name in (("bpe", "llama"), ("unigram", "t5")):
        model = sentencepiece_model(kind)
        # Unigram's is the GGUF file's character map once more, a quarter of a megabyte: not kept.
        folder = HERE / kind if kind == "bpe" else pathlib.Path(tempfile.mkdtemp())
        folder.mkdir(exist_ok=True)
        sentencepiece_gguf(model, HERE / f"{kind}.gguf", name)
        tokenizer = sentencepiece_json(model, kind, folder / "tokenizer.json")
        spm = sentencepiece.SentencePieceProcessor(model_proto=model)
        ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS + flags]
        own = llama_cpp_ids(HERE / f"{kind}.gguf", TEXTS)
        plain = [i for i, t in enumerate(TEXTS) if "<" not in t]
        print(kind, "tokenizers / llama.cpp differ from sentencepiece in",
              [TEXTS[i] for i in plain if ids[i] != spm.encode(TEXTS[i])], [TEXTS[i] for i in plain if own[i] != spm.encode(TEXTS[i])],
              "from each other in", [t for t, a, b in zip(TEXTS, ids, own) if a != b])
        cases[kind] = {"flags": flags, "ids": ids, "decoded": [tokenizer.decode(i, skip_special_tokens=False) for i in ids],
                       "gguf": own, "sentencepiece": [None if "<" in t else spm.encode(t) for t in TEXTS],
                       "added": llama_cpp_ids(HERE / f"{kind}.gguf", TEXTS[:1], True)[0]}
    vocab, merges = byte_level()
    byte_level_gguf(vocab, merges, HERE / "bytes.gguf", "gpt-2")
    cases["bytes"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE:
            path = os.path.join(folder, pre + ".gguf")
            byte_level_gguf(vocab, merges, path, pre)
            try:
                cases["bytes"][pre] = llama_cpp_ids(path, TEXTS)
            except Exception as e:
                print(pre, e)
    (HERE / "cases.json").write_text(json.dumps(cases, ensure_ascii=True, separators=(",", ":")) + "\n")


main()
