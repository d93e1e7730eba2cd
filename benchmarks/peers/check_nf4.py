"""python check_nf4.py QUANTISED PLAIN

Whether transformers loads QUANTISED, which `convert --quantization nf4|nf4-double` made of the model folder PLAIN, and finds in it
what it makes of PLAIN itself: the same codes and scales. Status 0: yes. With transformers 5.23, bitsandbytes 0.50.2, on the CPU."""

import sys

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


def main(quantised, plain):
    ours = AutoModelForCausalLM.from_pretrained(quantised, device_map="cpu")
    found = ours.config.quantization_config
    theirs = AutoModelForCausalLM.from_pretrained(
        plain,
        dtype=ours.dtype,
        device_map="cpu",
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=found.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=found.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=ours.dtype,
        ),
    )
    want, got = theirs.state_dict(), ours.state_dict()
    assert want.keys() == got.keys(), want.keys() ^ got.keys()
    matrices = 0
    for name, value in want.items():
        if name.endswith("bitsandbytes__nf4"):  # JSON with the scales' mean, which each adds up in an order of its own
            matrices += 1
        elif value.dtype == torch.uint8:
            assert torch.equal(value, got[name]), name
        else:
            assert value.dtype == got[name].dtype and value.shape == got[name].shape, name
            assert torch.allclose(value, got[name], rtol=1e-6, atol=1e-7), name
    assert matrices > 0, "nothing is quantised"
    print(f"{matrices} matrices in NF4, the same on both sides")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(*sys.argv[1:])
