"""Settings of the method, section by section, each with its default; :mod:`selfemo.config.platform` has the others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from selfemo import addresses
from selfemo.config.section import Section


class WarmupSettings(Section):
    """The supervised start on a few gold dialogues."""

    dialogues: int = Field(32, ge=0)
    """Labelled dialogues for the supervised start, drawn by seed; 0 skips the warm-up."""
    selection: int = Field(0, ge=0)
    """How many of them are not learnt from: rounds are scored and gated on them, instead of on the evaluation split,
    and their labels say what each voice of the consensus counts."""
    epochs: int = Field(3, ge=0)
    """0 takes the base as it is, warmed up before; its labelled dialogues are set apart all the same."""
    learning_rate: float = Field(3e-5, gt=0)
    """AdamW's."""
    dialogues_per_step: int = Field(4, ge=1)
    """Dialogues whose gradients one optimizer step averages."""
    expression_turns: int = Field(4, ge=0)
    """Most turns of a dialogue that are also learnt as replies."""
    expression_weight: float = Field(0.2, ge=0)
    """What a token of a reply counts, against 1 for a token of a label set: replies are long, labels decide."""

    @field_validator("selection")
    @classmethod
    def _some_left(cls, selection: int, info: ValidationInfo) -> int:
        if selection and selection >= info.data.get("dialogues", 0):
            raise ValueError("must be less than warmup.dialogues: it is a part of them")
        return selection


class SelfPlaySettings(Section):
    """Generation of rollouts."""

    episodes: int = Field(16, ge=0)
    """Seed prefixes that the two roles continue, per round."""
    turns: int = Field(2, ge=1)
    """H: turns generated in an episode."""
    candidates: int = Field(4, ge=1)
    """J: candidate replies for each generated turn."""
    corpus_dialogues: int = Field(16, ge=0)
    """Unlabelled corpus dialogues, all of whose turns are predicted, per round."""
    views: tuple[int, ...] = (24, 6, 2, 1)
    """Most turns, the last one included, that the recogniser sees, one view after the other; empty is as prompts do."""
    cross_role: bool = False
    """The responder, too, says what a corpus turn expresses: how well each answer accounts for what was said."""
    words: bool = True
    """A bag of words, fitted on the labelled dialogues, says it as well."""
    listeners: tuple[int, ...] = ()
    """Views, as above, of those who read sampled replies: a reply counts as it is read by the one who finds least of
    what it declares. Empty is one listener, who sees as much as prompts do."""
    temperature: float = Field(1.0, gt=0)
    """Of sampled replies."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Replies are sampled from the likeliest tokens that have this much of the probability together."""
    tau: float = Field(0.2, gt=0)
    """The next turn is drawn with probability proportional to exp(x_j / tau)."""
    max_reply_tokens: int = Field(40, ge=8)
    """Longest reply that is sampled; a label set before it is given the room that it needs."""

    @field_validator("views", "listeners")
    @classmethod
    def _views(cls, views: tuple[int, ...]) -> tuple[int, ...]:
        if any(v < 1 for v in views):
            raise ValueError("a view has at least the turn itself: 1")
        if len(set(views)) < len(views):
            raise ValueError("a view is named twice")
        return views


class RewardsSettings(Section):
    """Smoothed IoU and the weights of the reward parts."""

    smoothing: float = Field(0.1, gt=0)
    """s of the smoothed IoU."""
    align: float = Field(1.0, ge=0)
    """Weight of how far an answer is the target, or a reply is read as what it means to express."""
    consistency: float = Field(0.0, ge=0)
    """Weight of how far the other role agrees: about a turn the responder (if not asked, ``selfplay.cross_role``, the
    recogniser itself, which adds nothing), about a reply how sure its listeners are."""
    format: float = Field(0.1, ge=0)
    """Weight of an answer in the form that was asked for."""
    affinity: dict[str, float] = Field(default_factory=dict)
    """Label affinity by pair, such as anger~disgust: 0.5; pairs of labels a corpus lacks do not apply to it."""


