"""x"""
from __future__ import annotations
from collections.abc import Sequence
from typing import Any
import numpy as np
import torch
from selfemo.policy.trees.attention import enable
from selfemo.policy.trees.forest import Forest
from selfemo.policy.trees.tree import grow

WIDTHS: dict[str, int] = {
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "word_embed_proj_dim": 32, "dim": 32, "hidden_dim": 32,
    "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48, "d_ff": 48, "shared_expert_intermediate_size": 16, "moe_intermediate_size": 16,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "decoder_attention_heads": 4, "encoder_attention_heads": 4, "attention_heads":4,
    "num_key_value_heads": 2,
    "head_dim": 8, "v_head_dim": 8,
    "vocab_size": 64,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "sliding_window": 6, "attention_chunk_size": 6,
}
def miniature(config: Any) -> Any:
    from transformers import AutoModelForCausalLM
    d = config.to_dict()
    def walk(d):
        for k,v in list(d.items()):
            if k in ("id2label","label2id"): continue
            if isinstance(v, dict): walk(v)
            elif k in WIDTHS and isinstance(v,int) and not isinstance(v,bool): d[k]=min(v,WIDTHS[k])
            elif k.endswith("token_id"): d[k]=None
            elif k in ("num_hidden_layers","n_layer","n_layers","num_layers"): d[k]=min(v,4)
            elif k in ("layer_types","mlp_layer_types") and v: d[k]=v[:4]
    walk(d)
    d.pop("architectures",None)
    c=type(config).from_dict(d)
    with torch.device("meta"):
        n=sum(q.numel() for q in AutoModelForCausalLM.from_config(c).parameters())
    if n>3e7: raise ValueError(f"still {n/1e6:.0f}M")
    torch.manual_seed(0)
    m=AutoModelForCausalLM.from_config(c,dtype=torch.float32,attn_implementation="eager").eval()
    with torch.no_grad():
        for p in m.parameters():
            if p.dim()>1: p.normal_(0,0.3)
    return m

def difference(model):
    rng=np.random.default_rng(0)
    V=model.get_input_embeddings().weight.shape[0]
    ids=lambda n: rng.integers(3,V,n).tolist()
    trunk=ids(12)
    starts=[[*trunk,*ids(3)],[*trunk,*ids(5)], trunk[:9]]
    ends=[ids(3) for _ in starts]
    with torch.no_grad():
        plain=[model(input_ids=torch.tensor([[*s,*e]])).logits[0,len(s)-1:].float() for s,e in zip(starts,ends)]
        enable(model)
        tree=grow(starts,0)
        last=np.array([p[-1] for p in tree.paths])
        keep,at=np.unique(last,return_inverse=True)
        f=Forest(model,[tree],2,keep)
        order=np.argsort(last)
        out=[f.logits[at]]
        f.watch(np.zeros(len(starts),dtype=np.int64),[tree.paths[i] for i in range(len(starts))])
        depth=np.array([len(s) for s in starts])
        for j in range(3):
            out.append(f.add(np.array([e[j] for e in ends]),depth+j,np.arange(len(starts))))
    worst=0.
    for i,p in enumerate(plain):
        got=torch.stack([o[i] for o in out]).float()
        worst=max(worst,float((got.log_softmax(-1)-p.log_softmax(-1)).abs().max()))
    return worst
