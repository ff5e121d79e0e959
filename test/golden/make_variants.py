"""Tiny random checkpoints with settings that the golden families leave out, and what transformers computes with them.

usage: make_variants.py FOLDER (PyTorch, transformers 5); then VARIANTS=FOLDER and the command in ../cut_golden.ts
"""

import os
import sys

import torch
import transformers as tf
from safetensors.torch import save_file

torch.manual_seed(5)
sizes = dict(vocab_size=160, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
tokens = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)
longrope = dict(rope_type='longrope', rope_theta=10000.0, partial_rotary_factor=0.75, original_max_position_embeddings=56,
                short_factor=[1 + 0.05 * i for i in range(6)], long_factor=[3 + 0.05 * i for i in range(6)])
stretched = dict(full_attention=dict(rope_type='linear', factor=8.0, rope_theta=1e6), sliding_attention=dict(rope_type='default', rope_theta=10000.0))

variants = {
    'llama-linear': tf.LlamaConfig(**sizes, num_key_value_heads=2, rope_parameters=dict(rope_type='linear', factor=4.0, rope_theta=10000.0)),
    'mistral-head': tf.MistralConfig(**sizes, num_key_value_heads=1, sliding_window=5, head_dim=24),
    'qwen2-window': tf.Qwen2Config(**sizes, num_key_value_heads=2, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    'qwen3-window-bias': tf.Qwen3Config(**sizes, num_key_value_heads=2, head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    'smollm3-window': tf.SmolLM3Config(**sizes, num_key_value_heads=2, no_rope_layer_interval=2, use_sliding_window=True, sliding_window=8, attention_bias=True, mlp_bias=True, **tokens),
    'gemma2-caps': tf.Gemma2Config(**sizes, num_key_value_heads=2, head_dim=16, sliding_window=8, query_pre_attn_scalar=24, attn_logit_softcapping=0.7, final_logit_softcapping=1.5, attention_bias=True, **tokens),
    'gemma3-linear': tf.Gemma3TextConfig(**sizes, num_key_value_heads=2, head_dim=16, sliding_window=8, query_pre_attn_scalar=24, sliding_window_pattern=2, rope_parameters=stretched, **tokens),
    'phi3-partial-longrope': tf.Phi3Config(**{**sizes, 'hidden_size': 64, 'max_position_embeddings': 128}, num_key_value_heads=2, original_max_position_embeddings=56, sliding_window=8, tie_word_embeddings=True, rope_parameters=longrope, **tokens),
    'opt-no-bias': tf.OPTConfig(vocab_size=160, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, enable_bias=False, dropout=0.0, activation_function='gelu', word_embed_proj_dim=32, _remove_final_layer_norm=True),
    'gpt2-scaled': tf.GPT2Config(vocab_size=160, n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=48, scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False, activation_function='gelu', resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=1, eos_token_id=2),
}
for name, config in variants.items():
    config._attn_implementation = 'eager'
    model = tf.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(8.0 if name == 'gemma2-caps' else 4.0)  # so that caps cap
    folder = os.path.join(sys.argv[1], name)
    model.save_pretrained(folder)
    ids = torch.randint(3, 160, (2, 16))
    result = model(ids, output_hidden_states=True, labels=ids)
    result.loss.backward()
    golden = {'input_ids': ids, 'logits': result.logits, 'loss': result.loss.reshape(1)}
    golden.update({f'hidden_states.{i}': state for i, state in enumerate(result.hidden_states)})
    golden.update({f'grad.{n}': p.grad for n, p in model.named_parameters() if p.grad is not None})
    save_file({key: value.detach().contiguous().clone() for key, value in golden.items()}, os.path.join(folder, 'golden.safetensors'))
