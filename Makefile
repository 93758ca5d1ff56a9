.PHONY: setup train test test-all fuzz bench gpu-check docs dist clean

setup:     ; @launch/setup.sh
train:     ; @launch/train.sh
test:      ; @launch/test.sh
test-all:  ; @launch/test.sh all
fuzz:      ; @benchmarks/fuzz.sh
bench:     ; @benchmarks/bench.sh
gpu-check: ; @benchmarks/bench.sh gpu_check
docs:      ; @docs/build.sh
dist:      ; @launch/dist.sh
clean:     ; @launch/clean.sh
