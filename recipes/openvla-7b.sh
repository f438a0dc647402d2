#!/bin/sh
# The stages of `rlrc pipeline openvla-7b --init openvla-7b`, one plain command each.
# Every command but prune and quantize goes on where it was interrupted; those two
# write a folder whole or not at all, and refuse one that is there.
set -e

# collect
rlrc collect --episode-set official_ind --episodes 16384 --image-size-px 224 --out runs/openvla-7b/collect

# sft
rlrc sft --data runs/openvla-7b/collect --init openvla-7b --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/dense

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --ratio 0.9 --ratio-of decoder --round-to 128 --out runs/openvla-7b/prune

# sft
rlrc sft --init runs/openvla-7b/prune --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/recover

# quantize
rlrc quantize runs/openvla-7b/recover/checkpoint --data runs/openvla-7b/collect --decoder int4 --vision int4 --projector int4 --group-size 128 --rounding gptq --out runs/openvla-7b/recover-int4

# rl
rlrc rl --init runs/openvla-7b/recover/checkpoint --bc demonstrations --data runs/openvla-7b/collect --episode-set official_ind --total-timesteps 604160 --num-envs 64 --num-minibatches 32 --microbatch-size 20 --lora-rank 32 --precision bf16 --bc-sigma 0.0 --eval-every 10 --eval-episodes 64 --processes 16 --out runs/openvla-7b/rl

# quantize
rlrc quantize runs/openvla-7b/rl/checkpoint --data runs/openvla-7b/collect --decoder int4 --vision int4 --projector int4 --group-size 128 --rounding gptq --out runs/openvla-7b/quantize

# evaluate
rlrc evaluate runs/openvla-7b/dense/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --strips 3 --out runs/openvla-7b/evaluation/dense
rlrc evaluate runs/openvla-7b/prune --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/pruned
rlrc evaluate runs/openvla-7b/recover/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/pruned-sft
rlrc evaluate runs/openvla-7b/recover-int4 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/pruned-sft-int4
rlrc evaluate runs/openvla-7b/rl/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --strips 3 --out runs/openvla-7b/evaluation/rlrc
rlrc evaluate runs/openvla-7b/quantize --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/rlrc-4bit

# timing
rlrc timing runs/openvla-7b/dense/checkpoint runs/openvla-7b/prune runs/openvla-7b/recover/checkpoint runs/openvla-7b/recover-int4 runs/openvla-7b/rl/checkpoint runs/openvla-7b/quantize --names dense pruned pruned-sft pruned-sft-int4 rlrc rlrc-4bit --out runs/openvla-7b/timing-chain

# quantize
rlrc quantize runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --out runs/openvla-7b/int8
rlrc quantize runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --decoder nf4 --vision nf4 --projector nf4 --rounding nearest --out runs/openvla-7b/nf4
rlrc quantize runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --decoder int4 --vision int4 --projector int4 --group-size 128 --rounding gptq --out runs/openvla-7b/int4

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --method magnitude --ratio 0.2 --ratio-of decoder --out runs/openvla-7b/magnitude-20

# sft
rlrc sft --init runs/openvla-7b/magnitude-20 --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/magnitude-20-sft

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --method wanda --ratio 0.2 --ratio-of decoder --out runs/openvla-7b/wanda-20

# sft
rlrc sft --init runs/openvla-7b/wanda-20 --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/wanda-20-sft

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --method llm-pruner --ratio 0.2 --ratio-of decoder --out runs/openvla-7b/llm-pruner-20

# sft
rlrc sft --init runs/openvla-7b/llm-pruner-20 --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/llm-pruner-20-sft

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --method flap --ratio 0.2 --ratio-of decoder --out runs/openvla-7b/flap-20

# sft
rlrc sft --init runs/openvla-7b/flap-20 --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/flap-20-sft

# quantize
rlrc quantize runs/openvla-7b/recover/checkpoint --data runs/openvla-7b/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --out runs/openvla-7b/recover-int8

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --keep-layers 8 --ratio 0.9 --ratio-of decoder --round-to 128 --out runs/openvla-7b/fewer-wider

# sft
rlrc sft --init runs/openvla-7b/fewer-wider --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/fewer-wider-sft

# prune
rlrc prune runs/openvla-7b/dense/checkpoint --data runs/openvla-7b/collect --loss robot --ratio 0.9 --ratio-of decoder --round-to 128 --out runs/openvla-7b/robot-loss

