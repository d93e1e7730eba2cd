"""One PPO run with TRL's classic PPOTrainer (trl 0.11.4) on the CPU, timed step by step.

The work per step is fixed, so that another engine can do the same: --batch prompts, exactly --new-tokens sampled tokens
each (no stop at EOS, temperature 1, no top-k, no top-p), one score per response, then PPO with minibatches of one
sequence over three epochs. The reference is the policy with its adapter switched off, as TRL does it for PEFT models.

Prints one JSON object a line: {"event": "start"}, one {"event": "step"} per PPO step, and {"event": "end"} with the medians.
Everything else goes to standard error. The phases of a step, in seconds:

    generate   sampling the responses
    score      the reward: a pass of the reward adapter over query + response, or a constant-time function of the ids
    forward    inside PPOTrainer.step: log-probabilities of policy and reference, values
    optimize   inside PPOTrainer.step: all the rest (KL, GAE, the minibatches, statistics)
    step       forward + optimize
    total      the whole step
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Hugging Face folder or a .gguf file")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--query-tokens", type=int, default=50, help="longer prompts are cut to this many tokens")
    parser.add_argument("--mini-batch", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--generate-batch", type=int, default=0, help="sequences decoded together; 0 means all (TRL's default is 4)")
    parser.add_argument("--reward-adapter", help="PEFT folder with a score head; without it a simple function scores")
    parser.add_argument("--prompts", type=Path, default=Path(__file__).with_name("prompts.jsonl"))
    parser.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    parser.add_argument("--lora-dropout", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


args = parse()
os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read when torch loads
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.simplefilter("ignore")

import torch
import transformers
import trl
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer

from peer_model import load_model, load_tokenizer, lora


def since_process_start() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"/proc/self/status has no {key}")


def emit(event: str, **fields) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def simple_score(ids: torch.Tensor) -> torch.Tensor:
    """Share of distinct tokens: varies from response to response and costs nothing."""
    return torch.tensor(len(set(ids.tolist())) / len(ids))


def main() -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    imported_mib = memory_mib("VmRSS")

    tokenizer = load_tokenizer(args.model)
    texts = [json.loads(line)["query"] for line in args.prompts.read_text(encoding="utf-8").splitlines()]
    prompts = [
        torch.tensor(tokenizer(text, add_special_tokens=False).input_ids[: args.query_tokens]) for text in texts
    ]

    base = load_model(args.model, torch.bfloat16 if args.dtype == "bf16" else torch.float32)
    base.generation_config.eos_token_id = None  # exactly --new-tokens tokens, whatever is sampled
    adapter = {"reward_adapter": args.reward_adapter} if args.reward_adapter else {}
    model = AutoModelForCausalLMWithValueHead.from_pretrained(base, peft_config=lora(args.lora_dropout), **adapter)

    config = PPOConfig(
        batch_size=args.batch,
        mini_batch_size=args.mini_batch,
        gradient_accumulation_steps=1,
        ppo_epochs=args.epochs,
        learning_rate=1e-5,
        init_kl_coef=0.2,
        adap_kl_ctrl=False,
        vf_coef=0.5,
        cliprange=0.2,
        cliprange_value=0.2,
        seed=args.seed,
    )
    trainer = PPOTrainer(config, model, None, tokenizer)
    sampling = dict(
        max_new_tokens=args.new_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        pad_token_id=tokenizer.pad_token_id,
        return_prompt=False,
        remove_padding=False,  # would cut the response at an EOS
        batch_size=args.generate_batch or args.batch,
    )

    def scores_of(queries: list, responses: list) -> list:
        if not args.reward_adapter:
            return [simple_score(response) for response in responses]
        whole = [torch.cat(pair) for pair in zip(queries, responses)]
        inputs = trainer.data_collator([{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in whole])
        values = trainer.model.compute_reward_score(inputs["input_ids"], inputs["attention_mask"])
        last = inputs["attention_mask"].cumsum(1).argmax(1)
        return [values[row, at, 0].float() for row, at in enumerate(last.tolist())]

    emit(
        "start",
        torch=torch.__version__,
        transformers=transformers.__version__,
        trl=trl.__version__,
        python=sys.version.split()[0],
        cpu=torch.backends.cpu.get_cpu_capability(),
        threads=torch.get_num_threads(),
        reward="adapter" if args.reward_adapter else "function",
        dtype=args.dtype,
        batch=args.batch,
        imported_mib=imported_mib,
        loaded_mib=memory_mib("VmRSS"),
        loaded_at=round(since_process_start(), 3),
    )

    steps = []
    first_step_at = None
    for number in range(args.steps):
        queries = [prompts[(number * args.batch + i) % len(prompts)] for i in range(args.batch)]
        began = time.perf_counter()
        trainer.model.eval()
        responses = trainer.generate(queries, **sampling)
        generated = time.perf_counter()
        scores = scores_of(queries, responses)
        scored = time.perf_counter()
        stats = trainer.step(queries, responses, scores)
        ended = time.perf_counter()
        if first_step_at is None:
            first_step_at = since_process_start()
        if any(len(response) != args.new_tokens for response in responses):
            raise SystemExit(f"expected {args.new_tokens} new tokens, found {[len(r) for r in responses]}")
        forward = stats["time/ppo/forward_pass"]
        steps.append(
            {
                "generate": generated - began,
                "score": scored - generated,
                "forward": forward,
                "optimize": ended - scored - forward,
                "step": ended - scored,
                "total": ended - began,
            }
        )
        emit(
            "step",
            number=number + 1,
            **{name: round(value, 4) for name, value in steps[-1].items()},
            kl=round(float(stats["objective/kl"]), 4),
            loss=round(float(stats["ppo/loss/total"]), 4),
            query_tokens=sum(len(query) for query in queries),
        )

    steady = steps[1:] or steps  # the first step also warms up
    emit(
        "end",
        steps=len(steps),
        first_step_at=round(first_step_at, 3),
        peak_rss_mib=memory_mib("VmHWM"),
        medians={name: round(statistics.median(step[name] for step in steady), 4) for name in steady[0]},
    )


if __name__ == "__main__":
    main()
