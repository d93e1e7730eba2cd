"""Runs TRL and rlhf4j alternately on the same PPO work and writes the comparison as a Markdown table.

Each pair is one TRL process and one rlhf4j process, one after the other, the order swapped from pair to pair: on a
machine with other load a ratio within a pair says more than two times. Of every run the first step is left out of the
medians (both sides warm up in it); it counts in "start to first step", which is the wall time from launching the process
until its first PPO step is reported. Peak memory is the resident set as the kernel accounts for it (wait4), for both.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def rlhf4j_command(args: argparse.Namespace, batch: int, out: Path) -> list[str]:
    """The one place that says how rlhf4j is called. Sizes are those of trl_ppo.py."""
    return [
        str(ROOT / "rlhf4j"), "ppo",
        "--device", "cpu", "--threads", str(args.threads), "--dtype", "bf16", "--seed", "1", "--quiet",
        "--model", str(args.model), "--data", str(HERE / "prompts.jsonl"), "--out", str(out),
        "--reward-adapter", str(args.reward_adapter),
        f"batch_size={batch}", "mini_batch_size=1", "ppo_epochs=3", f"max_steps={args.steps}",
        f"max_new_tokens={args.new_tokens}", f"min_new_tokens={args.new_tokens}",
        "temperature=1.0", "top_k=0", "top_p=1.0",
        "lora.r=8", "lora.alpha=16", "lora.dropout=0.0",
        "learning_rate=1e-5", "init_kl_coef=0.2", "adap_kl_ctrl=false", "vf_coef=0.5",
        "shuffle=false",
    ]  # fmt: skip


def trl_command(args: argparse.Namespace, batch: int) -> list[str]:
    return [
        sys.executable, str(HERE / "trl_ppo.py"),
        "--model", str(args.trl_model or args.model), "--reward-adapter", str(args.reward_adapter),
        "--batch", str(batch), "--steps", str(args.steps), "--new-tokens", str(args.new_tokens),
        "--threads", str(args.threads),
    ]  # fmt: skip


@dataclass
class Run:
    """One process. `steps` has one dict per PPO step: rollout, score, update, total, in seconds."""

    peer: str
    batch: int
    pair: int
    steps: list[dict]
    start_to_first_step: float
    peak_mib: float
    cpu_seconds: float
    wall_seconds: float
    load_before: float
    about: dict

    def median(self, phase: str) -> float:
        return statistics.median(step[phase] for step in self.steps[1:] or self.steps)


def trl_steps(lines: list[str]) -> tuple[list[dict], dict]:
    events = [json.loads(line) for line in lines if line.startswith("{")]
    steps = [
        # rlhf4j's shared scoring pass gives reward, log-probabilities, reference and values; TRL does it in two places.
        {
            "rollout": e["generate"],
            "score": e["score"] + e["forward"],
            "update": e["optimize"],
            "total": e["total"],
        }
        for e in events
        if e["event"] == "step"
    ]
    about = next((e for e in events if e["event"] == "start"), {})
    return steps, about


def rlhf4j_steps(lines: list[str]) -> list[dict]:
    steps = []
    for line in lines:
        try:
            metrics = json.loads(line)
        except json.JSONDecodeError:  # the line that is being written
            continue
        if "time/update" in metrics:
            phases = {name: metrics[f"time/{name}"] for name in ("rollout", "score", "update")}
            steps.append({**phases, "total": sum(phases.values())})
    return steps


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def execute(args: argparse.Namespace, peer: str, batch: int, pair: int) -> Run:
    name = f"{peer}-b{batch}-p{pair}"
    log, out = args.work / f"{name}.log", args.work / f"{name}-{os.getpid()}"
    if peer == "trl":
        command, progress = trl_command(args, batch), args.work / f"{name}.jsonl"
        steps_so_far = lambda: trl_steps(lines_of(progress))[0]
    else:
        command, progress = rlhf4j_command(args, batch, out), out / "metrics.jsonl"
        steps_so_far = lambda: rlhf4j_steps(lines_of(progress))
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: the load average is {load:.1f}; other work on this machine spoils the times", file=sys.stderr)
    with open(log, "wb") as errors, open(args.work / f"{name}.jsonl", "wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=errors)
        first = None
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if first is None and steps_so_far():
                    first = time.monotonic() - began
                if pid:
                    break
                if time.monotonic() - began > args.timeout:
                    process.kill()
                time.sleep(0.05 if first is None else 0.5)
        except BaseException:  # Ctrl-C, or SIGTERM by way of SystemExit: leave no run behind
            process.kill()
            raise
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = "\n".join(lines_of(log)[-15:])
        raise SystemExit(f"{name}: exit code {process.returncode}; the end of its log:\n{tail}")
    lines = lines_of(progress)
    steps, about = trl_steps(lines) if peer == "trl" else (rlhf4j_steps(lines), {})
    if len(steps) != args.steps:
        raise SystemExit(f"{name}: expected {args.steps} steps, found {len(steps)}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(peer, batch, pair, steps, first, usage.ru_maxrss / 1024, cpu, wall, load, about)


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")), "CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} logical cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def rlhf4j_version() -> str:
    """Also builds what is missing, so that no build is timed."""
    done = subprocess.run([ROOT / "rlhf4j", "--version"], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"./rlhf4j --version: exit code {done.returncode}\n{done.stderr}")
    return done.stdout.strip().splitlines()[0]


def of(runs: list[Run], peer: str, batch: int) -> list[Run]:
    return [run for run in runs if run.peer == peer and run.batch == batch]


def number(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{value:.2f}{unit}" if value < 100 else f"{value:.0f}{unit}"


def ratio(trl: list[float], ours: list[float]) -> str:
    """Median over the pairs, with the range: TRL's figure divided by rlhf4j's."""
    ratios = [a / b for a, b in zip(trl, ours) if b > 0]
    if not ratios:
        return "–"
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}×{spread}"


ROWS = [
    ("rollout, s", lambda run: run.median("rollout")),
    ("score, s", lambda run: run.median("score")),
    ("update, s", lambda run: run.median("update")),
    ("**whole step, s**", lambda run: run.median("total")),
    ("start to first step, s", lambda run: run.start_to_first_step),
    ("processor time of the whole run, s", lambda run: run.cpu_seconds),
    ("processors in use, mean", lambda run: run.cpu_seconds / run.wall_seconds),
    ("peak memory, MiB", lambda run: run.peak_mib),
]


def markdown(args: argparse.Namespace, runs: list[Run], version: str | None) -> str:
    about = next((run.about for run in runs if run.about), {})
    versions = []
    if about:
        versions.append("TRL {trl}, transformers {transformers}, PyTorch {torch} ({cpu}), Python {python}".format(**about))
    if version:
        versions.append(version)
    loads = [run.load_before for run in runs]
    text = [
        "# PPO step by step: rlhf4j and TRL",
        "",
        "Written by `benchmarks/peers/run.sh`; how to repeat it, and what the rows mean, is in README.md.",
        "",
        f"- Date: {time.strftime('%Y-%m-%d')}",
        f"- Machine: {machine()}; {args.threads} threads for each peer; load average before the runs {min(loads):.1f}–{max(loads):.1f}",
        *(f"- {entry}" for entry in versions),
        f"- Model: {args.model.name}, computed in bf16; reward by a LoRA adapter on the same base",
        f"- Work per step: prompts of 50 tokens, {args.new_tokens} new tokens each, minibatch 1, 3 epochs",
        f"- {args.pairs} pair(s) of runs, {args.steps} steps each; medians over the steps after the first, then over the runs",
        "",
    ]
    for batch in args.batch:
        trl, ours = of(runs, "trl", batch), of(runs, "rlhf4j", batch)
        text += [f"## Batch {batch}", "", "| | TRL | rlhf4j | TRL / rlhf4j |", "|---|---:|---:|---:|"]
        for title, figure in ROWS:
            a, b = [figure(run) for run in trl], [figure(run) for run in ours]
            cells = [number(statistics.median(x)) if x else "–" for x in (a, b)]
            text.append(f"| {title} | {cells[0]} | {cells[1]} | {ratio(a, b)} |")
        text.append("")
    if about:
        text += [
            f"Of TRL's peak memory, {about['imported_mib']:.0f} MiB are resident once its Python modules are imported, before any model.",
            "",
        ]
    return "\n".join(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="what rlhf4j loads (folder or GGUF file)")
    parser.add_argument("--trl-model", type=Path, help="what TRL loads, if not the same")
    parser.add_argument("--reward-adapter", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for logs, runs and results.json")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--only", choices=["trl", "rlhf4j"])
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one run")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.work.mkdir(parents=True, exist_ok=True)

    peers = [args.only] if args.only else ["trl", "rlhf4j"]
    version = rlhf4j_version() if "rlhf4j" in peers else None
    runs = []
    for batch in args.batch:
        for pair in range(args.pairs):
            for peer in peers if pair % 2 == 0 else reversed(peers):
                run = execute(args, peer, batch, pair)
                runs.append(run)
                print(
                    f"{peer:7} batch {batch:3} pair {pair + 1}/{args.pairs}: step {run.median('total'):.2f} s, "
                    f"first step after {run.start_to_first_step:.1f} s, peak {run.peak_mib:.0f} MiB, "
                    f"{run.cpu_seconds / run.wall_seconds:.1f} processors",
                    flush=True,
                )
                (args.work / "results.json").write_text(json.dumps([asdict(r) for r in runs], indent=1))
    args.results.write_text(markdown(args, runs, version), encoding="utf-8")
    print(f"written: {args.results}")


if __name__ == "__main__":
    main()
