#!/usr/bin/env bash
# Learning curves at nano scale, as RLRC's figure asks them: critic warm-up or not, imitation or
# not (3 seeds each), SFT before RL or not. Plain commands; each resumes where it was stopped, and
# what is finished takes a moment, so run it again after an interruption.
#
#   bash recipes/ablations.sh                     # into runs/ablations
#   DATA=runs/demos OUT=runs/ablations SEEDS='0 1 2' STEPS=8960 SFT_STEPS=800 EPISODES=30 \
#       RLRC=.venv/bin/rlrc bash recipes/ablations.sh        # the defaults, to be changed
#
# STEPS are environment steps of a run (of `scratch` half as many), EPISODES those of an evaluation.
set -euo pipefail
data=${DATA:-runs/demos}; out=${OUT:-runs/ablations}; steps=${STEPS:-8960}
read -r -a seeds <<< "${SEEDS:-0 1 2}"
read -r -a rlrc <<< "${RLRC:-.venv/bin/rlrc}"

# What is recovered: checkpoints/nano, 90 % of its middle layers' weights gone.
[ -d "$data" ] || "${rlrc[@]}" collect --episodes 300 --out "$data"
[ -d "$out/pruned" ] || "${rlrc[@]}" prune checkpoints/nano --data "$data" --ratio 0.9 --out "$out/pruned"
# SFT alone, short, so that something is left for RL.
"${rlrc[@]}" sft --init "$out/pruned" --keep-statistics --data "$data" --episodes 300 --out "$out/sft" \
    --steps "${SFT_STEPS:-800}" --batch-size 32 --learning-rate 6e-4 --warmup-steps 50 --eval-episodes 0 --threads 2

rl() {  # rl ARM SEED INIT OPTIONS...
    "${rlrc[@]}" rl --init "$3" --out "$out/$1-$2" --seed "$2" --num-envs 16 --num-steps 40 \
        --end-on-success --num-minibatches 4 --learning-rate 1e-4 --critic-warmup-updates 4 \
        --eval-every 1000 --eval-episodes "${EPISODES:-30}" --best-by success_once \
        --updates-without-reward 0 --threads 2 --processes 2 "${@:4}"
}
imitation=(--bc demonstrations --bc-sigma 0 --data "$data" --episodes 150)
# The arms take turns over the seeds: stopped early, it has complete seeds of every arm.
for seed in "${seeds[@]}"; do
    rl full "$seed" "$out/sft/checkpoint" --total-timesteps "$steps" "${imitation[@]}"
    rl no_warmup "$seed" "$out/sft/checkpoint" --total-timesteps "$steps" "${imitation[@]}" \
        --critic-warmup-updates 0
    rl no_bc "$seed" "$out/sft/checkpoint" --total-timesteps "$steps"
    rl scratch "$seed" "$out/pruned" --total-timesteps $((steps / 2))
done
"${rlrc[@]}" report ablations "$out" --out "$out/report"