class FlywheelSettings(Section):
    """What is kept of the rollouts."""

    use_gold: bool = False
    """Use gold labels of corpus turns as targets (semi-supervised)."""
    calibration: float = Field(0.5, ge=0, le=1)
    """At 1 labels count so that they are as likely as they are frequent among labelled turns; at 0 all alike. These
    turns are few, so half of the correction (its root) is taken."""
    tau_reward: float = Field(0.3, ge=0, le=1)
    """Least smoothed IoU with the target."""
    tau_low: float = Field(0.0, ge=0, le=1)
    """Least confidence of what is read in a turn or a reply; 0.18 is that of seven labels that are all alike."""
    max_words: int = Field(40, ge=1)
    """Longest reply."""
    near_duplicate: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity of word 3-shingles from which a kept turn or reply makes another a duplicate."""
    share: float = Field(1.0, gt=0, le=1)
    """Most confident share that is kept of the samples led by each label."""
    quota: float = Field(1.0, gt=0, le=1)
    """Largest share of kept samples of a task that one label may lead, of those not yet capped."""
    samples: int = Field(32, ge=1)
    """Most training prompts a round hands on, per task."""


class GrpoSettings(Section):
    """SELF-GRPO."""

    objective: Literal["self-grpo", "cross-entropy"] = "self-grpo"
    """cross-entropy learns the targets as if they were gold: plain self-training, to compare with."""
    understanding: Literal["exact", "sampled"] = "exact"
    """How understanding is learnt: by the expectation over all allowed answers, or from a sampled group, as stock GRPO.
    What is said of groups, clipping and divergence concerns sampled groups: those of expression, and these."""
    entropy: float = Field(0.25, ge=0)
    """tau of exact understanding: what a nat of the policy's entropy counts, in units of reward. It keeps the policy
    about as much in doubt as its targets are; 0 has it sure of the likeliest answer (and rewards are not divided by
    it, so that they weigh less beside the replay)."""
    group: int = Field(8, ge=2)
    """G: completions for each prompt."""
    prompts_per_step: int = Field(2, ge=1)
    """Over all processes; prompts of one dialogue fall into one step where they can."""
    replay: int = Field(1, ge=0)
    """Labelled dialogues learnt again in each step, over all processes: an anchor where rewards are noisy."""
    replay_weight: float = Field(1.0, gt=0)
    """Weight of their cross-entropy, against 1 for the GRPO loss."""
    iterations: int = Field(1, ge=1)
    """Optimizer steps on each batch of rollouts; from the second on, the clipped ratio to the old policy counts."""
    epochs: int = Field(1, ge=1)
    """Passes over a round's samples."""
    learning_rate: float = Field(3e-5, gt=0)
    """AdamW's at the start of a round; it falls to 0 along a cosine."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL divergence to the round's first policy."""
    epsilon: float = Field(0.2, gt=0)
    """How far the ratio to the old policy may leave 1 before it is clipped."""
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "grpo"
    """How TRL takes the mean over tokens and completions."""
    sigma_min: float = Field(0.05, gt=0)
    """Floor under the reward deviation that advantages are divided by."""
    confidence_low: float = Field(0.0, ge=0, le=1)
    """See confidence_high."""
    confidence_high: float = Field(0.0, ge=0, le=1, validate_default=True)
    """Confidence c of a pseudo-label at which it counts nothing, and fully; at 0 and 0 all count alike: the rewards
    of a doubtful target say so themselves."""
    balance: float = Field(0.0, ge=0, le=1)
    """At 1 the labels of targets count as they occur among labelled turns, at 0 as often as the policy says them."""
    lora_rank: int = Field(0, ge=0)
    """0 trains all weights; self-grpo alone knows adapters."""
    lora_merge: bool = True
    """Publish whole weights; false publishes the adapter alone, over the policy it was trained from."""
    rollouts: Literal["transformers", "vllm-colocate", "vllm-server"] = "transformers"
    """What samples inside training: our sampler, or TRL's vLLM in the same GPUs or on a server of `trl vllm-serve`."""
    vllm_server: str | None = Field(None, validate_default=True)
    """Base URL of that server."""
    save_steps: int = Field(8, ge=1)
    """Optimizer steps between checkpoints."""

    @field_validator("confidence_high")
    @classmethod
    def _in_order(cls, high: float, info: ValidationInfo) -> float:
        if high < info.data.get("confidence_low", 0.0):
            raise ValueError("confidence_high is below confidence_low: set both")
        return high

    @field_validator("lora_rank")
    @classmethod
    def _adapters(cls, rank: int, info: ValidationInfo) -> int:
        if rank and info.data.get("objective") == "cross-entropy":
            raise ValueError("objective: cross-entropy trains all weights; set lora_rank: 0")
        return rank

    @field_validator("vllm_server")
    @classmethod
    def _served(cls, server: str | None, info: ValidationInfo) -> str | None:
        if (info.data.get("rollouts") == "vllm-server") != (server is not None):
            raise ValueError("set vllm_server with rollouts: vllm-server, and only with it")
        return None if server is None else addresses.web(server)