# sft
rlrc sft --init runs/openvla-7b/robot-loss --data runs/openvla-7b/collect --keep-statistics --episode-set official_ind --steps 10000 --batch-size 64 --accumulate 8 --learning-rate 0.0005 --bin-sigma 0.0 --auxiliary-weight 0.0 --augmentation openvla --ema-decay 0.0 --lora-rank 32 --precision bf16 --eval-every 2500 --eval-episodes 64 --processes 16 --out runs/openvla-7b/robot-loss-sft

# evaluate
rlrc evaluate runs/openvla-7b/int8 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/int8
rlrc evaluate runs/openvla-7b/nf4 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/nf4
rlrc evaluate runs/openvla-7b/int4 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/int4
rlrc evaluate runs/openvla-7b/magnitude-20 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/magnitude-20
rlrc evaluate runs/openvla-7b/magnitude-20-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/magnitude-20-sft
rlrc evaluate runs/openvla-7b/wanda-20 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/wanda-20
rlrc evaluate runs/openvla-7b/wanda-20-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/wanda-20-sft
rlrc evaluate runs/openvla-7b/llm-pruner-20 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/llm-pruner-20
rlrc evaluate runs/openvla-7b/llm-pruner-20-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/llm-pruner-20-sft
rlrc evaluate runs/openvla-7b/flap-20 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/flap-20
rlrc evaluate runs/openvla-7b/flap-20-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/flap-20-sft
rlrc evaluate runs/openvla-7b/dense/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --runtime vla-cache --out runs/openvla-7b/evaluation/vla-cache
rlrc evaluate runs/openvla-7b/recover-int8 --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/pruned-sft-int8
rlrc evaluate runs/openvla-7b/fewer-wider-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/fewer-wider
rlrc evaluate runs/openvla-7b/robot-loss-sft/checkpoint --set official_ind,official_ood --episodes 500 --videos 0 --out runs/openvla-7b/evaluation/robot-loss
rlrc evaluate runs/openvla-7b/dense/checkpoint --set official_unseen_table,official_texture_weak,official_texture_strong,official_whole_weak,official_whole_strong,official_unseen_object,official_unseen_receptacle,official_paraphrase,official_second_object,official_second_receptacle,official_position,official_initial_pose,official_object_moved --episodes 100 --videos 0 --out runs/openvla-7b/axes/dense
rlrc evaluate runs/openvla-7b/rl/checkpoint --set official_unseen_table,official_texture_weak,official_texture_strong,official_whole_weak,official_whole_strong,official_unseen_object,official_unseen_receptacle,official_paraphrase,official_second_object,official_second_receptacle,official_position,official_initial_pose,official_object_moved --episodes 100 --videos 0 --out runs/openvla-7b/axes/rlrc
rlrc evaluate runs/openvla-7b/quantize --set official_unseen_table,official_texture_weak,official_texture_strong,official_whole_weak,official_whole_strong,official_unseen_object,official_unseen_receptacle,official_paraphrase,official_second_object,official_second_receptacle,official_position,official_initial_pose,official_object_moved --episodes 100 --videos 0 --out runs/openvla-7b/axes/rlrc-4bit

# timing
rlrc timing runs/openvla-7b/dense/checkpoint runs/openvla-7b/int8 runs/openvla-7b/nf4 runs/openvla-7b/int4 runs/openvla-7b/magnitude-20 runs/openvla-7b/magnitude-20-sft/checkpoint runs/openvla-7b/wanda-20 runs/openvla-7b/wanda-20-sft/checkpoint runs/openvla-7b/llm-pruner-20 runs/openvla-7b/llm-pruner-20-sft/checkpoint runs/openvla-7b/flap-20 runs/openvla-7b/flap-20-sft/checkpoint runs/openvla-7b/dense/checkpoint runs/openvla-7b/prune runs/openvla-7b/recover/checkpoint runs/openvla-7b/recover-int8 runs/openvla-7b/recover-int4 runs/openvla-7b/rl/checkpoint runs/openvla-7b/quantize runs/openvla-7b/fewer-wider-sft/checkpoint runs/openvla-7b/robot-loss-sft/checkpoint --names dense int8 nf4 int4 magnitude-20 magnitude-20-sft wanda-20 wanda-20-sft llm-pruner-20 llm-pruner-20-sft flap-20 flap-20-sft vla-cache pruned pruned-sft pruned-sft-int8 pruned-sft-int4 rlrc rlrc-4bit fewer-wider robot-loss --vla-cache vla-cache --out runs/openvla-7b/timing

# report
rlrc report runs/openvla-7b --out docs/results
