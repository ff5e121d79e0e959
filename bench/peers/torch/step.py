"""A finetuning step of a multi-Boolean LLaMA in PyTorch on CPUs, as one would write it: latent weights in f32 behind a
straight-through sign, products in bf16 by autocast, AdamW. A contender of ../contender.mjs: its settings are JSON, its last
argument; it says so when it is ready, and measures a step for every line on stdin."""

import json
import resource
import sys
import time

import torch
import torch.nn.functional as F

settings = json.loads(sys.argv[-1])


def say(answer):
    print(json.dumps(answer), flush=True)


class Form(torch.autograd.Function):
    """W = sum over k of diag(s_out) sign(latent) diag(s_in), gradients straight through the sign. One function, so that no
    product on the way is kept for the backward pass."""

    @staticmethod
    def forward(ctx, latent, s_out, s_in):
        ctx.save_for_backward(latent, s_out, s_in)
        formed = torch.zeros(latent.shape[1:])
        for bits, scales in zip(latent, s_out.unsqueeze(2) * s_in.unsqueeze(1)):
            formed.addcmul_(bits.sign(), scales)
        return formed

    @staticmethod
    def backward(ctx, gradient):
        latent, s_out, s_in = ctx.saved_tensors
        signed = latent.sign() * gradient
        to_out = torch.bmm(signed, s_in.unsqueeze(2)).squeeze(2)
        to_in = torch.bmm(s_out.unsqueeze(1), signed).squeeze(1)
        return s_out.unsqueeze(2) * s_in.unsqueeze(1) * gradient, to_out, to_in


class BooleanWeight(torch.nn.Module):
    """`form` makes the weight once a step for all micro-batches, as a leaf that collects their gradients; `finish` carries
    their sum on to latent weights and scales."""

    def __init__(self, outputs, inputs, kernels):
        super().__init__()
        self.latent = torch.nn.Parameter(torch.randn(kernels, outputs, inputs) * 0.02)
        self.s_out = torch.nn.Parameter(torch.full((kernels, outputs), inputs**-0.5))
        self.s_in = torch.nn.Parameter(torch.ones(kernels, inputs))

    def form(self):
        self.formed = Form.apply(self.latent, self.s_out, self.s_in)
        self.leaf = self.formed.detach().requires_grad_()

    def finish(self):
        self.formed.backward(self.leaf.grad)
        self.formed = self.leaf = None


class DenseWeight(torch.nn.Module):
    """A frozen layer of the teacher."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.leaf = (torch.randn(outputs, inputs) * inputs**-0.5).bfloat16()


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Block(torch.nn.Module):
    def __init__(self, shape, weight):
        super().__init__()
        hidden, ffn, heads, kv_heads = (shape[key] for key in ("hidden", "ffn", "heads", "kvHeads"))
        self.heads, self.kv_heads, self.size = heads, kv_heads, hidden // heads
        kv = self.size * kv_heads
        self.norms = torch.nn.ParameterList(torch.ones(hidden) for _ in range(2))
        sizes = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
        sizes |= {"gate": (ffn, hidden), "up": (ffn, hidden), "down": (hidden, ffn)}
        self.weights = torch.nn.ModuleDict({name: weight(*size) for name, size in sizes.items()})

    def linear(self, name, x):
        return F.linear(x, self.weights[name].leaf)

    def forward(self, x, cos, sin):
        batch, length, hidden = x.shape
        y = F.rms_norm(x, (hidden,), self.norms[0], 1e-5)
        split = lambda name, heads: self.linear(name, y).view(batch, length, heads, self.size).transpose(1, 2)
        q, k, v = split("q", self.heads), split("k", self.kv_heads), split("v", self.kv_heads)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = F.scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype), is_causal=True, enable_gqa=True)
        x = x + self.linear("o", mixed.transpose(1, 2).reshape(batch, length, hidden))
        y = F.rms_norm(x, (hidden,), self.norms[1], 1e-5)
        return x + self.linear("down", F.silu(self.linear("gate", y)) * self.linear("up", y))


class Llama(torch.nn.Module):
    """Embeddings and head are frozen, as in mbok's default."""

    def __init__(self, shape, weight):
        super().__init__()
        hidden, vocab = shape["hidden"], shape["vocab"]
        self.embeddings = torch.randn(vocab, hidden).bfloat16()
        self.head = (torch.randn(vocab, hidden) * hidden**-0.5).bfloat16()
        self.blocks = torch.nn.ModuleList(Block(shape, weight) for _ in range(shape["layers"]))
        self.norm = torch.nn.Parameter(torch.ones(hidden))
        size = hidden // shape["heads"]
        rates = 10000 ** -(torch.arange(0, size, 2) / size)
        angles = torch.outer(torch.arange(settings["window"]), torch.cat((rates, rates)))
        self.cos, self.sin = angles.cos().bfloat16(), angles.sin().bfloat16()

    def forward(self, ids):
        x = F.embedding(ids, self.embeddings).float()
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        x = F.rms_norm(x, (x.shape[-1],), self.norm, 1e-5)
        return F.linear(x, self.head).flatten(0, 1).float()


class Step:
    def __init__(self):
        shape, kernels = settings["shape"], settings["kernels"]
        self.student = Llama(shape, lambda outputs, inputs: BooleanWeight(outputs, inputs, kernels))
        self.teacher = Llama(shape, DenseWeight) if settings["teacher"] else None
        self.weights = [module for module in self.student.modules() if isinstance(module, BooleanWeight)]
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-3, fused=True)

    def loss(self, ids, targets):
        logits = self.student(ids)
        if self.teacher is None:
            return F.cross_entropy(logits, targets.flatten())
        with torch.no_grad():
            wanted = F.log_softmax(self.teacher(ids), dim=-1)
        return F.kl_div(F.log_softmax(logits, dim=-1), wanted, reduction="batchmean", log_target=True)

    def run(self):
        batch, window, micro = (settings[key] for key in ("batch", "window", "microBatch"))
        tokens = torch.randint(settings["shape"]["vocab"], (batch, window + 1))
        start = time.perf_counter()
        for weight in self.weights:
            weight.form()
        for ids in tokens.split(micro):
            with torch.autocast("cpu", torch.bfloat16):
                loss = self.loss(ids[:, :-1], ids[:, 1:])
            (loss * (micro / batch)).backward()
        for weight in self.weights:
            weight.finish()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        if not torch.isfinite(loss):
            raise ValueError("the loss is not finite")
        return seconds


def main():
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(1)
    step = Step()
    step.run()  # the first one allocates
    say({"torch": torch.__version__, "threads": torch.get_num_threads()})
    for _ in sys.stdin:
        seconds = step.run()
        say({"seconds": seconds, "peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


try:
    main()
except Exception as error:
    say({"error": f"{type(error).__name__}: {error}"})
