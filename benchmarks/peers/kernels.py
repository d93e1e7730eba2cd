"""PyTorch's kernels (cuBLAS, cuDNN, its own) at the sizes of the benchmarks in this folder's parent, named as they are.

    python kernels.py [--device cuda] [--calls 20] [--table FILE.md]

Like `-p calls=20` there: the time of one call among many that are queued before the device is waited for. Where PyTorch has no
such op, its nearest composition is timed, and the row says so.
"""

import argparse
import time

import torch
import torch.nn.functional as F

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_SIZE, INNER, VOCABULARY = 30, 576, 9, 3, 64, 1536, 49152
ROWS, RESPONSE = 684, 64


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--parameters", type=int, default=135_000_000, help="of AdamW")
    parser.add_argument("--table", help="write the table there too")
    return parser.parse_args()


def cases(device: str, parameters: int):
    """(name, parameters, function, floating-point operations, note)"""

    def random(*shape, dtype=torch.bfloat16):
        return torch.rand(*shape, device=device, dtype=torch.float32).mul(2).sub(1).to(dtype)

    for matrix, out, inner in (("down", HIDDEN, INNER), ("gate_up", 2 * INNER, HIDDEN)):
        # One of thirty matrices after the other: from memory, not from the cache.
        weights = [random(out, inner) for _ in range(LAYERS)]
        for rows in (1, 2, 16, 114, 684):
            x = random(rows, inner)
            turn = iter(range(10**12))
            yield (
                "Linear.forward",
                f"matrix {matrix}, rows {rows}",
                lambda x=x, weights=weights, turn=turn: F.linear(x, weights[next(turn) % LAYERS]),
                2 * rows * out * inner,
                "",
            )
    weight = random(2 * INNER, HIDDEN)
    for rows in (114, 684):
        x, grad = random(rows, HIDDEN), random(rows, 2 * INNER)
        work = 2 * rows * HIDDEN * 2 * INNER
        yield "LinearBackward.input", f"rows {rows}", lambda grad=grad: grad @ weight, work, ""
        yield "LinearBackward.weight", f"rows {rows}", lambda grad=grad, x=x: grad.T @ x, work, "result in bf16"

    for length in (114, 512):
        q = random(2, HEADS, length, HEAD_SIZE)
        k, v = random(2, KV_HEADS, length, HEAD_SIZE), random(2, KV_HEADS, length, HEAD_SIZE)
        pairs = 2 * HEADS * length * (length + 1) // 2
        attend = lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        yield "Attention.forward", f"length {length}", attend, 4 * pairs * HEAD_SIZE, "padded batch"
        for tensor in (q, k, v):
            tensor.requires_grad_(True)
        with torch.enable_grad():
            o = attend()
        grad = torch.ones_like(o)
        yield (
            "Attention.backward",
            f"length {length}",
            lambda o=o, q=q, k=k, v=v, grad=grad: torch.autograd.grad(o, (q, k, v), grad, retain_graph=True),
            10 * pairs * HEAD_SIZE,
            "padded batch",
        )
    for length in (114, 512):
        q = random(2, HEADS, 1, HEAD_SIZE)
        k, v = random(2, KV_HEADS, length, HEAD_SIZE), random(2, KV_HEADS, length, HEAD_SIZE)
        yield (
            "AttentionDecode.decode",
            f"length {length}",
            lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
            8 * HEADS * HEAD_SIZE * length,
            "",
        )

    x = random(ROWS, HIDDEN)
    norm = random(HIDDEN)
    yield "Elementwise.rmsNorm", "", lambda: F.rms_norm(x, (HIDDEN,), norm, 1e-5), 0, ""
    gate, up = random(ROWS, 2 * INNER).chunk(2, dim=-1)
    yield "Elementwise.swiglu", "", lambda: F.silu(gate) * up, 0, "two kernels"

    head, hidden = random(VOCABULARY, HIDDEN), random(RESPONSE, HIDDEN)
    targets = torch.randint(VOCABULARY, (RESPONSE,), device=device)

    def logprob():
        logits = F.linear(hidden, head).float()
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])

    yield "Head.logprob", "", logprob, 2 * RESPONSE * HIDDEN * VOCABULARY, "logits in memory; no entropy"
    two = random(2, HIDDEN)
    yield "Head.logits", "", lambda: F.linear(two, head), 4 * HIDDEN * VOCABULARY, ""

    parameter = torch.nn.Parameter(torch.zeros(parameters, device=device))
    parameter.grad = torch.full_like(parameter, 0.01)
    adam = torch.optim.AdamW([parameter], fused=True)
    yield "AdamW.step", f"parameters {parameters}", adam.step, 0, "fused"


def main() -> None:
    args = parse()
    wait = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None

    def measure(function) -> float:
        """Milliseconds of one call: the least of the rounds' means."""
        for _ in range(3):
            function()
        wait()
        best, end = float("inf"), time.perf_counter() + args.seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(args.calls):
                function()
            wait()
            best = min(best, (time.perf_counter() - start) / args.calls)
        return best * 1e3

    name = torch.cuda.get_device_name() if args.device.startswith("cuda") else args.device
    lines = [f"PyTorch {torch.__version__} on {name}, bf16, {args.calls} calls queued.", ""]
    lines += ["| benchmark | parameters | ms | GFLOP/s | |", "|---|---|---:|---:|---|"]
    with torch.no_grad():
        for case, parameters, function, operations, note in cases(args.device, args.parameters):
            ms = measure(function)
            rate = f"{operations / ms / 1e6:.0f}" if operations else ""
            lines.append(f"| {case} | {parameters} | {ms:.4f} | {rate} | {note} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table:
        with open(args.table, "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
