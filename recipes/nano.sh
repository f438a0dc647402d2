#!/bin/sh
# The stages of `rlrc pipeline nano`, one plain command each.
# Every command but prune and quantize goes on where it was interrupted; those two
# write a folder whole or not at all, and refuse one that is there.
set -e

# collect
rlrc collect --episode-set put25_choice --episodes 3200 --out runs/nano/collect
rlrc collect --episode-set put25_choice --episodes 2500 --scatter 40 --first-seed 50000000 --out runs/nano/scatter

# sft
rlrc sft --data runs/nano/collect runs/nano/scatter --episode-set put25_choice --preset choice --steps 16000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --gripper-weight 4 --precision bf16 --eval-every 4000 --eval-episodes 60 --out runs/nano/dense-first

# collect
rlrc collect --policy runs/nano/dense-first/checkpoint --episode-set put25_choice --first-seed 2000000 --policy-steps 60 --max-steps 100 --noise-m 0.003 --noise-rad 0.02 --burst-probability 0.03 --episodes 700 --out runs/nano/dagger

# sft
rlrc sft --data runs/nano/collect runs/nano/scatter runs/nano/dagger --init runs/nano/dense-first/checkpoint --episode-set put25_choice --preset choice --steps 6000 --batch-size 32 --sentences 1 --learning-rate 0.0006 --gripper-weight 4 --precision bf16 --eval-every 2000 --eval-episodes 60 --warmup-steps 100 --data-weights 0.35 0.35 0.3 --out runs/nano/dense

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --ratio 0.9 --ratio-of layer --layers 1 12 --round-to 32 --vision-ratio 0.25 --out runs/nano/prune

# sft
rlrc sft --init runs/nano/prune --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/recover

# quantize
rlrc quantize runs/nano/recover/checkpoint --data runs/nano/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --head int4 --short-groups decoder vision projector --out runs/nano/recover-int4

# rl
rlrc rl --init runs/nano/recover/checkpoint --bc demonstrations --data runs/nano/collect runs/nano/scatter runs/nano/dagger --episode-set put25_choice --total-timesteps 76800 --num-envs 16 --num-steps 80 --num-minibatches 8 --update-epochs 2 --learning-rate 5e-05 --anneal-lr --target-kl 0.3 --no-bootstrap --critic-warmup-updates 4 --end-on-success --eval-stop-on-success --best-by success_once --eval-every 15 --eval-episodes 200 --out runs/nano/rl

# quantize
rlrc quantize runs/nano/rl/checkpoint --data runs/nano/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --head int4 --short-groups decoder vision projector --out runs/nano/quantize

# evaluate
rlrc evaluate runs/nano/dense/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --strips 3 --out runs/nano/evaluation/dense
rlrc evaluate runs/nano/prune --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/pruned
rlrc evaluate runs/nano/recover/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/pruned-sft
rlrc evaluate runs/nano/recover-int4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/pruned-sft-int4
rlrc evaluate runs/nano/rl/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --strips 3 --out runs/nano/evaluation/rlrc
rlrc evaluate runs/nano/quantize --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/rlrc-4bit

# timing
rlrc timing runs/nano/dense/checkpoint runs/nano/prune runs/nano/recover/checkpoint runs/nano/recover-int4 runs/nano/rl/checkpoint runs/nano/quantize --names dense pruned pruned-sft pruned-sft-int4 rlrc rlrc-4bit --dtype bfloat16 --blocks 12 --out runs/nano/timing-chain

# quantize
rlrc quantize runs/nano/dense/checkpoint --data runs/nano/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --stem --embeddings int8 --out runs/nano/int8
rlrc quantize runs/nano/dense/checkpoint --data runs/nano/collect --decoder nf4 --vision nf4 --projector nf4 --rounding nearest --stem --embeddings int8 --out runs/nano/nf4
rlrc quantize runs/nano/dense/checkpoint --data runs/nano/collect --decoder int4 --vision int4 --projector int4 --group-size 64 --rounding gptq --stem --embeddings int8 --head int4 --short-groups decoder vision projector --out runs/nano/int4

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --method magnitude --ratio 0.2 --ratio-of decoder --out runs/nano/magnitude-20

# sft
rlrc sft --init runs/nano/magnitude-20 --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --keep-zeros --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/magnitude-20-sft

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --method wanda --ratio 0.2 --ratio-of decoder --out runs/nano/wanda-20

# sft
rlrc sft --init runs/nano/wanda-20 --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --keep-zeros --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/wanda-20-sft

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --method llm-pruner --ratio 0.2 --ratio-of decoder --out runs/nano/llm-pruner-20

