"""A byte-level BPE tokenizer with a small vocabulary, for the tiny models."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

# The rows of the models' embeddings: more than the tokenizer has tokens, as in many real models.
ROWS = 352

SENTENCES = [
    "Hello, it is twelve o'clock and it's raining.",
    "One plus two is three; 12 plus 30 is 42.",
    "The capital of France is Paris, and the capital of Peru is Lima.",
    "What is the answer to the question?\nThe answer is no.",
]


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<|begin|>", "<|end|>", "<|pad|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer
