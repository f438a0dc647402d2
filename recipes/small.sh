#!/bin/sh
# The stages of `rlrc pipeline small`, one plain command each.
# Every command but prune and quantize goes on where it was interrupted; those two
# write a folder whole or not at all, and refuse one that is there.
set -e

# collect
rlrc collect --episode-set put25_choice --episodes 16384 --image-size-px 192 --out runs/small/collect
rlrc collect --episode-set put25_choice --episodes 16384 --scatter 40 --first-seed 50000000 --image-size-px 192 --out runs/small/scatter

# sft
rlrc sft --data runs/small/collect runs/small/scatter --episode-set put25_choice --preset small --steps 60000 --batch-size 256 --learning-rate 0.0005 --warmup-steps 1000 --gripper-weight 4 --precision bf16 --eval-every 10000 --eval-episodes 100 --processes 8 --out runs/small/dense-first

# collect
rlrc collect --policy runs/small/dense-first/checkpoint --episode-set put25_choice --first-seed 2000000 --policy-steps 60 --max-steps 100 --noise-m 0.003 --noise-rad 0.02 --burst-probability 0.03 --episodes 2000 --image-size-px 192 --out runs/small/dagger

# sft
rlrc sft --data runs/small/collect runs/small/scatter runs/small/dagger --init runs/small/dense-first/checkpoint --episode-set put25_choice --preset small --steps 20000 --batch-size 256 --learning-rate 0.0003 --warmup-steps 1000 --gripper-weight 4 --precision bf16 --eval-every 5000 --eval-episodes 100 --processes 8 --out runs/small/dense

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --ratio 0.9 --ratio-of layer --round-to 64 --out runs/small/prune

# sft
rlrc sft --init runs/small/prune --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/recover

# quantize
rlrc quantize runs/small/recover/checkpoint --data runs/small/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --out runs/small/recover-int4

# rl
rlrc rl --init runs/small/recover/checkpoint --bc demonstrations --data runs/small/collect runs/small/scatter runs/small/dagger --episode-set put25_choice --total-timesteps 604160 --num-envs 64 --num-minibatches 32 --end-on-success --best-by success_once --eval-every 10 --eval-episodes 100 --out runs/small/rl

# quantize
rlrc quantize runs/small/rl/checkpoint --data runs/small/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --out runs/small/quantize

# evaluate
rlrc evaluate runs/small/dense/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --strips 3 --out runs/small/evaluation/dense
rlrc evaluate runs/small/prune --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/pruned
rlrc evaluate runs/small/recover/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/pruned-sft
rlrc evaluate runs/small/recover-int4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/pruned-sft-int4
rlrc evaluate runs/small/rl/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --strips 3 --out runs/small/evaluation/rlrc
rlrc evaluate runs/small/quantize --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/rlrc-4bit

# timing
rlrc timing runs/small/dense/checkpoint runs/small/prune runs/small/recover/checkpoint runs/small/recover-int4 runs/small/rl/checkpoint runs/small/quantize --names dense pruned pruned-sft pruned-sft-int4 rlrc rlrc-4bit --out runs/small/timing-chain

# quantize
rlrc quantize runs/small/dense/checkpoint --data runs/small/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --stem --embeddings int8 --out runs/small/int8
rlrc quantize runs/small/dense/checkpoint --data runs/small/collect --decoder nf4 --vision nf4 --projector nf4 --rounding nearest --stem --embeddings int8 --out runs/small/nf4
rlrc quantize runs/small/dense/checkpoint --data runs/small/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --out runs/small/int4

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --method magnitude --ratio 0.2 --ratio-of decoder --out runs/small/magnitude-20

# sft
rlrc sft --init runs/small/magnitude-20 --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --keep-zeros --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/magnitude-20-sft

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --method wanda --ratio 0.2 --ratio-of decoder --out runs/small/wanda-20

# sft
rlrc sft --init runs/small/wanda-20 --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --keep-zeros --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/wanda-20-sft

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --method llm-pruner --ratio 0.2 --ratio-of decoder --out runs/small/llm-pruner-20

# sft
rlrc sft --init runs/small/llm-pruner-20 --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/llm-pruner-20-sft

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --method flap --ratio 0.2 --ratio-of decoder --out runs/small/flap-20

# sft
rlrc sft --init runs/small/flap-20 --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/flap-20-sft

# quantize
rlrc quantize runs/small/recover/checkpoint --data runs/small/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --stem --embeddings int8 --out runs/small/recover-int8

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --keep-layers 3 --ratio 0.9 --ratio-of layer --round-to 64 --out runs/small/fewer-wider

# sft
rlrc sft --init runs/small/fewer-wider --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/fewer-wider-sft

# prune
rlrc prune runs/small/dense/checkpoint --data runs/small/collect runs/small/scatter runs/small/dagger --loss robot --ratio 0.9 --ratio-of layer --round-to 64 --out runs/small/robot-loss

# sft
rlrc sft --init runs/small/robot-loss --data runs/small/collect runs/small/scatter runs/small/dagger --distill runs/small/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 10000 --batch-size 256 --learning-rate 0.0003 --gripper-weight 4 --precision bf16 --eval-every 2500 --eval-episodes 100 --processes 8 --out runs/small/robot-loss-sft

# evaluate
rlrc evaluate runs/small/int8 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/int8
rlrc evaluate runs/small/nf4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/nf4
rlrc evaluate runs/small/int4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/int4
rlrc evaluate runs/small/magnitude-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/magnitude-20
rlrc evaluate runs/small/magnitude-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/magnitude-20-sft
rlrc evaluate runs/small/wanda-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/wanda-20
rlrc evaluate runs/small/wanda-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/wanda-20-sft
rlrc evaluate runs/small/llm-pruner-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/llm-pruner-20
rlrc evaluate runs/small/llm-pruner-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/llm-pruner-20-sft
rlrc evaluate runs/small/flap-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/flap-20
rlrc evaluate runs/small/flap-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/flap-20-sft
rlrc evaluate runs/small/dense/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --runtime vla-cache --out runs/small/evaluation/vla-cache
rlrc evaluate runs/small/recover-int8 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/pruned-sft-int8
rlrc evaluate runs/small/fewer-wider-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/fewer-wider
rlrc evaluate runs/small/robot-loss-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/small/evaluation/robot-loss
rlrc evaluate runs/small/dense/checkpoint --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/small/axes/dense
rlrc evaluate runs/small/rl/checkpoint --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/small/axes/rlrc
rlrc evaluate runs/small/quantize --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/small/axes/rlrc-4bit

# timing
rlrc timing runs/small/dense/checkpoint runs/small/int8 runs/small/nf4 runs/small/int4 runs/small/magnitude-20 runs/small/magnitude-20-sft/checkpoint runs/small/wanda-20 runs/small/wanda-20-sft/checkpoint runs/small/llm-pruner-20 runs/small/llm-pruner-20-sft/checkpoint runs/small/flap-20 runs/small/flap-20-sft/checkpoint runs/small/dense/checkpoint runs/small/prune runs/small/recover/checkpoint runs/small/recover-int8 runs/small/recover-int4 runs/small/rl/checkpoint runs/small/quantize runs/small/fewer-wider-sft/checkpoint runs/small/robot-loss-sft/checkpoint --names dense int8 nf4 int4 magnitude-20 magnitude-20-sft wanda-20 wanda-20-sft llm-pruner-20 llm-pruner-20-sft flap-20 flap-20-sft vla-cache pruned pruned-sft pruned-sft-int8 pruned-sft-int4 rlrc rlrc-4bit fewer-wider robot-loss --vla-cache vla-cache --out runs/small/timing

# report
rlrc report runs/small --out docs/results