# sft
rlrc sft --init runs/nano/llm-pruner-20 --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/llm-pruner-20-sft

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --method flap --ratio 0.2 --ratio-of decoder --out runs/nano/flap-20

# sft
rlrc sft --init runs/nano/flap-20 --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/flap-20-sft

# quantize
rlrc quantize runs/nano/recover/checkpoint --data runs/nano/collect --decoder int8 --vision int8 --projector int8 --rounding nearest --stem --embeddings int8 --out runs/nano/recover-int8

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --keep-layers 3 --ratio 0.9 --ratio-of layer --layers 1 12 --round-to 32 --vision-ratio 0.25 --out runs/nano/fewer-wider

# sft
rlrc sft --init runs/nano/fewer-wider --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/fewer-wider-sft

# prune
rlrc prune runs/nano/dense/checkpoint --data runs/nano/collect runs/nano/scatter runs/nano/dagger --loss robot --ratio 0.9 --ratio-of layer --layers 1 12 --round-to 32 --vision-ratio 0.25 --out runs/nano/robot-loss

# sft
rlrc sft --init runs/nano/robot-loss --data runs/nano/collect runs/nano/scatter runs/nano/dagger --distill runs/nano/dense/checkpoint --keep-statistics --episode-set put25_choice --steps 12000 --batch-size 32 --sentences 2 --learning-rate 0.0008 --warmup-steps 100 --gripper-weight 4 --token-jitter 4 --precision bf16 --eval-every 3000 --eval-episodes 60 --out runs/nano/robot-loss-sft

# evaluate
rlrc evaluate runs/nano/int8 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/int8
rlrc evaluate runs/nano/nf4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/nf4
rlrc evaluate runs/nano/int4 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/int4
rlrc evaluate runs/nano/magnitude-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/magnitude-20
rlrc evaluate runs/nano/magnitude-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/magnitude-20-sft
rlrc evaluate runs/nano/wanda-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/wanda-20
rlrc evaluate runs/nano/wanda-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/wanda-20-sft
rlrc evaluate runs/nano/llm-pruner-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/llm-pruner-20
rlrc evaluate runs/nano/llm-pruner-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/llm-pruner-20-sft
rlrc evaluate runs/nano/flap-20 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/flap-20
rlrc evaluate runs/nano/flap-20-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/flap-20-sft
rlrc evaluate runs/nano/dense/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --runtime vla-cache --out runs/nano/evaluation/vla-cache
rlrc evaluate runs/nano/recover-int8 --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/pruned-sft-int8
rlrc evaluate runs/nano/fewer-wider-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/fewer-wider
rlrc evaluate runs/nano/robot-loss-sft/checkpoint --set put25_choice,put25_choice_shifted --episodes 500 --videos 0 --out runs/nano/evaluation/robot-loss
rlrc evaluate runs/nano/dense/checkpoint --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/nano/axes/dense
rlrc evaluate runs/nano/rl/checkpoint --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/nano/axes/rlrc
rlrc evaluate runs/nano/quantize --set put25_choice_unseen_table,put25_choice_texture_weak,put25_choice_texture_strong,put25_choice_whole_weak,put25_choice_whole_strong,put25_choice_paraphrase,put25_choice_position,put25_choice_initial_pose,put25_choice_object_moved,put25_choice_ood --episodes 100 --videos 0 --out runs/nano/axes/rlrc-4bit

# timing
rlrc timing runs/nano/dense/checkpoint runs/nano/int8 runs/nano/nf4 runs/nano/int4 runs/nano/magnitude-20 runs/nano/magnitude-20-sft/checkpoint runs/nano/wanda-20 runs/nano/wanda-20-sft/checkpoint runs/nano/llm-pruner-20 runs/nano/llm-pruner-20-sft/checkpoint runs/nano/flap-20 runs/nano/flap-20-sft/checkpoint runs/nano/dense/checkpoint runs/nano/prune runs/nano/recover/checkpoint runs/nano/recover-int8 runs/nano/recover-int4 runs/nano/rl/checkpoint runs/nano/quantize runs/nano/fewer-wider-sft/checkpoint runs/nano/robot-loss-sft/checkpoint --names dense int8 nf4 int4 magnitude-20 magnitude-20-sft wanda-20 wanda-20-sft llm-pruner-20 llm-pruner-20-sft flap-20 flap-20-sft vla-cache pruned pruned-sft pruned-sft-int8 pruned-sft-int4 rlrc rlrc-4bit fewer-wider robot-loss --vla-cache vla-cache --dtype bfloat16 --blocks 12 --out runs/nano/timing

# report
rlrc report runs/nano --out docs/results