class EvaluationSettings(Section):
    """Scores on held-out dialogues."""

    split: Literal["dev", "test"] = "dev"
    """Whose dialogues are scored, and decide at the gate unless warmup.selection does."""
    dialogues: int | None = Field(None, ge=2)
    """Only the first N held-out dialogues of each corpus; null is all."""
    replies: int = Field(32, ge=0)
    """Held-out prefixes that the policy replies to, for expression consistency."""
    judge: str = "embedding"
    """The reader outside the loop: embedding, tfidf or characters, a probe of sentence embeddings, words or characters
    that is fitted on gold, or a Hugging Face text classifier by name or directory. embedding is of English; characters
    takes any language, though where one has no spaces it is of a kind with selfplay.words, so that a classifier of that
    language judges better."""
    bootstrap: int = Field(1000, ge=100)
    """Resamples of dialogues behind every interval."""


class GuardSettings(Section):
    """When a policy has collapsed: the round is stopped and marked, the champion stays. 0 turns a lower bound off."""

    min_label_entropy: float = Field(0.3, ge=0)
    """In nats, on the corpus where it is lowest: of what the policy predicts for the round's turns and as challenger
    for held-out ones, before any calibration, and of the emotions that the round's replies declare."""
    min_eligible: float = Field(0.02, ge=0, le=1)
    """Least share of a round's candidates that are fit to be kept, whether or not there is room for them."""
    min_distinct_2: float = Field(0.2, ge=0, le=1)
    """Least distinct-2 of replies as they are sampled: of the round's, and of the challenger's on held-out prefixes."""
    max_most_frequent: float = Field(0.25, ge=0, le=1)
    """Largest share of the reply that is said most often, signs aside, among 16 and more; 1 turns it off. A stock reply
    of one word has no pair of words that distinct-2 could count."""


class GateSettings(Section):
    """When a challenger becomes champion."""

    min_gain: float = Field(0.0, ge=-1, le=1)
    """The gain on the first corpus must be above this, and beyond chance: in weighted F1, or where its gold has sets of
    labels, in micro F1 of label decisions. -1 opens the gate: no test."""
    max_drop: float = Field(0.02, ge=0, le=1)
    """A fall of a corpus's figure by more than this, and beyond chance, keeps the champion."""

    @field_validator("min_gain")
    @classmethod
    def _of_use(cls, gain: float) -> float:
        if -1 < gain < 0:
            raise ValueError("a gain beyond chance is above 0 anyway: set 0 or more, or -1 for a gate without a test")
        return gain


class LoopSettings(Section):
    """How long the flywheel turns."""

    rounds: int = Field(2, ge=0, le=10)
    """0 is the warm-up alone."""
    patience: int = Field(2, ge=1)
    """Rounds in a row without promotion after which the loop stops."""
